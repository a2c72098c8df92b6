// Reads the configuration again when it is told to: beside everything else, and with effect only if all of it is right.
// One reload at a time; those that are asked for meanwhile are one more. It never touches a request.
import Balancing
import Configuration
import Dispatch
import Engine
import EventLoop
import HTTP
import Metrics
import Synchronization

final class Reloader: Sendable {
    private struct State {
        var isBusy = false
        /// Asked for while one was under way.
        var isAskedAgain = false
        var isOver = false
        var settings: Settings
        var effective: EffectiveSettings
        /// Bodies of the answers that ballast gives itself.
        var answers: AnswerBodies
        var security: LoadedSecurity
        var access: LogWriter?
        /// Of logs that a reload has left: requests that began before still write there.
        var former: [WeakWriter] = []
        /// When certificates that end soon were told last, and of which.
        var warnedAt: Double?
        var warnedOf: [String] = []
    }

    private struct WeakWriter: Sendable {
        weak var writer: LogWriter?
    }

    private let origin: ConfigurationOrigin
    private let shared: Shared
    private let log: EventLog
    private let standardError: LogWriter
    private let notifier: Notifier
    private let inherited: [InheritedSocket]
    /// Looking names up may take long.
    private let queue = DispatchQueue(label: "ballast.reload")
    private let state: Mutex<State>

    init(
        _ origin: ConfigurationOrigin, _ loaded: Loading.Ready, access: LogWriter?, shared: Shared, log: EventLog,
        standardError: LogWriter, notifier: Notifier, inherited: [InheritedSocket]
    ) {
        self.origin = origin
        self.shared = shared
        self.log = log
        self.standardError = standardError
        self.notifier = notifier
        self.inherited = inherited
        state = Mutex(
            State(
                settings: loaded.settings, effective: loaded.effective, answers: loaded.answers,
                security: loaded.security,
                access: access))
        shared.noteCertificates(loaded.security.certificates.map(\.told))
    }

    /// The settings in effect.
    var settings: Settings { state.withLock { $0.settings } }

    /// The access log's writer in effect.
    var access: LogWriter? { state.withLock { $0.access } }

    /// Waits until what was said in access logs is written.
    func flush() {
        let writers = state.withLock { state in state.former.compactMap(\.writer) + [state.access].compactMap { $0 } }
        for writer in writers { writer.flush() }
    }

    /// ballast is stopping: nothing is loaded any more.
    func end() { state.withLock { $0.isOver = true } }

    /// The configuration is to be read again, now or as soon as a reload under way is over.
    func reload() {
        let (begins, isOver) = state.withLock { state -> (Bool, Bool) in
            guard !state.isOver, !state.isBusy else {
                state.isAskedAgain = !state.isOver
                return (false, state.isOver)
            }
            state.isBusy = true
            return (true, false)
        }
        if isOver { log.say(.info, "HUP: ballast is stopping; the configuration is not read again") }
        guard begins else { return }
        log.say(.info, "HUP: reading the configuration again")
        notifier.reloading()
        queue.async { self.load() }
    }

    private func load() {
        let began = Machine.monotonicTime
        do throws(Refusal) {
            if case .file("-", _) = origin {
                throw Refusal(
                    "the configuration came from standard input, which cannot be read again; give it in a file")
            }
            let (known, old, secured) = state.withLock { ($0.effective, $0.settings, $0.security) }
            let inUse = [old.accessLog, old.pidFile ?? ""]
            let loaded = try Loading.ready(from: origin, known: known, inUse: inUse, security: secured)
            let settings = Loading.within(descriptors: Machine.raiseDescriptorLimit(), loaded.settings, log)
            let access = try accessLog(settings.accessLog)
            var proposal = shared.propose(
                settings, servers: loaded.servers, security: loaded.security.security, answers: loaded.answers,
                accessLog: access?.sink)
            try Loading.openListeners(of: &proposal, shared, inherited: inherited)
            let opened = proposal.opened
            guard state.withLock({ !$0.isOver }) else { return }
            for line in Loading.logLines(loaded.warnings.joined(separator: "\n")) { log.say(.warning, line) }
            shared.adopt(proposal, now: Machine.monotonicTime) { [self] report in
                let took = Machine.monotonicTime - began
                queue.async { [self] in
                    adopted(loaded, settings, access, opened, took: took, report)
                }
            }
        } catch {
            refused(error)
        }
    }

    /// The writer of the log at `place`: the one in effect, where it is the same.
    private func accessLog(_ place: String) throws(Refusal) -> LogWriter? {
        let (old, writer) = state.withLock { ($0.settings.accessLog, $0.access) }
        if old == place { return writer }
        do throws(LogWriter.Unwritable) {
            let writer = LogWriter.access(place, beside: standardError, log)
            try writer?.open()
            return writer
        } catch {
            throw Refusal("\(error)")
        }
    }

    private func adopted(
        _ loaded: Loading.Ready, _ settings: Settings, _ access: LogWriter?, _ opened: [OpenedListener], took: Duration,
        _ report: AdoptionReport
    ) {
        let (before, old, answersBefore) = state.withLock { ($0.effective, $0.settings, $0.answers) }
        let securityBefore = state.withLock { $0.security }
        log.set(Loading.level(settings), Loading.form(settings))
        for key in Self.fixed(old, settings) {
            log.say(.warning, "'\(key)' takes effect with the next start, not by a reload")
        }
        var changes = before.changes(to: loaded.effective, except: Self.fixedKeys)
        if !loaded.security.isSame(as: securityBefore) {
            changes.append("global: the files of TLS, or their rules, are others")
        }
        if answersBefore != loaded.answers { changes.append("global: the bodies in error-folder are others") }
        for line in changes { log.say(.info, line) }
        for listener in opened { log.say(.info, listener.announcement) }
        if settings.maxConnections != old.maxConnections || settings.replayMemory != old.replayMemory {
            Loading.tellMemory(settings, loaded.servers, workers: shared.workerCount, log)
        }
        let summary = changes.isEmpty ? "reloaded; nothing has changed" : "reloaded"
        log.say(
            .info,
            "\(summary), in \(Self.milliseconds(took)); no loop was held longer than \(Self.milliseconds(report.longestHold))"
        )
        state.withLock { state in
            // What only a start can change stays as it was, for the next comparison.
            var settings = settings
            (settings.threads, settings.pidFile, settings.user) = (old.threads, old.pidFile, old.user)
            state.settings = settings
            state.effective = loaded.effective
            state.answers = loaded.answers
            state.security = loaded.security
            if let former = state.access, former !== access {
                state.former.removeAll { $0.writer == nil }
                state.former.append(WeakWriter(writer: former))
            }
            state.access = access
        }
        if !loaded.security.isSame(as: securityBefore) {
            tell(loaded.security.certificates, but: securityBefore.certificates)
        }
        shared.noteCertificates(loaded.security.certificates.map(\.told))
        shared.noteReload(loaded.effective, changes: changes)
        notifier.reloaded("reloaded")
        finish()
    }

    private func refused(_ refusal: Refusal) {
        shared.noteRefusal(refusal.lines.first ?? "")
        for line in refusal.lines { log.say(.error, line) }
        log.say(.error, "the configuration is refused; everything goes on as before")
        notifier.reloaded("the last reload was refused")
        finish()
    }

    private func finish() {
        let again = state.withLock { state -> Bool in
            defer { (state.isBusy, state.isAskedAgain) = (false, false) }
            return state.isAskedAgain && !state.isOver
        }
        if again { reload() }
    }

    /// Keys that a reload cannot change.
    private static let fixedKeys = ["threads", "pid-file", "user"]

    /// Those of them that were changed.
    private static func fixed(_ old: Settings, _ new: Settings) -> [String] {
        let isChanged = [old.threads != new.threads, old.pidFile != new.pidFile, old.user != new.user]
        return zip(fixedKeys, isChanged).filter(\.1).map(\.0)
    }

    // MARK: Certificates

    /// Looks at the files of TLS from now on, as often as the configuration says.
    func watchCertificates() {
        queue.async { self.warnOfExpiry() }
        waitForCertificates()
    }

    private func waitForCertificates() {
        let every = settings.certificateCheck
        // Where it is never, a reload may say otherwise.
        let wait = every == .zero ? Duration.seconds(60) : max(every, .milliseconds(100))
        queue.asyncAfter(deadline: .now() + .milliseconds(Int(wait / .milliseconds(1)))) {
            if every != .zero { self.lookAtCertificates() }
            if self.state.withLock({ !$0.isOver }) { self.waitForCertificates() }
        }
    }

    /// Takes up what has changed, or keeps everything as it is.
    private func lookAtCertificates() {
        let (settings, before, isBusy) = state.withLock { ($0.settings, $0.security, $0.isBusy) }
        warnOfExpiry()
        // A reload that is under way looks by itself.
        guard !isBusy, before.marks.contains(where: { $0.now != $0 }) else { return }
        var mistakes = ""
        let loaded = SecurityFiles.load(settings, before: before, tickets: Loading.tickets, mistakes: &mistakes)
        guard mistakes.isEmpty else {
            // The next try is for files that have changed again.
            state.withLock { $0.security.marks = loaded.marks }
            shared.noteCertificateLoad(false)
            for line in Loading.logLines(mistakes) { log.say(.error, line) }
            return log.say(.error, "changed certificates are refused; those before stay in use")
        }
        state.withLock { $0.security = loaded }
        shared.noteCertificateLoad(true)
        guard !loaded.isSame(as: before) else {
            return log.say(.info, "the files of TLS have been touched; what is in them is in use already")
        }
        shared.secure(loaded.security)
        shared.noteCertificates(loaded.certificates.map(\.told))
        log.say(.info, "the files of TLS have changed, and are in use")
        tell(loaded.certificates, but: before.certificates)
    }

    /// Says which certificates there are, but those that there were.
    private func tell(_ certificates: [TLSCertificate], but before: [TLSCertificate]) {
        for certificate in certificates where !before.contains(certificate) { log.say(.info, certificate.announcement) }
        warnOfExpiry()
    }

    /// Certificates that end soon are told once a day.
    private func warnOfExpiry() {
        let now = Machine.wallTime
        let soon = state.withLock { state -> [TLSCertificate] in
            guard
                state.warnedAt.map({ now - $0 >= 86_400 || now < $0 }) ?? true
                    || state.warnedOf != state.security.serials
            else { return [] }
            (state.warnedAt, state.warnedOf) = (now, state.security.serials)
            return state.security.certificates
        }
        for certificate in soon {
            guard let text = certificate.warning(now: now) else { continue }
            log.say(Double(certificate.expiry) < now ? .error : .warning, text)
        }
    }

    private static func milliseconds(_ duration: Duration) -> String {
        let microseconds = Int(duration / .microseconds(1))
        let digits = microseconds % 1000 / 10
        return "\(microseconds / 1000).\(digits < 10 ? "0" : "")\(digits) ms"
    }
}
