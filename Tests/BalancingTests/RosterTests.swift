// A backend whose servers and rules change while requests run and wait: what stays keeps everything, what goes finishes.
import Addresses
import Testing

@testable import Balancing

private func server(_ name: String, port: UInt16 = 8000, weight: Int = 1, maxconn: Int = 0) -> Server {
    Server(name: name, endpoint: Endpoint(.loopback, port: port), weight: weight, maxconn: maxconn)
}

private func named(_ names: String...) -> [Server] { names.map { server($0) } }

/// Servers that nothing has been heard of yet.
private let checked = BackendRules(health: HealthRule(isChecked: true))

extension Backend {
    fileprivate func ask(_ waiter: Int, without numbers: [Int] = [], now: Duration = .zero) -> Choice {
        var exclusions = Exclusions()
        for number in numbers { exclusions.insert(number) }
        return choose(
            Pick(exclusions: exclusions), waiter: WaiterID(worker: 0, slot: waiter), isRetry: false, now: now)
    }

    fileprivate func number(_ name: String) -> Int { report.servers.first { $0.server.name == name }!.number }
}

@Suite struct RosterTests {
    @Test func whatStaysKeepsItsRequestsAndItsState() {
        let backend = backend("least-connections", named("a", "b"), rules: checked)
        backend.check(0, .passed)
        for _ in 0..<3 { backend.check(1, .failed) }
        _ = backend.take()
        _ = backend.take()
        backend.become(named("b", "c", "a"), rules: checked)
        let report = backend.report
        #expect(report.servers.map(\.server.name) == ["b", "c", "a"])
        #expect(report.servers.map(\.inflight) == [0, 0, 2])
        #expect(report.servers.map(\.state) == [.down, .starting, .up])
        #expect(report.servers.map(\.number) == [1, ServerNumber.make(place: 2, roster: 1), 0])
        // What it still has counts against the new one's work.
        backend.check(report.servers[1].number, .passed)
        #expect(backend.take() == report.servers[1].number)
    }

    @Test func anotherAddressIsAnotherServer() {
        let backend = backend("least-connections", [server("a", port: 1)])
        #expect(backend.take() == 0)
        backend.become([server("a", port: 2)])
        #expect(backend.report.servers.map(\.inflight) == [0, 1])
        #expect(backend.report.servers.map(\.state) == [.up, .draining])
        #expect(backend.take() != 0)
    }

    @Test func theRemovedFinishWhatTheyHave() {
        let backend = backend("least-connections", named("a", "b"))
        _ = (0..<4).map { _ in backend.take() }
        backend.become(named("b"))
        #expect(backend.states == [.up, .draining])
        for _ in 0..<10 { #expect(backend.take() == 1) }
        #expect(backend.give(0) == Aftermath())
        var last = Aftermath()
        last.departed = [0]
        #expect(backend.give(0) == last)
        #expect(backend.states == [.up])
    }

    @Test func aPlaceIsGivenAwayOnlyOnceItIsFree() {
        let backend = backend("round-robin", named("a", "b"))
        #expect(backend.take() == 0)
        backend.become(named("b"))
        backend.become(named("b", "c"))
        let busy = backend.number("c")
        #expect(ServerNumber.place(busy) == 2)
        backend.give(0)
        backend.become(named("b", "c", "d"))
        let reused = backend.number("d")
        #expect(ServerNumber.place(reused) == 0)
        #expect(reused != 0)
        // Whoever failed on the old one has nothing against the new one.
        backend.become([server("d")])
        #expect(backend.ask(1, without: [0]) == .slot(Slot(server: reused)))
        #expect(backend.ask(1, without: [reused]) == .noServer)
    }

    @Test func whoComesBackInTimeIsTheSameButUnknown() {
        let backend = backend("least-connections", named("a", "b"), rules: checked)
        backend.check(0, .passed)
        backend.check(1, .passed)
        #expect(backend.take() == 0)
        backend.become(named("b"), rules: checked)
        backend.become(named("a", "b"), rules: checked)
        #expect(backend.report.servers.map(\.inflight) == [1, 0])
        #expect(backend.states == [.starting, .up])
        #expect(backend.number("a") == 0)
        backend.give(0)
        #expect(backend.inflight == [0, 0])
    }

    @Test func runningRequestsCountAgainstTheNewLimit() {
        let backend = backend("least-connections", [server("a", maxconn: 3)])
        _ = (0..<3).map { _ in backend.take() }
        backend.become([server("a", maxconn: 1)])
        guard case .queued = backend.ask(1) else {
            Issue.record("a request was let in above the limit")
            return
        }
        #expect(backend.give(0).grants.isEmpty)
        #expect(backend.give(0).grants.isEmpty)
        #expect(backend.give(0).grants.map(\.waiter.slot) == [1])
        #expect(backend.inflight == [1])
    }

    @Test func theLineKeepsItsOrderAndIsServedByWhatComes() {
        let backend = backend("least-connections", [server("a", maxconn: 1)])
        #expect(backend.take() == 0)
        for waiter in 1...4 { _ = backend.ask(waiter) }
        // A higher limit serves the first, another server the next.
        #expect(backend.become([server("a", maxconn: 2)]).grants.map(\.waiter.slot) == [1])
        let more = backend.become([server("a", maxconn: 2), server("b", maxconn: 1)])
        #expect(more.grants.map(\.waiter.slot) == [2])
        #expect(more.grants.map(\.slot.server) == [backend.number("b")])
        // The server for which all waited goes: who is left is served by the other, in order.
        let rest = backend.become([server("b", maxconn: 2)])
        #expect(rest.grants.map(\.waiter.slot) == [3])
        #expect(backend.give(rest.grants[0].slot.server).grants.map(\.waiter.slot) == [4])
        #expect(backend.report.waiting == 0)
    }

    @Test func aLineLongerThanTheNewLimitIsServedAllTheSame() {
        let line = BackendRules(health: HealthRule(isChecked: false), queue: 3)
        let backend = backend("least-connections", [server("a", maxconn: 1)], rules: line)
        #expect(backend.take() == 0)
        for waiter in 1...3 { _ = backend.ask(waiter) }
        var short = line
        short.queue = 1
        backend.become([server("a", maxconn: 1)], rules: short)
        #expect(backend.ask(4) == .full)
        for waiter in 1...3 { #expect(backend.give(0).grants.map(\.waiter.slot) == [waiter]) }
    }

    /// A reload that replaces every server must not refuse what comes before the first check's end.
    @Test func newServersServeWhileNobodyElseCan() {
        let backend = backend("least-connections", named("a"), rules: checked)
        backend.check(0, .passed)
        #expect(backend.become(named("b"), rules: checked).canServe == nil)
        #expect(backend.take() == backend.number("b"))
        // Beside one that is up they wait for their verdict; beside one that is down they are better than nothing.
        backend.become(named("b", "c"), rules: checked)
        backend.check(backend.number("b"), .passed)
        for _ in 0..<5 { #expect(backend.take() == backend.number("b")) }
        for _ in 0..<3 { backend.check(backend.number("b"), .failed) }
        #expect(backend.take() == backend.number("c"))
    }

    @Test func ejectionAndSlowStartGoOn() {
        let rules = BackendRules(
            health: HealthRule(isChecked: false), ejection: EjectionRule(after: 1), slowStart: .seconds(10))
        let backend = backend("round-robin", [server("a", maxconn: 10), server("b", maxconn: 10)], rules: rules)
        #expect(backend.take() == 0)
        backend.give(0, .bad)
        #expect(backend.states == [.ejected, .up])
        backend.become([server("a", maxconn: 10), server("b", maxconn: 10)], "random", rules: rules)
        #expect(backend.states == [.ejected, .up])
        let (_, next) = backend.tend(now: .seconds(10))
        #expect(next == nil)
        var exclusions = Exclusions()
        exclusions.insert(1)
        #expect(backend.take(exclusions, now: .seconds(10)) == 0)
        backend.give(0, .good, isTrial: true, now: .seconds(10))
        backend.become([server("a", maxconn: 20), server("b", maxconn: 10)], rules: rules, now: .seconds(15))
        #expect(backend.report.servers[0].limit == 11)
        // Without slow start there is nothing to wait for.
        let fast = BackendRules(health: HealthRule(isChecked: false))
        backend.become([server("a", maxconn: 20), server("b", maxconn: 10)], rules: fast, now: .seconds(15))
        #expect(backend.report.servers[0].limit == 20)
        #expect(backend.tend(now: .seconds(15)).next == nil)
    }

    @Test func whatChecksSaidOfTheRemovedIsForgotten() {
        let backend = backend("least-connections", named("a", "b"), rules: checked)
        backend.become(named("b"), rules: checked)
        #expect(backend.check(0, .failed) == Aftermath())
        #expect(backend.states == [.starting])
        // Once disabled, nobody looked after it.
        backend.check(1, .passed)
        var off = named("b")
        off[0].isDisabled = true
        backend.become(off, rules: checked)
        #expect(backend.states == [.disabled])
        #expect(backend.take() == nil)
        backend.become(named("b"), rules: checked)
        #expect(backend.states == [.starting])
        // Without checks it counts as up.
        backend.become(named("b"))
        #expect(backend.states == [.up])
    }

    @Test(arguments: PolicyCatalog.rows.map(\.name)) func everyPolicyGoesOnOverPlacesWithGaps(_ policy: String) {
        let backend = backend(policy, named("a", "b", "c", "d"))
        backend.become(named("d", "b"), policy)
        var counts = [Int](repeating: 0, count: 4)
        for index in 0..<400 {
            let random = FixedHash.mixed(UInt64(index))
            guard let server = backend.take(affinity: random, random: random) else { continue }
            counts[ServerNumber.place(server)] += 1
            backend.give(server)
        }
        #expect(counts[0] == 0 && counts[2] == 0)
        #expect(counts[1] > 100 && counts[3] > 100 && counts[1] + counts[3] == 400)
    }

    /// Any sequence of changes and requests, against a simple model of who has what.
    @Test(arguments: 1...60) func nothingIsLostOverManyChanges(_ seed: UInt64) {
        var random = SplitMix(state: seed)
        let backend = backend("least-connections", named("s0"))
        var held: [Int] = []
        for _ in 0..<400 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                let names = (0..<8).filter { _ in Bool.random(using: &random) }.shuffled(using: &random)
                backend.become(names.map { server("s\($0)", weight: Int.random(in: 0...2, using: &random)) })
            case 1...5: if let slot = backend.take() { held.append(slot) }
            case _: if let index = held.indices.randomElement(using: &random) { backend.give(held.remove(at: index)) }
            }
            let report = backend.report
            #expect(report.servers.reduce(0) { $0 + $1.inflight } == held.count)
            for server in report.servers {
                #expect(server.inflight == held.count { $0 == server.number })
            }
            #expect(Set(report.servers.map(\.number)).count == report.servers.count)
            // Eight servers, and those that leave: places do not grow with every change.
            #expect(report.servers.allSatisfy { ServerNumber.place($0.number) < 8 + held.count })
        }
        for slot in held { backend.give(slot) }
        #expect(backend.inflight.allSatisfy { $0 == 0 })
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        return FixedHash.mixed(state)
    }
}
