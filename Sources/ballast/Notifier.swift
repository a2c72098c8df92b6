// What the service manager is told: that ballast is ready, reloads, stops, how it does, and that every loop turns. It never
// decides any of that.
import Dispatch
import Engine
import EventLoop
import Synchronization

/// Silent where no manager asked to be told.
final class Notifier: Sendable {
    private struct State {
        /// It has said that it serves; until then a reload is part of the start.
        var isReady = false
        var isStopping = false
        var status = ""
        var statusAt = Duration.zero
    }

    private let socket: NotifySocket?
    private let state = Mutex(State())

    /// A loop that has not turned for so long has died, and only a restart helps.
    private static let patience = Duration.seconds(5)
    /// From one look at the loops to the next; much less than their patience.
    private static let interval = Duration.seconds(1)
    /// From one status to the next.
    private static let statusInterval = Duration.seconds(5)

    init() { socket = NotifySocket() }

    /// One round of checks is done: it serves.
    func ready(_ status: String) {
        state.withLock { $0.isReady = true }
        reloaded(status)
    }

    func reloading() {
        let microseconds = Int64(Machine.monotonicTime / .microseconds(1))
        let isReady = state.withLock { $0.isReady && !$0.isStopping }
        if isReady {
            socket?.send("RELOADING=1\nMONOTONIC_USEC=\(microseconds)\nSTATUS=reading the configuration again\n")
        }
    }

    /// A reload is over, whatever it came to.
    func reloaded(_ status: String) {
        let line = state.withLock { state -> String? in
            guard !state.isStopping else { return nil }
            state.status = status
            state.statusAt = Machine.monotonicTime
            return state.isReady ? "READY=1\nSTATUS=\(status)\n" : "STATUS=\(status)\n"
        }
        if let line { socket?.send(line) }
    }

    func stopping(_ status: String) {
        state.withLock { $0.isStopping = true }
        socket?.send("STOPPING=1\nSTATUS=\(status)\n")
    }

    /// Tells from time to time how ballast does, and that it lives while it does: for as long as the result is kept.
    func tick(_ shared: Shared, on queue: DispatchQueue) -> (any DispatchSourceTimer)? {
        guard let socket else { return nil }
        let watchdog = socket.watchdog
        // Several times within what the manager waits, so that one late tick is no death.
        let interval = min(watchdog.map { $0 / 3 } ?? Self.interval, Self.interval)
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now(), repeating: .microseconds(max(1000, Int(interval / .microseconds(1)))))
        let startedAt = Machine.monotonicTime
        timer.setEventHandler { [self] in
            if watchdog != nil {
                let silence = Machine.monotonicTime - max(shared.oldestHeartbeat, startedAt)
                if silence < Self.patience { socket.send("WATCHDOG=1\n") }
                shared.askForHeartbeats()
            }
            tellStatus(of: shared)
        }
        timer.activate()
        return timer
    }

    /// Sends a status that is another than the last one, and not sooner than that was read.
    private func tellStatus(of shared: Shared) {
        let now = Machine.monotonicTime
        guard state.withLock({ !$0.isStopping && now - $0.statusAt >= Self.statusInterval }) else { return }
        let status = shared.statusLine
        let isNew = state.withLock { state -> Bool in
            defer { (state.status, state.statusAt) = (status, now) }
            return state.status != status
        }
        if isNew { socket?.send("STATUS=\(status)\n") }
    }
}
