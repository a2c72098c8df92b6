// Laws that every policy of the catalog keeps, and what each promises besides.
import Addresses
import Synchronization
import TestKit
import Testing

@testable import Balancing

/// Picks by server, from many threads.
private final class Tally: Sendable {
    let counts = Mutex([0, 0, 0])
}

@Suite struct PolicyLawTests {
    static let names = PolicyCatalog.rows.map(\.name)

    /// Random candidates and exclusions: a pick is always allowed, and is made whenever one is.
    @Test(arguments: names) func neverPicksWhatCannotTakeARequest(_ name: String) throws {
        for number in 0..<300 {
            var seed = Seed(UInt64(number))
            let count = seed.pick(0...9)
            let weights = (0..<count).map { _ in seed.pick(1...7) }
            var policy = PolicyCatalog.make(name, servers(count, weights: weights))!
            var candidates = [Candidate?](repeating: nil, count: count)
            for _ in 0..<60 where count > 0 {
                let changed = seed.pick(0...(count - 1))
                candidates[changed] =
                    seed.chance(30)
                    ? nil
                    : Candidate(
                        inflight: seed.pick(0...20),
                        share: seed.chance(80) ? weights[changed] * 1024 : seed.pick(1...1024))
                policy.set(changed, candidates[changed])
                var exclusions = Exclusions()
                for _ in 0..<seed.pick(0...3) { exclusions.insert(seed.pick(0...(count - 1))) }
                let allowed = candidates.indices.filter { candidates[$0] != nil && !exclusions.contains($0) }
                let pick = policy.pick(Pick(exclusions: exclusions, affinity: seed.next(), random: seed.next()))
                #expect((pick == nil) == allowed.isEmpty)
                if let pick { #expect(allowed.contains(pick)) }
            }
            if count == 0 { #expect(policy.pick(Pick()) == nil) }
        }
    }

    /// Over many clients, idle servers get what their weights say.
    @Test(arguments: names) func weightsAreRespected(_ name: String) {
        let backend = backend(name, servers(3, weights: [3, 1, 2]))
        var seed = Seed(3)
        var counts = [0, 0, 0]
        for _ in 0..<6000 {
            let pick = backend.take(affinity: seed.next(), random: seed.next())!
            counts[pick] += 1
            backend.give(pick)
        }
        for (count, share) in zip(counts, [3000, 1000, 2000]) {
            // A ring has the unevenness of its points; what draws has that of its draws.
            #expect(abs(count - share) < share / 4, "\(counts)")
        }
    }

    @Test(arguments: ["round-robin", "weighted", "least-connections"]) func turnsAreExact(_ name: String) {
        let even = backend(name, servers(3))
        let uneven = backend(name, servers(2, weights: [3, 1]))
        var counts = [0, 0, 0]
        var weighted = [0, 0]
        for _ in 0..<300 {
            let pick = even.take()!
            counts[pick] += 1
            even.give(pick)
        }
        for _ in 0..<400 {
            let pick = uneven.take()!
            weighted[pick] += 1
            uneven.give(pick)
        }
        #expect(counts == [100, 100, 100])
        #expect(weighted == [300, 100])
    }

    /// Long runs stay exact: virtual time moves back without a turn lost.
    @Test func turnsOutliveTheirNumbers() {
        var turns = Turns(count: 2)
        var hasMovedBack = false
        for round in 0..<8_000_000 where !hasMovedBack {
            hasMovedBack = turns.take(round % 2, share: 1024)
        }
        #expect(hasMovedBack)
        #expect(turns.due(0) < 1 << 61 && turns.due(1) < 1 << 61)
    }

    /// From many threads at once, round-robin still gives each server its exact share.
    @Test func roundRobinIsExactAcrossThreads() async {
        let backend = backend("round-robin", servers(3))
        let tally = Tally()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<375 {
                        let pick = backend.take()!
                        tally.counts.withLock { $0[pick] += 1 }
                        backend.give(pick)
                    }
                }
            }
        }
        #expect(tally.counts.withLock { $0 } == [1000, 1000, 1000])
        #expect(backend.report.servers.map(\.inflight) == [0, 0, 0])
    }

    @Test func leastConnectionsPrefersTheLeastLoaded() {
        let backend = backend("least-connections", servers(3))
        let held = (0..<3).map { _ in backend.take()! }
        #expect(Set(held) == [0, 1, 2])
        backend.give(1)
        #expect(backend.take() == 1)
    }

    /// A server of weight 3 holds three times the requests of one of weight 1.
    @Test func leastConnectionsWeighsLoad() {
        let backend = backend("least-connections", servers(2, weights: [3, 1]))
        for _ in 0..<8 { _ = backend.take() }
        #expect(backend.report.servers.map(\.inflight) == [6, 2])
    }

    /// A server that was away does not get everything at once when it is back.
    @Test func nobodyMakesUpForMissedTurns() {
        var policy = WeightedRoundRobin(servers(2))
        let candidate = Candidate(inflight: 0, share: 1024)
        policy.set(0, candidate)
        for _ in 0..<1000 { #expect(policy.pick(Pick()) == 0) }
        policy.set(1, candidate)
        let picks = (0..<10).map { _ in policy.pick(Pick())! }
        #expect(picks.count { $0 == 1 } <= 6, "\(picks)")
    }

    @Test func twoChoicesAvoidTheBusierOne() {
        var policy = TwoChoices(servers(2))
        policy.set(0, Candidate(inflight: 9, share: 1024))
        policy.set(1, Candidate(inflight: 1, share: 1024))
        for random in 0..<100 { #expect(policy.pick(Pick(random: UInt64(random))) == 1) }
    }

    /// Clients keep their server while others come and go; only those of the server that left move.
    @Test func ipHashMovesFewClients() {
        let all = servers(5)
        var before = IPHash(all)
        var after = IPHash(Array(all.dropLast()))
        let candidate = Candidate(inflight: 0, share: 1024)
        for index in 0..<5 { before.set(index, candidate) }
        for index in 0..<4 { after.set(index, candidate) }
        for client in UInt64(0)..<2000 {
            let pick = Pick(affinity: FixedHash.mixed(client))
            let first = before.pick(pick)
            #expect(first == before.pick(pick))
            if first != 4 { #expect(after.pick(pick) == first) }
        }
        // A server that is full for the moment hands its clients on, and gets them back.
        let pick = Pick(affinity: FixedHash.mixed(77))
        let home = before.pick(pick)!
        before.set(home, nil)
        #expect(before.pick(pick) != home)
        before.set(home, candidate)
        #expect(before.pick(pick) == home)
    }

    /// The hash is published: its values never change.
    @Test func theHashIsFixed() {
        #expect(FixedHash.of("gpu1".utf8) == 0x43eeb0c1cd88307f)
        #expect(FixedHash.mixed(0) == 0)
        #expect(FixedHash.mixed(1) == 0x5692_161d_100b_05e5)
    }

    @Test func exclusionsHoldAFixedFew() {
        var exclusions = Exclusions()
        for server in 0..<20 { exclusions.insert(server) }
        #expect(exclusions.count == Exclusions.capacity)
        #expect(exclusions.contains(7) && !exclusions.contains(8))
    }
}

@Suite struct IndexTests {
    @Test func aTournamentFindsTheLeast() {
        for number in 0..<200 {
            var seed = Seed(UInt64(number))
            let count = seed.pick(1...17)
            var tournament = Tournament<Int>(count: count)
            var keys = [Int?](repeating: nil, count: count)
            for _ in 0..<40 {
                let index = seed.pick(0...(count - 1))
                keys[index] = seed.chance(25) ? nil : seed.pick(0...9)
                tournament.set(index, keys[index])
                var exclusions = Exclusions()
                for _ in 0..<seed.pick(0...2) { exclusions.insert(seed.pick(0...(count - 1))) }
                let left = keys.indices.filter { keys[$0] != nil && !exclusions.contains($0) }
                let best = left.min { (keys[$0]!, $0) < (keys[$1]!, $1) }
                #expect(tournament.first(excluding: exclusions) == best)
            }
        }
    }

    @Test func aWeightTreeFindsWhatANumberFallsOn() {
        var seed = Seed(5)
        var tree = WeightTree(count: 13)
        var weights = [Int](repeating: 0, count: 13)
        for _ in 0..<300 {
            let index = seed.pick(0...12)
            weights[index] = seed.pick(0...5)
            tree.set(index, weights[index])
            #expect(tree.total == weights.reduce(0, +))
            var number = 0
            for (index, weight) in weights.enumerated() {
                for _ in 0..<weight {
                    #expect(tree.index(at: number) == index)
                    number += 1
                }
            }
        }
    }
}
