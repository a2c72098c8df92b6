// The running process: starts the workers, then waits for signals and ends in order. It handles no request.
import Addresses
import Balancing
import Configuration
import Dispatch
import Engine
import EventLoop
import HTTP
import Metrics

/// One life of ballast, from loaded settings to the exit code.
final class Daemon {
    private let origin: ConfigurationOrigin
    private let ready: Loading.Ready
    private let log: EventLog
    private let standardError = LogWriter(.standardError)
    private let notifier = Notifier()
    private let signals: Signals
    /// Signals and time limits of the process; never a worker's work.
    private let control: DispatchQueue

    /// - Parameters:
    ///   - origin: where a reload finds the configuration again.
    ///   - signals: watched since before the configuration was read, on `control`.
    init(_ ready: Loading.Ready, from origin: ConfigurationOrigin, _ signals: Signals, control: DispatchQueue) {
        self.signals = signals
        self.control = control
        self.ready = ready
        self.origin = origin
        let writer = standardError
        log = EventLog(
            level: Loading.level(ready.settings), form: Loading.form(ready.settings),
            clock: { CivilDate.timestamp(Machine.wallTime) }
        ) { writer.write($0) }
    }

    /// Runs until it is told to end.
    /// - Returns: the exit code.
    func run() -> Int32 {
        defer { standardError.flush() }
        Machine.ignoreBrokenPipes()
        do throws(Refusal) {
            try live()
            return 0
        } catch {
            for line in error.lines { log.say(.error, line) }
            return 1
        }
    }

    private func live() throws(Refusal) {
        let settings = Loading.within(descriptors: Machine.raiseDescriptorLimit(), ready.settings, log)
        let log = log
        let inherited = InheritedSocket.all { log.say(.warning, $0) }
        let count = settings.threads ?? Machine.usableProcessors
        let access = LogWriter.access(settings.accessLog, beside: standardError, log)
        let shared = makeShared(count)
        var proposal = shared.propose(
            settings, servers: ready.servers, security: ready.security.security, answers: ready.answers,
            accessLog: access?.sink)
        // First, so that a second ballast is told of the first one, and not of its ports.
        let pidFile = try makePidFile(settings.pidFile)
        defer { pidFile?.remove() }
        try Loading.openListeners(of: &proposal, shared, inherited: inherited)
        try become(ready.account, with: settings)
        // Only now: what the process may write later, it may write from the start.
        do throws(LogWriter.Unwritable) { try access?.open() } catch { throw Refusal("\(error)") }
        let ended = DispatchSemaphore(value: 0)
        do throws(SystemError) {
            let seed = UInt64.random(in: .min ... .max)
            let workers = try Workers(shared, proposal, seed: seed) { ended.signal() }
            let reloader = Reloader(
                origin, ready, access: access, shared: shared, log: log, standardError: standardError,
                notifier: notifier, inherited: inherited)
            // Before anybody is told that it is ready: what is sent then must be heard.
            watchSignals(shared, reloader)
            reloader.watchCertificates()
            announce(proposal.opened, inherited, settings, count)
            shared.noteStart(ready.effective)
            workers.start()
            signals.begin()
            let ticks = notifier.tick(shared, on: control)
            let looks = watchNumbers(shared)
            let notifier = notifier
            let control = control
            shared.whenReady { control.async { notifier.ready(shared.statusLine) } }
            ended.wait()
            shared.removeSocketFiles()
            withExtendedLifetime((signals, workers, ticks, looks)) {}
            log.say(.info, "stopped; \(shared.summary)")
            reloader.flush()
        } catch {
            throw Refusal("cannot start: \(error)")
        }
    }

    private func makeShared(_ workerCount: Int) -> Shared {
        Shared(
            workerCount: workerCount, log: log,
            build: Statistics.Build(
                version: Version.number, swift: Version.compiler, openssl: SecureLibrary.version),
            droppedLogLines: { LogWriter.droppedCount })
    }

    /// Has everything that is counted looked at once a second, for as long as the result is kept.
    private func watchNumbers(_ shared: Shared) -> any DispatchSourceTimer {
        let timer = DispatchSource.makeTimerSource(queue: control)
        timer.schedule(deadline: .now(), repeating: 1, leeway: .milliseconds(50))
        timer.setEventHandler { shared.record() }
        timer.resume()
        return timer
    }

    private func makePidFile(_ path: String?) throws(Refusal) -> PidFile? {
        guard let path else { return nil }
        do throws(PidFile.Failure) { return try PidFile(path) } catch { throw Refusal("\(error)") }
    }

    /// Becomes the user that the configuration names, who takes the UNIX sockets along.
    private func become(_ account: Account?, with settings: Settings) throws(Refusal) {
        guard let account else { return }
        guard Account.mayChange else {
            if !account.isCurrent {
                log.say(.warning, "'user' has no effect: only a process of root's can become another")
            }
            return
        }
        do throws(SystemError) {
            for listener in settings.allListeners {
                if let path = listener.path { try account.take(path) }
            }
            try account.become()
        } catch { throw Refusal("cannot become that user: \(error)") }
    }

    private func announce(
        _ opened: [OpenedListener], _ inherited: [InheritedSocket], _ settings: Settings, _ count: Int
    ) {
        for listener in opened { log.say(.info, listener.announcement) }
        for socket in inherited where !opened.contains(where: { $0.text == "systemd:\(socket.name)" }) {
            log.say(
                .warning, "nobody listens on the passed socket '\(socket.name)'; write listen = systemd:\(socket.name)")
        }
        Loading.tellMemory(settings, ready.servers, workers: count, log)
        for (backend, servers) in zip(settings.backends, ready.servers) {
            let names = servers.prefix(50).map(\.name).joined(separator: " ")
            let more = servers.count > 50 ? " and \(servers.count - 50) more" : ""
            log.say(.info, "\(backend.name): \(backend.balance) over \(names)\(more)")
        }
        for certificate in ready.security.certificates { log.say(.info, certificate.announcement) }
        log.say(.info, "ballast \(Version.number) is ready with \(count) worker\(count == 1 ? "" : "s")")
    }

    /// Does what signals ask for.
    private func watchSignals(_ shared: Shared, _ reloader: Reloader) {
        let log = log
        let stopping = Stopping(shared, reloader, notifier, log, queue: control)
        signals.on(StopSignal.allCases) { stopping.stop($0) }
        signals.onHangUp { reloader.reload() }
        signals.onReopen {
            log.say(.info, "USR1: reopening log files")
            reloader.access?.reopen { log.say(.error, $0) }
        }
        signals.onUnknown { log.say(.warning, "USR2: this version does not know it") }
    }
}
