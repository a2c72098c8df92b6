// Signals as events on a queue of their own: nothing of ballast runs in a signal handler.
import Dispatch
import EventLoop

/// Calls a closure for each signal that it watches.
final class Signals {
    private var sources: [any DispatchSourceSignal] = []
    private let queue: DispatchQueue

    init(queue: DispatchQueue) { self.queue = queue }

    func onHangUp(_ body: @escaping @Sendable () -> Void) {
        watch(Machine.hangUpSignal, body)
    }

    /// USR1: log files were moved away.
    func onReopen(_ body: @escaping @Sendable () -> Void) { watch(Machine.firstUserSignal, body) }

    /// Signals that have no meaning here would end the process by default.
    func onUnknown(_ body: @escaping @Sendable () -> Void) { watch(Machine.secondUserSignal, body) }

    func on(_ signals: [StopSignal], _ body: @escaping @Sendable (StopSignal) -> Void) {
        for signal in signals { watch(signal.number) { body(signal) } }
    }

    private func watch(_ number: Int32, _ body: @escaping @Sendable () -> Void) {
        // Its default action would end the process before the source hears of it.
        Machine.ignoreSignal(number)
        let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
        source.setEventHandler { body() }
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
