// How ballast ends: told once it finishes what runs, told twice it ends at once. It never ends the process itself.
import Configuration
import Dispatch
import Engine
import EventLoop
import Metrics
import Synchronization

final class Stopping: Sendable {
    private let shared: Shared
    private let reloader: Reloader
    private let notifier: Notifier
    private let log: EventLog
    private let queue: DispatchQueue
    private let state = Mutex(State())

    private struct State {
        var firstAt: Duration?
        var isOver = false
    }

    /// A wrapper may send a signal to the process and to its group: twice in one repeatTime is once.
    private static let repeatTime = Duration.milliseconds(200)

    /// - Parameter queue: where time limits come due.
    init(_ shared: Shared, _ reloader: Reloader, _ notifier: Notifier, _ log: EventLog, queue: DispatchQueue) {
        self.shared = shared
        self.reloader = reloader
        self.notifier = notifier
        self.log = log
        self.queue = queue
    }

    func stop(_ signal: StopSignal) {
        let now = Machine.monotonicTime
        let firstAt = state.withLock { state -> Duration? in
            defer { state.firstAt = state.firstAt ?? now }
            return state.firstAt
        }
        if let firstAt, signal != .quit, now - firstAt < Self.repeatTime { return }
        reloader.end()
        guard firstAt == nil, signal != .quit else {
            log.say(.warning, "\(signal.name): stopping now")
            notifier.stopping("stopping now")
            cut()
            return
        }
        let settings = reloader.settings
        notifier.stopping("finishing what runs")
        guard settings.shutdownDelay > .zero else {
            drain("\(signal.name): ", within: settings.shutdownTimeout)
            return
        }
        log.say(.info, "\(signal.name): not ready any more; clients are accepted for another \(settings.shutdownDelay)")
        shared.windDown()
        after(settings.shutdownDelay) { self.drain("", within: settings.shutdownTimeout) }
    }

    private func drain(_ cause: String, within timeout: Duration) {
        log.say(.info, "\(cause)running requests may finish within \(timeout)")
        shared.drain()
        after(timeout) { [self] in
            log.say(.warning, "time is up: cutting what still runs")
            cut()
        }
    }

    private func cut() {
        state.withLock { $0.isOver = true }
        shared.abort()
    }

    /// Runs `body` later, unless all was cut before.
    private func after(_ delay: Duration, _ body: @escaping @Sendable () -> Void) {
        queue.asyncAfter(deadline: .now() + .milliseconds(Int(delay / .milliseconds(1)))) { [self] in
            if !state.withLock({ $0.isOver }) { body() }
        }
    }
}
