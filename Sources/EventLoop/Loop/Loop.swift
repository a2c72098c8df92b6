// A loop on Dispatch: one serial queue, one source on the epoll set, and a handler that stays while there is work.
import Dispatch
import Synchronization

/// What a loop runs: one turn at a time, always on the loop's queue.
public protocol Turning: AnyObject {
    /// Handles what is due and what is ready; waits at most `limit` for the latter. False when nothing happened and
    /// nothing is left to do: the network is then armed for the next deadline, and the loop may sleep.
    func turn(waitingAtMost limit: Duration) -> Bool
}

/// Runs turns on a Dispatch queue of its own.
///
/// The handler waits in the set itself while traffic flows, because going through Dispatch for each batch costs a
/// switch; after an empty wait it gives its thread back, and the set's timerfd ends the sleep at the next deadline.
/// The queue has no target: queues that share a global one and block in a wait would starve it. Nothing else is
/// submitted to it, no Dispatch timer either.
public final class Loop {
    /// The longest that a handler waits in the set at a time.
    public static let longestWait = Duration.milliseconds(50)

    private let label: String
    private let descriptor: Int32
    /// Behind a lock that is free whenever it is taken: turns run on one queue, and nobody else takes it.
    private let subject: Subject
    private let wake: @Sendable () -> Void
    private var source: (any DispatchSourceRead)?

    /// - Parameters:
    ///   - network: the one that `subject` waits on.
    ///   - subject: gets turns until the process ends.
    public init(label: String, network: EpollNetwork, subject: sending any Turning) {
        self.label = label
        descriptor = network.descriptor
        self.subject = Subject(subject)
        wake = network.wake
    }

    /// Starts the turns. Call it once.
    public func start() {
        // Made here and not before: Dispatch traps when a source goes that was never activated.
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: DispatchQueue(label: label))
        let subject = subject
        source.setEventHandler {
            while subject.turn() {}
        }
        source.activate()
        self.source = source
        // The first turn: timers that were set before would otherwise wait for the first event.
        wake()
    }
}

/// What is turned, where any thread may send it.
private final class Subject: Sendable {
    private let turning: Mutex<any Turning>

    init(_ turning: sending any Turning) { self.turning = Mutex(turning) }

    func turn() -> Bool { turning.withLock { $0.turn(waitingAtMost: Loop.longestWait) } }
}
