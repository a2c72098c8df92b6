// Settings to running workers, and their orderly end. It owns the loops; what happens on them is the workers' affair.
public import Addresses
public import Configuration
public import EventLoop
public import Metrics
import Synchronization

/// All workers of a process.
public final class Workers {
    /// A listener that could not be opened.
    public struct ListenFailure: Error, CustomStringConvertible {
        public let listener: ListenerSettings
        public let error: SystemError

        public var description: String {
            let advice =
                switch error.code {
                case SystemError.addressInUse: "another process listens there"
                case SystemError.permissionDenied:
                    "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another port or grant it"
                case _: error.reason
                }
            return "\(listener.position): cannot listen on \(listener.text): \(advice)"
        }
    }

    public let workers: [Worker]
    private let loops: [Loop]
    private let drained = DrainCount()

    /// Makes the workers and opens every listener on each of them; nothing runs yet.
    public init(plan: Plan, count: Int, log: EventLog, seed: UInt64) throws {
        var workers: [Worker] = []
        var loops: [Loop] = []
        let budget = ClientBudget(limit: plan.settings.maxConnections)
        let drained = drained
        for index in 0..<count {
            let network = try EpollNetwork()
            let worker = Worker(
                network: network, plan: plan, log: log, budget: budget, checksHealth: index == 0,
                seed: seed &+ UInt64(index), drained: { drained.arrive() })
            workers.append(worker)
            loops.append(Loop(label: "ballast.worker.\(index)", network: network, subject: worker))
        }
        self.workers = workers
        self.loops = loops
        try openListeners(plan.settings.listeners)
    }

    /// Where ballast listens, by listener.
    public private(set) var endpoints: [Endpoint] = []

    private func openListeners(_ listeners: [ListenerSettings]) throws(ListenFailure) {
        for listener in listeners {
            let address = listener.address ?? (Machine.hasIPv6 ? .anyIPv6 : .anyIPv4)
            var endpoint = Endpoint(address, port: listener.port)
            for (index, worker) in workers.enumerated() {
                do throws(SystemError) {
                    // The first tells the port when 0 was asked for; the others join it there.
                    endpoint = try worker.listen(on: endpoint, joining: index > 0)
                } catch {
                    throw ListenFailure(listener: listener, error: error)
                }
            }
            endpoints.append(endpoint)
        }
    }

    public func start() {
        for loop in loops { loop.start() }
    }

    /// Stops accepting and lets running requests finish.
    /// - Parameter done: called once, from any thread, when all have, or were ended by `abort`.
    public var drain: @Sendable (_ done: @escaping @Sendable () -> Void) -> Void {
        let mailboxes = workers.map(\.mailbox)
        let drained = drained
        return { done in
            drained.expect(mailboxes.count, then: done)
            for mailbox in mailboxes { mailbox.send(.drain) }
        }
    }

    /// Ends everything now. What `drain` promised still holds.
    public var abort: @Sendable () -> Void {
        let mailboxes = workers.map(\.mailbox)
        return { for mailbox in mailboxes { mailbox.send(.abort) } }
    }

    /// All counters added up.
    public var snapshot: Snapshot { Snapshot(workers.map(\.counters)) }
}

/// Counts workers that have drained.
private final class DrainCount: Sendable {
    private struct State {
        var missing: Int?
        var done: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    func expect(_ count: Int, then done: @escaping @Sendable () -> Void) {
        state.withLock { $0 = State(missing: count, done: done) }
    }

    func arrive() {
        let done = state.withLock { state -> (@Sendable () -> Void)? in
            guard let missing = state.missing else { return nil }
            state.missing = missing - 1
            return missing == 1 ? state.done : nil
        }
        done?()
    }
}
