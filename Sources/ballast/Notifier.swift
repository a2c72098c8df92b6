// What the service manager is told: that ballast is ready, reloads, stops, how it does, and that every loop turns.
import Dispatch
import Engine
import EventLoop
import Synchronization

/// Silent where no manager asked to be told.
final class Notifier: Sendable {
    private let socket: NotifySocket?
    private let told = Mutex("")

    /// A loop that has not turned for so long has died, and only a restart helps.
    private static let patience = Duration.seconds(5)
    private static let statusInterval = Duration.seconds(5)

    init() { socket = NotifySocket() }

    func reloading() {
        let microseconds = Int64(Machine.monotonicTime / .microseconds(1))
        socket?.send("RELOADING=1\nMONOTONIC_USEC=\(microseconds)\nSTATUS=reading the configuration again\n")
    }

    /// It serves: from the start on, or after a reload, whatever that came to.
    func ready(_ status: String) { socket?.send("READY=1\nSTATUS=\(status)\n") }

    func stopping(_ status: String) { socket?.send("STOPPING=1\nSTATUS=\(status)\n") }

    /// Tells from time to time how ballast does, and that it lives while it does: for as long as the result is kept.
    func tick(_ shared: Shared, on queue: DispatchQueue) -> (any DispatchSourceTimer)? {
        guard let socket else { return nil }
        let watchdog = socket.watchdog
        // Twice within what the manager waits, so that one late tick is no death.
        let interval = min(watchdog.map { $0 / 3 } ?? Self.statusInterval, Self.statusInterval)
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now(), repeating: .microseconds(max(1000, Int(interval / .microseconds(1)))))
        let startedAt = Machine.monotonicTime
        timer.setEventHandler { [self] in
            if watchdog != nil {
                let silence = Machine.monotonicTime - max(shared.oldestBeat, startedAt)
                if silence < Self.patience { socket.send("WATCHDOG=1\n") }
                shared.askForBeats()
            }
            say(shared.pulse)
        }
        timer.activate()
        return timer
    }

    /// Sends a status that is another than the last one.
    private func say(_ status: String) {
        let isNew = told.withLock { told -> Bool in
            defer { told = status }
            return told != status
        }
        if isNew { socket?.send("STATUS=\(status)\n") }
    }
}
