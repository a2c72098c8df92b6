// Signals as events on a queue of their own: nothing of ballast runs in a signal handler.
import Dispatch
import EventLoop
import Synchronization

/// Calls a closure for each signal that it watches, on a queue that stands still until `begin`: what is sent before ballast
/// runs is heard then.
final class Signals {
    private var sources: [any DispatchSourceSignal] = []
    private let queue: DispatchQueue
    private let actions = Actions()

    /// What requests lead to; known later than they may come.
    private final class Actions: Sendable {
        let bodies = Mutex<[Int32: @Sendable () -> Void]>([:])

        func run(_ number: Int32) { bodies.withLock { $0[number] }?() }
    }

    /// Watches the signals that ask for something. Those that end ballast still do so by themselves.
    /// - Parameter queue: serial, and idle so far.
    init(queue: DispatchQueue) {
        self.queue = queue
        queue.suspend()
        for number in [Machine.hangUpSignal, Machine.firstUserSignal, Machine.secondUserSignal] { watch(number) }
    }

    func onHangUp(_ body: @escaping @Sendable () -> Void) { set(Machine.hangUpSignal, body) }

    /// USR1: log files were moved away.
    func onReopen(_ body: @escaping @Sendable () -> Void) { set(Machine.firstUserSignal, body) }

    /// Signals that have no meaning here would end the process by default.
    func onUnknown(_ body: @escaping @Sendable () -> Void) { set(Machine.secondUserSignal, body) }

    func on(_ signals: [StopSignal], _ body: @escaping @Sendable (StopSignal) -> Void) {
        for signal in signals {
            set(signal.number) { body(signal) }
            watch(signal.number)
        }
    }

    /// Lets everything that has come, and comes, take effect.
    func begin() { queue.resume() }

    private func set(_ number: Int32, _ body: @escaping @Sendable () -> Void) {
        actions.bodies.withLock { $0[number] = body }
    }

    private func watch(_ number: Int32) {
        // Its default action would end the process before the source hears of it.
        Machine.ignoreSignal(number)
        let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
        let actions = actions
        source.setEventHandler { actions.run(number) }
        source.activate()
        sources.append(source)
    }
}

/// Signals that end ballast.
enum StopSignal: CaseIterable, Sendable {
    case terminate, interrupt, quit

    var number: Int32 {
        switch self {
        case .terminate: Machine.terminateSignal
        case .interrupt: Machine.interruptSignal
        case .quit: Machine.quitSignal
        }
    }

    var name: String {
        switch self {
        case .terminate: "TERM"
        case .interrupt: "INT"
        case .quit: "QUIT"
        }
    }
}
