import Dispatch
import Synchronization
import TestKit
import Testing

// Limits and the line: never one over, first come first served, no slot free while someone waits.
@testable import Balancing

private func limited(_ servers: [Server], queue: Int = 1000) -> Backend {
    backend(
        "least-connections", servers,
        rules: BackendRules(health: HealthRule(isChecked: false), queue: queue, retryBudgetPercent: 50))
}

extension Backend {
    fileprivate func ask(_ waiter: Int, _ exclusions: Exclusions = Exclusions(), isRetry: Bool = false) -> Choice {
        choose(Pick(exclusions: exclusions), waiter: WaiterID(worker: 0, slot: waiter), isRetry: isRetry, now: .zero)
    }
}

@Suite struct AdmissionTests {
    @Test func slotsGoToThoseWhoWaitInTheirOrder() throws {
        let backend = limited(servers(2, maxconn: 1))
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        #expect(backend.ask(1) == .slot(Slot(server: 1)))
        for waiter in 2..<5 {
            guard case .queued = backend.ask(waiter) else {
                Issue.record("not queued")
                return
            }
        }
        #expect(backend.report.waiting == 3)
        for (expected, server) in [(2, 1), (3, 0), (4, 1)] {
            let grants = backend.give(server).grants
            #expect(grants.map(\.waiter.slot) == [expected])
            #expect(grants.map(\.slot.server) == [server])
        }
        #expect(backend.give(0).grants.isEmpty)
    }

    @Test func whoLeavesTheLineIsPassedOver() {
        let backend = limited(servers(1, maxconn: 1))
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        var tickets: [Ticket] = []
        for waiter in 1..<4 { if case .queued(let ticket) = backend.ask(waiter) { tickets.append(ticket) } }
        #expect(backend.leave(tickets[0]) == true)
        #expect(backend.leave(tickets[0]) == false)
        let grants = backend.give(0).grants
        #expect(grants.map(\.waiter.slot) == [2])
        // Its grant is on the way: it is not in line any more, and passes the slot on.
        #expect(backend.leave(tickets[1]) == false)
        #expect(backend.finished(grants[0].slot, .neutral, now: .zero).grants.map(\.waiter.slot) == [3])
    }

    @Test func theLineIsBoundedAndMayBeClosed() {
        let backend = limited(servers(1, maxconn: 1), queue: 1)
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        if case .queued = backend.ask(1) {} else { Issue.record("not queued") }
        #expect(backend.ask(2) == .full)
        #expect(backend.choose(Pick(), waiter: nil, isRetry: false, now: .zero) == .full)
        let none = limited(servers(1, maxconn: 1), queue: 0)
        #expect(none.ask(0) == .slot(Slot(server: 0)))
        #expect(none.ask(1) == .full)
    }

    /// A waiter that may not use the free server does not hold up those behind it, nor does a newcomer pass it.
    @Test func aSlotGoesToTheFirstThatMayUseIt() {
        let backend = limited(servers(2, maxconn: 1))
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        #expect(backend.ask(1) == .slot(Slot(server: 1)))
        var exclusions = Exclusions()
        exclusions.insert(0)
        _ = backend.ask(2, exclusions)
        _ = backend.ask(3)
        #expect(backend.give(0).grants.map(\.waiter.slot) == [3])
        #expect(backend.give(1).grants.map(\.waiter.slot) == [2])
    }

    /// Slots that open because a server comes back go to those who wait.
    @Test func aServerThatComesBackServesTheLine() {
        let backend = backend("round-robin", servers(2, maxconn: 2), rules: BackendRules())
        backend.check(0, .passed)
        backend.check(1, .failed)
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        #expect(backend.ask(1) == .slot(Slot(server: 0)))
        for waiter in 2..<5 { _ = backend.ask(waiter) }
        backend.check(1, .passed)
        #expect(backend.check(1, .passed).grants.map(\.waiter.slot) == [2, 3])
        #expect(backend.report.waiting == 1)
    }

    /// Retries beyond the budget wait for those that run, and let others pass.
    @Test func retriesHaveABudget() {
        let backend = limited(servers(1))
        let retry = Slot(server: 0, isRetry: true)
        for _ in 0..<BackendRules.retryFloor { #expect(backend.ask(0, isRetry: true) == .slot(retry)) }
        #expect(backend.choose(Pick(), waiter: nil, isRetry: true, now: .zero) == .budgetSpent)
        for waiter in 1...3 {
            if case .queued = backend.ask(waiter, isRetry: true) {} else { Issue.record("not queued") }
        }
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        #expect(backend.give(0).grants.isEmpty)
        let grants = backend.finished(retry, .good, now: .zero).grants
        #expect(grants.map(\.slot) == [retry] && grants.map(\.waiter.slot) == [1])
        // Half of ten are five: the budget grows with what runs.
        for waiter in 0..<7 { #expect(backend.ask(waiter) == .slot(Slot(server: 0))) }
        #expect(backend.ask(0) == .slot(Slot(server: 0)))
        #expect(backend.give(0).grants.map(\.waiter.slot) == [2, 3])
        #expect(backend.report.waiting == 0)
    }

    @Test func clientsAreToldWhenToComeAgain() {
        let backend = limited(servers(1, maxconn: 1))
        #expect(backend.retryAfter(now: .zero) == 30)
        // Two requests a second, nine in line: the tenth is done in five seconds.
        for step in 0..<20 {
            _ = backend.take()
            backend.give(0, now: .milliseconds(500 * step))
        }
        _ = backend.take()
        for waiter in 0..<9 { _ = backend.ask(waiter) }
        // The ten spans it counts in reach a little further back than the first of them.
        #expect((5...6).contains(backend.retryAfter(now: .milliseconds(9900))))
        #expect(backend.retryAfter(now: .seconds(60)) == 30)
        let down = Backend(name: "down")
        down.become([], rules: BackendRules(recovery: .milliseconds(5200)))
        #expect(down.retryAfter(now: .zero) == 6)
    }

    @Test func aLineOfManyThatLeaveStaysSmall() {
        var line = WaitingLine()
        _ = line.join(WaiterID(worker: 0, slot: 0), Pick(), isRetry: false, now: .zero)
        for slot in 1..<10_000 {
            let ticket = line.join(WaiterID(worker: 0, slot: slot), Pick(), isRetry: false, now: .zero)
            #expect(line.leave(ticket)?.id.slot == slot)
        }
        #expect(line.count == 1)
        #expect(line.placeCount < 100)
        #expect(line.first?.id.slot == 0)
    }
}

/// Real threads, each a worker with a mailbox: what one ends may be another's grant.
private final class Crowd: Sendable {
    struct State {
        var grants: [[Grant]]
        var granted: [UInt64] = []
        var served = 0
        var left = 0
        var refused = 0
        var complaints: [String] = []
    }

    let backend: Backend
    let limits: [Int]
    let holders: [Atomic3]
    let state: Mutex<State>

    /// Requests at work on one server, counted by the servers themselves.
    final class Atomic3: Sendable { let count = Atomic<Int>(0) }

    init(workers: Int, limits: [Int]) {
        self.limits = limits
        var all = servers(limits.count)
        for index in all.indices { all[index].maxconn = limits[index] }
        backend = limited(all, queue: 50)
        holders = limits.map { _ in Atomic3() }
        state = Mutex(State(grants: Array(repeating: [], count: workers)))
    }

    func enter(_ server: Int) {
        let now = holders[server].count.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
        if now > limits[server] { state.withLock { $0.complaints.append("server \(server) has \(now)") } }
    }

    func finish(_ slot: Slot, hadEntered: Bool) {
        if hadEntered { holders[slot.server].count.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
        for grant in backend.finished(slot, .good, now: .zero).grants {
            state.withLock { $0.grants[grant.waiter.worker].append(grant) }
        }
    }

    /// One worker's life: asks, waits, serves, leaves, in an order of its seed.
    func run(worker: Int, requests: Int) {
        var seed = Seed(UInt64(worker) + 1)
        var running: [Slot] = []
        var waiting: [Ticket] = []
        var asked = 0
        while asked < requests || !running.isEmpty || !waiting.isEmpty {
            let grants = state.withLock { state -> [Grant] in
                defer { state.grants[worker] = [] }
                return state.grants[worker]
            }
            for grant in grants {
                if let index = waiting.firstIndex(of: grant.ticket) {
                    waiting.remove(at: index)
                    enter(grant.slot.server)
                    running.append(grant.slot)
                } else {
                    finish(grant.slot, hadEntered: false)
                }
            }
            if asked < requests, seed.chance(50) {
                asked += 1
                let id = WaiterID(worker: worker, slot: asked)
                switch backend.choose(Pick(random: seed.next()), waiter: id, isRetry: false, now: .zero) {
                case .slot(let slot):
                    enter(slot.server)
                    running.append(slot)
                case .queued(let ticket): waiting.append(ticket)
                case .full: state.withLock { $0.refused += 1 }
                case .noServer, .budgetSpent: state.withLock { $0.complaints.append("no server") }
                }
            }
            if !running.isEmpty, seed.chance(60) {
                finish(running.remove(at: seed.pick(0...(running.count - 1))), hadEntered: true)
                state.withLock { $0.served += 1 }
            }
            if !waiting.isEmpty, seed.chance(5) {
                _ = backend.leave(waiting.remove(at: seed.pick(0...(waiting.count - 1))))
                state.withLock { $0.left += 1 }
            }
        }
    }
}

@Suite struct CrowdTests {
    /// Never one over, nobody forgotten, nothing held at the end.
    @Test func limitsAreExactAcrossThreads() {
        let workers = 4
        let requests = 4000
        let crowd = Crowd(workers: workers, limits: [1, 3, 2])
        DispatchQueue.concurrentPerform(iterations: workers) { crowd.run(worker: $0, requests: requests) }
        // Grants for those who left last may still lie in a mailbox whose worker has gone.
        while true {
            let rest = crowd.state.withLock { state -> [Grant] in
                defer { state.grants = state.grants.map { _ in [] } }
                return state.grants.flatMap { $0 }
            }
            if rest.isEmpty { break }
            for grant in rest { crowd.finish(grant.slot, hadEntered: false) }
        }
        let end = crowd.state.withLock { $0 }
        #expect(end.complaints.isEmpty, "\(end.complaints.prefix(3))")
        #expect(end.served + end.left + end.refused == workers * requests)
        #expect(end.served > workers * requests / 2)
        let report = crowd.backend.report
        #expect(report.waiting == 0)
        #expect(report.servers.allSatisfy { $0.inflight == 0 })
    }

    /// Under random events, a waiter and a slot that it could use never stand side by side, and tickets are granted in
    /// their order among those that may use the same servers.
    @Test func noSlotIsFreeWhileSomeoneWaits() {
        for number in 0..<200 {
            var seed = Seed(UInt64(number))
            let backend = backend(
                seed.pick(PolicyCatalog.rows.map(\.name)), servers(3, maxconn: seed.pick(1...2)),
                rules: BackendRules(
                    ejection: EjectionRule(after: 2, base: .seconds(5)),
                    slowStart: seed.chance(50) ? .seconds(10) : .zero))
            var running: [Slot] = []
            var waiting: [Ticket] = []
            var now = Duration.zero
            func take(_ aftermath: Aftermath) {
                for grant in aftermath.grants {
                    #expect(waiting.first == grant.ticket, "seed \(number)")
                    waiting.removeAll { $0 == grant.ticket }
                    running.append(grant.slot)
                }
            }
            for _ in 0..<300 {
                now += .milliseconds(seed.pick(0...400))
                switch seed.pick(0...5) {
                case 0, 1:
                    let pick = Pick(affinity: seed.next(), random: seed.next())
                    switch backend.choose(pick, waiter: WaiterID(worker: 0, slot: 0), isRetry: false, now: now) {
                    case .slot(let slot): running.append(slot)
                    case .queued(let ticket): waiting.append(ticket)
                    case .full, .noServer, .budgetSpent: break
                    }
                case 2, 3:
                    guard !running.isEmpty else { break }
                    let slot = running.remove(at: seed.pick(0...(running.count - 1)))
                    take(backend.finished(slot, seed.pick([.good, .bad, .neutral]), now: now))
                case 4:
                    take(backend.check(seed.pick(0...2), seed.pick([.passed, .passed, .failed, .timedOut]), now: now))
                case _:
                    take(backend.tend(now: now).aftermath)
                }
                guard !waiting.isEmpty else { continue }
                let probe = backend.choose(Pick(), waiter: nil, isRetry: false, now: now)
                if case .slot = probe { Issue.record("seed \(number): a slot was free while someone waited") }
            }
        }
    }
}
