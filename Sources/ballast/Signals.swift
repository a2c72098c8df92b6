// Signals as events on a queue of their own: nothing of ballast runs in a signal handler.
import Dispatch
import EventLoop
import Synchronization

/// Calls a closure for each signal that it watches, from `begin` on: what is sent before ballast runs is heard then.
final class Signals {
    private var sources: [any DispatchSourceSignal] = []
    private let queue: DispatchQueue
    private let actions = Actions()

    /// What signals lead to; known later than they may come.
    private final class Actions: Sendable {
        private struct State {
            var bodies: [Int32: @Sendable () -> Void] = [:]
            /// What came before it began; nil afterwards.
            var early: [Int32]? = []
        }

        private let state = Mutex(State())

        func set(_ number: Int32, _ body: @escaping @Sendable () -> Void) {
            state.withLock { $0.bodies[number] = body }
        }

        func run(_ number: Int32) {
            let body = state.withLock { state -> (@Sendable () -> Void)? in
                state.early?.append(number)
                return state.early == nil ? state.bodies[number] : nil
            }
            body?()
        }

        func begin() {
            let early = state.withLock { state -> [Int32] in
                defer { state.early = nil }
                return state.early ?? []
            }
            for number in early { run(number) }
        }
    }

    /// Watches the signals that ask for something. Those that end ballast still do so by themselves.
    /// - Parameter queue: serial; every closure runs there.
    init(queue: DispatchQueue) {
        self.queue = queue
        for number in [Machine.hangUpSignal, Machine.firstUserSignal, Machine.secondUserSignal] {
            // Until it is watched it would end the process. What is lost by that came before the configuration was read.
            Machine.ignoreSignal(number)
            watch(number)
        }
    }

    func onHangUp(_ body: @escaping @Sendable () -> Void) { actions.set(Machine.hangUpSignal, body) }

    /// USR1: log files were moved away.
    func onReopen(_ body: @escaping @Sendable () -> Void) { actions.set(Machine.firstUserSignal, body) }

    /// Signals that have no meaning here would end the process by default.
    func onUnknown(_ body: @escaping @Sendable () -> Void) { actions.set(Machine.secondUserSignal, body) }

    func on(_ signals: [StopSignal], _ body: @escaping @Sendable (StopSignal) -> Void) {
        for signal in signals {
            actions.set(signal.number) { body(signal) }
            watch(signal.number)
        }
    }

    /// Lets everything that has come, and comes, take effect.
    func begin() {
        let actions = actions
        queue.async { actions.begin() }
    }

    private func watch(_ number: Int32) {
        let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
        let actions = actions
        let isWatched = DispatchSemaphore(value: 0)
        source.setRegistrationHandler { isWatched.signal() }
        source.setEventHandler { actions.run(number) }
        source.activate()
        // Dispatch begins to watch on a thread of its own; a signal that came before would be lost.
        isWatched.wait()
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
