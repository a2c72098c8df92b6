// Settings to running workers, and their orderly end. It owns the loops; what happens on them is the workers' affair.
public import Addresses
public import Configuration
public import EventLoop
import Metrics
import Synchronization

/// All workers of a process.
public final class Workers {
    /// A listener that could not be opened.
    public struct ListenFailure: Error, CustomStringConvertible {
        public let listener: ListenerSettings
        public let error: SystemError

        public var description: String { "\(listener.position): \(reason)" }

        var reason: String {
            let advice =
                switch error.code {
                case SystemError.addressInUse: "another process listens there"
                case SystemError.permissionDenied:
                    "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another port or grant it"
                case _: error.reason
                }
            return "cannot listen on \(listener.text): \(advice)"
        }
    }

    public let workers: [Worker]
    private let loops: [Loop]
    private let shared: Shared
    private let drained = DrainCount()

    /// Makes the workers and opens every listener; nothing runs yet.
    public init(_ shared: Shared, seed: UInt64) throws {
        self.shared = shared
        var workers: [Worker] = []
        var loops: [Loop] = []
        let drained = drained
        for index in shared.metrics.indices {
            let network = try EpollNetwork()
            let worker = Worker(
                index: index, network: network, shared: shared, seed: seed &+ UInt64(index),
                drained: { drained.arrive() })
            workers.append(worker)
            loops.append(Loop(label: "ballast.worker.\(index)", network: network, subject: worker))
        }
        self.workers = workers
        self.loops = loops
        shared.introduce(workers)
        for (number, listener) in shared.plan.listeners.enumerated() { try open(listener, number) }
    }

    /// Where ballast listens: what the configuration says, the endpoint, and whether it is ballast's own page.
    public private(set) var endpoints: [(listener: ListenerSettings, endpoint: Endpoint, isStats: Bool)] = []

    private func open(_ listener: ListenerPlan, _ number: Int) throws(ListenFailure) {
        let settings = listener.settings
        let address = settings.address ?? (Machine.hasIPv6 ? .anyIPv6 : .anyIPv4)
        var endpoint = Endpoint(address, port: settings.port)
        let isStats = listener.role == .stats
        // One worker is enough for the page.
        for (index, worker) in workers.enumerated() where !isStats || index == 0 {
            do throws(SystemError) {
                // The first tells the port when 0 was asked for; the others join it there.
                endpoint = try worker.listen(number: number, on: endpoint, joining: index > 0)
            } catch {
                let failure = ListenFailure(listener: settings, error: error)
                guard listener.isOptional else { throw failure }
                shared.log.say(
                    .warning, "no statistics: \(failure.reason); write [stats] with 'listen' to serve them elsewhere")
                return
            }
        }
        endpoints.append((settings, endpoint, isStats))
    }

    public func start() {
        for loop in loops { loop.start() }
    }

    /// Stops accepting and lets running requests finish.
    /// - Parameter done: called once, from any thread, when all have, or were ended by `abort`.
    public var drain: @Sendable (_ done: @escaping @Sendable () -> Void) -> Void {
        let mailboxes = workers.map(\.mailbox)
        let drained = drained
        let shared = shared
        return { done in
            shared.startDraining()
            drained.expect(mailboxes.count, then: done)
            for mailbox in mailboxes { mailbox.send(.drain) }
        }
    }

    /// Ends everything now. What `drain` promised still holds.
    public var abort: @Sendable () -> Void {
        let mailboxes = workers.map(\.mailbox)
        return { for mailbox in mailboxes { mailbox.send(.abort) } }
    }

    /// One line of what was done, for the log.
    public var summary: String { shared.requests.summary(connections: shared.connections) }
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
