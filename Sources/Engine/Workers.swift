// Running workers and their orderly end. It owns the loops; what happens on them is the workers' affair.
import Addresses
import Balancing
public import EventLoop
import Metrics
import Synchronization

/// All workers of a process.
public final class Workers {
    private let loops: [Loop]

    /// Makes the workers and lets them adopt their first plan; nothing runs yet.
    /// - Parameter drained: called once, from any thread, when all have drained or were ended by `abort`.
    public init(
        _ shared: Shared, _ proposal: Proposal, seed: UInt64, drained: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        var workers: [Worker] = []
        var loops: [Loop] = []
        let missing = DrainCount(shared.metrics.count, then: drained)
        for index in shared.metrics.indices {
            let network = try EpollNetwork()
            let worker = Worker(
                index: index, network: network, shared: shared, plan: proposal.plan, seed: seed &+ UInt64(index),
                drained: { missing.arrive() })
            workers.append(worker)
            loops.append(Loop(label: "ballast.worker.\(index)", network: network, subject: worker))
        }
        self.loops = loops
        shared.introduce(workers)
        shared.adopt(proposal, now: Machine.monotonicTime) { _ in }
    }

    public func start() {
        for loop in loops { loop.start() }
    }
}

extension Shared {
    /// ballast will stop: it is not ready any more, and no connection is kept after its answer.
    public func windDown() {
        startDraining()
        sendToAll(.windDown)
    }

    /// Stops accepting and lets running requests finish.
    public func drain() {
        startDraining()
        sendToAll(.drain)
    }

    /// Ends everything now.
    public func abort() {
        startDraining()
        sendToAll(.abort)
    }

    /// One line of what was done, for the log.
    public var summary: String {
        let counts = counts
        let (cut, refused) = (counts[.cutAtStop], counts[.refusedAtStop])
        let end = cut + refused > 0 ? "; at the end \(cut) were cut and \(refused) refused" : ""
        return requests.summary(connections: connections) + end
    }
}

/// Counts workers that have drained.
private final class DrainCount: Sendable {
    private let missing: Mutex<Int>
    private let done: @Sendable () -> Void

    init(_ count: Int, then done: @escaping @Sendable () -> Void) {
        missing = Mutex(count)
        self.done = done
    }

    func arrive() {
        let isLast = missing.withLock { missing in
            missing -= 1
            return missing == 0
        }
        if isLast { done() }
    }
}
