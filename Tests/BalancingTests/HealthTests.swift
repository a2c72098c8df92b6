import Testing

// What checks, failures and time make of a server.
@testable import Balancing

private func machine(rise: Int = 2, fall: Int = 3) -> HealthMachine {
    HealthMachine(HealthRule(rise: rise, fall: fall, busy: .seconds(60)))
}

extension HealthMachine {
    fileprivate mutating func record(_ verdict: CheckVerdict, working: Bool = false, at now: Int = 0) -> Bool {
        record(verdict, isWorking: working, lastByte: .zero, now: .seconds(now))
    }
}

@Suite struct HealthMachineTests {
    @Test func theFirstVerdictCountsAtOnce() {
        var passing = machine()
        #expect(passing.record(.passed) == true)
        #expect(passing.state == .up)
        for verdict in [CheckVerdict.failed, .timedOut] {
            var failing = machine()
            #expect(failing.record(verdict) == true)
            #expect(failing.state == .down)
        }
    }

    @Test func riseAndFallHoldItSteady() {
        var machine = machine()
        _ = machine.record(.passed)
        for verdict in [CheckVerdict.failed, .timedOut, .passed, .failed, .failed, .passed] {
            #expect(machine.record(verdict) == false)
        }
        #expect(machine.state == .up)
        for verdict in [CheckVerdict.failed, .timedOut, .failed] { _ = machine.record(verdict) }
        #expect(machine.state == .down)
        #expect(machine.record(.passed) == false)
        #expect(machine.record(.failed) == false)
        #expect(machine.record(.passed) == false)
        #expect(machine.record(.passed) == true)
        #expect(machine.state == .up)
    }

    /// A check that times out on a server at work makes it busy; silence for too long makes it down.
    @Test func aServerAtWorkIsBusyNotDown() {
        var busy = machine()
        _ = busy.record(.passed)
        #expect(busy.record(.timedOut, working: true, at: 10) == true)
        #expect(busy.state == .busy)
        #expect(busy.record(.timedOut, working: true, at: 69) == false)
        #expect(busy.record(.passed, working: true, at: 70) == true)
        #expect(busy.state == .up)
        #expect(busy.record(.timedOut, working: true, at: 80) == true)
        #expect(busy.record(.timedOut, isWorking: true, lastByte: .seconds(100), now: .seconds(159)) == false)
        #expect(busy.record(.timedOut, isWorking: true, lastByte: .seconds(100), now: .seconds(160)) == true)
        #expect(busy.state == .down)
    }

    /// Refusals and 5xx are no sign of work.
    @Test func aBusyServerThatFailsIsDown() {
        for working in [true, false] {
            var busy = machine()
            _ = busy.record(.passed)
            _ = busy.record(.timedOut, working: true)
            let verdict = working ? CheckVerdict.failed : .timedOut
            #expect(busy.record(verdict, working: working) == false)
            #expect(busy.record(verdict, working: working) == false)
            #expect(busy.record(verdict, working: working) == true)
            #expect(busy.state == .down)
        }
    }

    @Test func withoutChecksAServerIsUp() {
        #expect(HealthMachine(HealthRule(isChecked: false)).state == .up)
    }
}

@Suite struct StateTests {
    private let checked = BackendRules()

    /// Servers still starting take traffic until one has passed; then only those that passed do.
    @Test func startingServersServeUntilOneHasPassed() {
        let backend = backend("round-robin", servers(2), rules: checked)
        #expect(backend.take() != nil)
        #expect(backend.check(1, .passed).changes == [StateChange(server: 1, state: .up)])
        for _ in 0..<4 { #expect(backend.take() == 1) }
        #expect(!backend.isReady)
        backend.check(0, .failed)
        #expect(backend.isReady)
        #expect(backend.states == [.down, .up])
    }

    @Test func backupsServeOnlyWhenNobodyElseCan() {
        var all = servers(3)
        all[1].isBackup = true
        all[2].isDisabled = true
        let backend = backend("round-robin", all, rules: checked)
        backend.check(0, .passed)
        backend.check(1, .passed)
        for _ in 0..<3 { #expect(backend.take() == 0) }
        for _ in 0..<3 { backend.check(0, .failed) }
        for _ in 0..<3 { #expect(backend.take() == 1) }
        backend.check(0, .passed)
        backend.check(0, .passed)
        #expect(backend.take() == 0)
        #expect(backend.states == [.up, .up, .disabled])
        // A request that failed on all of the first may still try the backup.
        var exclusions = Exclusions()
        exclusions.insert(0)
        #expect(backend.take(exclusions) == 1)
    }

    @Test func weightZeroTakesNoNewRequests() {
        let backend = backend("least-connections", servers(2, weights: [0, 1]))
        for _ in 0..<4 { #expect(backend.take() == 1) }
        #expect(backend.states == [.draining, .up])
    }

    @Test func busyServersAreALastResort() {
        let backend = backend("least-connections", servers(2), rules: checked)
        backend.check(0, .passed)
        backend.check(1, .passed)
        let held = backend.take()!
        backend.check(held, .timedOut)
        #expect(backend.states[held] == .busy)
        for _ in 0..<5 { #expect(backend.take() == 1 - held) }
        for _ in 0..<3 { backend.check(1 - held, .failed) }
        #expect(backend.take() == held)
    }
}

@Suite struct EjectionTests {
    private let rules = BackendRules(
        health: HealthRule(isChecked: false),
        ejection: EjectionRule(after: 3, base: .seconds(10), limitPercent: 50), slowStart: .seconds(20))

    /// Fails `count` requests in a row on server 0.
    private func fail(_ backend: Backend, _ count: Int, now: Duration) -> Aftermath {
        var last = Aftermath()
        for _ in 0..<count {
            var exclusions = Exclusions()
            for server in 1..<backend.inflight.count { exclusions.insert(server) }
            guard backend.take(exclusions) == 0 else { return last }
            last = backend.give(0, .bad, now: now)
        }
        return last
    }

    @Test func failuresInARowEjectAndATrialBringsBack() {
        let backend = backend("round-robin", servers(2, maxconn: 10), rules: rules)
        // A machine that has run for a while.
        let start = Duration.seconds(5000)
        #expect(fail(backend, 2, now: start).changes.isEmpty)
        #expect(fail(backend, 1, now: start).changes == [StateChange(server: 0, state: .ejected)])
        for _ in 0..<3 { #expect(backend.take(now: start) == 1) }
        // Each time it fails its trial it is out for twice as long, up to five minutes.
        var now = start
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            #expect(backend.tend(now: now + .seconds(wait - 1)).next == now + .seconds(wait))
            now += .seconds(wait)
            _ = backend.tend(now: now)
            // One request at a time tries it.
            #expect(backend.take(now: now) == 0)
            #expect(backend.take(now: now) == 1)
            backend.give(1, now: now)
            backend.give(0, .bad, isTrial: true, now: now)
        }
        now += .seconds(300)
        _ = backend.tend(now: now)
        #expect(backend.take(now: now) == 0)
        #expect(backend.give(0, .good, isTrial: true, now: now).changes == [StateChange(server: 0, state: .up)])
        // Slow start: a part of its limit, then all of it.
        #expect(backend.report.servers[0].limit == 1)
        _ = backend.tend(now: now + .seconds(10))
        #expect(backend.report.servers[0].limit == 5)
        _ = backend.tend(now: now + .seconds(20))
        #expect(backend.report.servers[0].limit == 10)
        #expect(backend.tend(now: now + .seconds(21)).next == nil)
    }

    /// What ran before its ejection does not decide its trial, nor hold it up; and while it is tried, it is still there
    /// for the case that nobody else is.
    @Test func aTrialIsOneRequestOfItsOwn() {
        var rules = rules
        rules.health = HealthRule()
        let backend = backend("round-robin", servers(2), rules: rules)
        backend.check(0, .passed)
        backend.check(1, .passed)
        var exclusions = Exclusions()
        exclusions.insert(1)
        // A long stream runs on it.
        #expect(backend.take(exclusions) == 0)
        _ = fail(backend, 3, now: .zero)
        _ = backend.tend(now: .seconds(10))
        #expect(backend.take(exclusions, now: .seconds(10)) == 0)
        #expect(backend.give(0, .bad, now: .seconds(10)).changes.isEmpty)
        #expect(backend.states[0] == .ejected)
        for _ in 0..<3 { #expect(backend.take(now: .seconds(10)) == 1) }
        for _ in 0..<3 { backend.check(1, .failed, now: .seconds(11)) }
        for _ in 0..<3 { #expect(backend.take(now: .seconds(11)) == 0) }
        // A trial whose client left says nothing: the next one tries again.
        backend.give(0, .neutral, isTrial: true, now: .seconds(12))
        #expect(backend.states[0] == .ejected)
        #expect(backend.take(now: .seconds(12)) == 0)
        #expect(
            backend.give(0, .good, isTrial: true, now: .seconds(12)).changes == [StateChange(server: 0, state: .up)])
    }

    @Test func oneSuccessForgetsTheFailures() {
        let backend = backend("round-robin", servers(2), rules: rules)
        for _ in 0..<5 {
            #expect(fail(backend, 2, now: .zero).changes.isEmpty)
            #expect(backend.take() != nil)
            backend.give(0, .good)
        }
    }

    /// Never the last that can serve, and never more than the limit.
    @Test func someServersAlwaysStay() {
        let one = backend("round-robin", servers(1), rules: rules)
        for _ in 0..<9 {
            #expect(one.take() == 0)
            one.give(0, .bad)
        }
        #expect(one.states == [.up])
        let four = backend("round-robin", servers(4), rules: rules)
        for server in 0..<4 {
            for _ in 0..<3 {
                var exclusions = Exclusions()
                for other in 0..<4 where other != server { exclusions.insert(other) }
                guard four.take(exclusions) == server else { break }
                four.give(server, .bad)
            }
        }
        #expect(four.states.count { $0 == .ejected } == 2)
    }

    /// Where nobody else is left, an ejected server is better than none; a pass of its checks does not end the ejection.
    @Test func anEjectedServerIsBetterThanNone() {
        var rules = rules
        rules.health = HealthRule()
        let backend = backend("round-robin", servers(2), rules: rules)
        backend.check(0, .passed)
        backend.check(1, .passed)
        _ = fail(backend, 3, now: .zero)
        backend.check(0, .passed)
        #expect(backend.states == [.ejected, .up])
        for _ in 0..<3 { backend.check(1, .failed) }
        #expect(backend.take() == 0)
        // Down and up again: what it did before says nothing any more.
        for _ in 0..<3 { backend.check(0, .failed) }
        for _ in 0..<2 { backend.check(0, .passed) }
        #expect(backend.states == [.up, .down])
    }
}
