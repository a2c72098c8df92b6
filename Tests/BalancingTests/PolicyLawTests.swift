// Laws that every policy of the catalog keeps, and what each promises besides.
import Addresses
import Balancing
import Synchronization
import TestKit
import Testing

private func servers(_ count: Int) -> [Server] {
    (0..<count).map { Server(name: "s\($0)", endpoint: Endpoint(.loopback, port: UInt16(8000 + $0))) }
}

private func backend(_ policy: String, _ count: Int, checked: Bool = false) -> Backend {
    Backend(
        name: "test", servers: servers(count), policy: PolicyCatalog.make(policy)!,
        health: HealthMachine(isChecked: checked, rise: 2, fall: 3))
}

/// Picks by server, from many threads.
private final class Tally: Sendable {
    let counts = Mutex([0, 0, 0])
}

@Suite struct PolicyLawTests {
    static let names = PolicyCatalog.rows.map(\.name)

    /// Random rosters and exclusions: a pick is always allowed, and is made whenever one is.
    @Test(arguments: names) func neverPicksWhatCannotTakeARequest(_ name: String) throws {
        for number in 0..<300 {
            var seed = Seed(UInt64(number))
            let count = seed.pick(1...9)
            let backend = backend(name, count, checked: true)
            for server in 0..<count {
                for _ in 0..<seed.pick(0...3) { _ = backend.recordCheck(of: server, passed: seed.chance(60)) }
            }
            for _ in 0..<40 {
                var exclusions = Exclusions()
                for _ in 0..<seed.pick(0...3) { exclusions.insert(seed.pick(0...(count - 1))) }
                let health = backend.health
                let hasPassed = health.contains(.up)
                let allowed = (0..<count).filter { server in
                    !exclusions.contains(server) && (health[server] == .up || health[server] == .starting && !hasPassed)
                }
                let pick = backend.choose(excluding: exclusions)
                if let pick, hasPassed || !allowed.isEmpty {
                    #expect(!exclusions.contains(pick) && health[pick] != .down)
                }
                if !allowed.isEmpty, hasPassed { #expect(pick != nil && allowed.contains(pick!)) }
                if let pick, seed.chance(60) { backend.finished(pick) }
            }
        }
    }

    @Test(arguments: names) func anEmptyRosterHasNoServer(_ name: String) {
        #expect(backend(name, 0).choose(excluding: Exclusions()) == nil)
    }

    @Test(arguments: names) func idleServersAreUsedEvenly(_ name: String) {
        let backend = backend(name, 3)
        var counts = [0, 0, 0]
        for _ in 0..<300 {
            let pick = backend.choose(excluding: Exclusions())!
            counts[pick] += 1
            backend.finished(pick)
        }
        #expect(counts == [100, 100, 100])
    }

    /// From many threads at once, round-robin still gives each server its exact share.
    @Test func roundRobinIsExactAcrossThreads() async {
        let backend = backend("round-robin", 3)
        let tally = Tally()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<375 {
                        let pick = backend.choose(excluding: Exclusions())!
                        tally.counts.withLock { $0[pick] += 1 }
                        backend.finished(pick)
                    }
                }
            }
        }
        #expect(tally.counts.withLock { $0 } == [1000, 1000, 1000])
        #expect(backend.inflight == [0, 0, 0])
    }

    @Test func leastConnectionsPrefersTheLeastLoaded() {
        let backend = backend("least-connections", 3)
        let held = (0..<3).map { _ in backend.choose(excluding: Exclusions())! }
        #expect(Set(held) == [0, 1, 2])
        backend.finished(1)
        #expect(backend.choose(excluding: Exclusions()) == 1)
    }

    @Test func exclusionsHoldAFixedFew() {
        var exclusions = Exclusions()
        for server in 0..<20 { exclusions.insert(server) }
        #expect(exclusions.count == Exclusions.capacity)
        #expect(exclusions.contains(7) && !exclusions.contains(8))
    }
}

@Suite struct HealthMachineTests {
    @Test func theFirstVerdictCountsAtOnce() {
        var passing = HealthMachine(isChecked: true, rise: 2, fall: 3)
        #expect(passing.record(passed: true) == true)
        #expect(passing.state == .up)
        var failing = HealthMachine(isChecked: true, rise: 2, fall: 3)
        #expect(failing.record(passed: false) == true)
        #expect(failing.state == .down)
    }

    @Test func riseAndFallHoldItSteady() {
        var machine = HealthMachine(isChecked: true, rise: 2, fall: 3)
        _ = machine.record(passed: true)
        for passed in [false, false, true, false, false, true] { #expect(machine.record(passed: passed) == false) }
        #expect(machine.state == .up)
        for passed in [false, false, false] { _ = machine.record(passed: passed) }
        #expect(machine.state == .down)
        #expect(machine.record(passed: true) == false)
        #expect(machine.record(passed: false) == false)
        #expect(machine.record(passed: true) == false)
        #expect(machine.record(passed: true) == true)
        #expect(machine.state == .up)
    }

    @Test func withoutChecksAServerIsUp() {
        #expect(HealthMachine(isChecked: false, rise: 2, fall: 3).state == .up)
    }

    /// Servers still starting take traffic until one has passed; then only those that passed do.
    @Test func startingServersServeUntilOneHasPassed() {
        let backend = backend("round-robin", 2, checked: true)
        #expect(backend.choose(excluding: Exclusions()) != nil)
        #expect(backend.recordCheck(of: 1, passed: true) == .up)
        for _ in 0..<4 { #expect(backend.choose(excluding: Exclusions()) == 1) }
        #expect(!backend.isReady)
        #expect(backend.recordCheck(of: 0, passed: false) == .down)
        #expect(backend.isReady)
    }
}
