// The running process: starts the workers, then waits for signals and ends in order. It handles no request.
import Addresses
import Balancing
import Configuration
import Dispatch
import Engine
import EventLoop
import Metrics
import Synchronization

/// One life of ballast, from loaded settings to the exit code.
final class Daemon {
    private let settings: Settings
    private let log: EventLog
    private let writer: LogWriter
    private var accessWriter: LogWriter?
    /// Signals and the end's deadline; never a worker's work.
    private let control = DispatchQueue(label: "ballast.control")

    init(_ settings: Settings) {
        self.settings = settings
        let writer = LogWriter(.standardError)
        self.writer = writer
        let level = LogLevel.allCases.first { $0.word == settings.logLevel } ?? .info
        log = EventLog(level: level) { writer.write($0) }
    }

    /// Runs until it is told to end.
    /// - Returns: the exit code.
    func run() -> Int32 {
        defer {
            accessWriter?.flush()
            writer.flush()
        }
        Machine.ignoreBrokenPipes()
        let limited = settingsWithin(descriptors: Machine.raiseDescriptorLimit())
        let workers: Workers
        let ended = DispatchSemaphore(value: 0)
        let signals: Signals
        do {
            let plan = try Loading.plan(limited)
            let count = limited.threads ?? Machine.usableProcessors
            let access = try LogWriter.access(limited.accessLog, beside: writer)
            accessWriter = access
            var tell: (@Sendable (String) -> Void)?
            if let access { tell = { line in access.write(line) } }
            let writer = writer
            let shared = Shared(
                plan: plan, workerCount: count, log: log,
                build: Statistics.Build(version: Version.number, swift: Version.compiler),
                accessLog: tell,
                droppedLogLines: { writer.droppedCount + (access === writer ? 0 : access?.droppedCount ?? 0) })
            workers = try Workers(shared, seed: UInt64.random(in: .min ... .max))
            // Before anybody is told that it is ready: what is sent then must be heard.
            signals = watchSignals(workers, ended)
            announce(plan, workers, count)
        } catch {
            log.say(.error, "\(error)")
            return 1
        }
        workers.start()
        ended.wait()
        withExtendedLifetime(signals) {}
        log.say(.info, "stopped; \(workers.summary)")
        return 0
    }

    /// Every client may need a descriptor towards a server as well; without enough, fewer clients are let in.
    private func settingsWithin(descriptors limit: Int) -> Settings {
        var settings = settings
        let room = max(1, (limit - 64) / 2)
        if settings.maxConnections > room {
            // A little less than asked for is nothing to bother anybody with.
            log.say(
                room * 10 < settings.maxConnections * 9 ? .warning : .debug,
                "max-connections is lowered from \(settings.maxConnections) to \(room): the process may open "
                    + "\(limit) descriptors, and a client can take two; raise the limit (ulimit -n, LimitNOFILE)")
            settings.maxConnections = room
        }
        return settings
    }

    private func announce(_ plan: Plan, _ workers: Workers, _ count: Int) {
        for (listener, endpoint, isStats) in workers.endpoints {
            let place = listener.port == 0 ? endpoint.description : listener.text
            log.say(.info, isStats ? "statistics on http://\(place)/" : "listening on \(place)")
        }
        for backend in plan.backends {
            let names = backend.backend.servers.map(\.name).joined(separator: " ")
            log.say(.info, "\(backend.backend.name): \(backend.settings.balance) over \(names)")
        }
        log.say(.info, "ballast \(Version.number) is ready with \(count) worker\(count == 1 ? "" : "s")")
    }

    /// Does what signals ask for, until `ended` is signalled when the workers have ended.
    private func watchSignals(_ workers: Workers, _ ended: DispatchSemaphore) -> Signals {
        let isStopping = Mutex<Duration?>(nil)
        let timeout = settings.shutdownTimeout
        let drain = workers.drain
        let abort = workers.abort
        let control = control
        let log = log
        let signals = Signals(queue: control)
        signals.on(StopSignal.allCases) { signal in
            let now = Machine.monotonicTime
            let firstAt = isStopping.withLock { first -> Duration? in
                defer { first = first ?? now }
                return first
            }
            let isFirst = firstAt == nil
            // A wrapper may send to the process and to its group: twice in one breath is once.
            if let firstAt, signal != .quit, now - firstAt < .milliseconds(200) { return }
            if isFirst { drain { ended.signal() } }
            guard isFirst, signal != .quit else {
                log.say(.warning, "\(signal.name): stopping now")
                abort()
                return
            }
            log.say(.info, "\(signal.name): running requests may finish within \(timeout)")
            control.asyncAfter(deadline: .now() + .milliseconds(Int(timeout / .milliseconds(1)))) {
                log.say(.warning, "time is up: cutting what still runs")
                abort()
            }
        }
        signals.onHangUp {
            log.say(.warning, "HUP: this version cannot reload; restart it to read the configuration again")
        }
        let writers = [writer, accessWriter].compactMap { $0 }
        signals.onReopen {
            log.say(.info, "USR1: reopening log files")
            for writer in writers { writer.reopen { log.say(.error, $0) } }
        }
        signals.onUnknown { log.say(.warning, "USR2: this version does not know it") }
        return signals
    }
}
