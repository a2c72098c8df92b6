// Checks every server in its rhythm, for all workers, on one worker's loop. Results go to the backend's machine; what
// they mean is decided there.
import Balancing
import Configuration
import EventLoop
import Metrics

final class Prober {
    private let worker: Worker
    private var probes = SlotTable<Probe>(kind: TokenKind.probe.rawValue)
    /// By the token of the check under way: an event that comes late for an earlier check finds nobody.
    private var checks = SlotTable<Probe>(kind: TokenKind.check.rawValue)

    init(_ worker: Worker) { self.worker = worker }

    /// Sees to it that `member` of `backend` is checked, or that it is not, as its plan says.
    /// - Parameter number: of the probe among those that begin now. Thousands are not asked at the same moment, but a
    ///   millisecond apart, as far as their rhythm reaches.
    /// - Returns: whether a probe was begun.
    func update(_ member: SharedServer, of backend: WorkerBackend, number: Int) -> Bool {
        guard let server = backend.server(member.number) else { return false }
        let settings = backend.plan.settings
        let isWanted = settings.health != .off && !backend.shared.backend.isDisabled(server.number)
        switch (server.probe, isWanted) {
        case (let probe?, true):
            probe.reschedule()
            return false
        case (let probe?, false):
            stop(probe)
            return false
        case (nil, true):
            let probe = probes.insert { Probe(token: $0, backend: backend, server: server, worker: worker) }
            server.probe = probe
            probe.schedule(after: .milliseconds(number % max(1, Int(settings.healthEvery / .milliseconds(1)))))
            return true
        case (nil, false):
            return false
        }
    }

    /// Checks `server` now, unless a check is under way; false where it is not checked at all.
    func checkNow(_ server: WorkerServer) -> Bool {
        guard let probe = server.probe else { return false }
        probe.hurry()
        return true
    }

    func stop(_ probe: Probe) {
        probe.stop()
        probe.server.probe = nil
        probes.remove(probe.token)
    }

    /// Stops all of them.
    func stop() { for probe in probes.all { stop(probe) } }

    func handle(_ token: Token, _ readiness: Readiness) { checks[token]?.handle(readiness) }

    func expire(_ token: Token, _ time: Duration) { probes[token]?.expire(time) }

    /// A check of `probe` begins; its events come with the returned token until `ended`.
    func began(_ probe: Probe) -> Token {
        var token = Token(kind: TokenKind.check.rawValue, slot: 0, generation: 0)
        _ = checks.insert {
            token = $0
            return probe
        }
        return token
    }

    func ended(_ token: Token) { checks.remove(token) }
}

/// One server's checks, one after the other.
final class Probe {
    let token: Token
    let server: WorkerServer
    private let worker: Worker
    private let backend: WorkerBackend
    private var check: (any HealthCheck)?
    private var checkToken: Token?
    private var startedAt = Duration.zero
    private var alarm = Alarm()
    private var settings: BackendSettings { backend.plan.settings }

    init(token: Token, backend: WorkerBackend, server: WorkerServer, worker: Worker) {
        self.token = token
        self.backend = backend
        self.server = server
        self.worker = worker
    }

    func schedule(after delay: Duration) {
        alarm.set(worker.now + delay, token: token, in: &worker.timers)
    }

    /// Its rhythm may have become faster.
    func reschedule() {
        let latest = worker.now + settings.healthEvery
        if check == nil, let deadline = alarm.deadline, deadline > latest { schedule(after: settings.healthEvery) }
    }

    /// Its next check is due.
    func hurry() { if check == nil { schedule(after: .zero) } }

    func stop() {
        alarm.set(nil, token: token, in: &worker.timers)
        closeCheck()
    }

    private func closeCheck() {
        if let checkToken { worker.prober?.ended(checkToken) }
        checkToken = nil
        check?.close(worker.loop)
        check = nil
    }

    func expire(_ time: Duration) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        if check == nil { begin() } else { end(.timedOut("no answer within \(settings.healthTimeout)")) }
    }

    func handle(_ readiness: Readiness) {
        if let result = check?.handle(readiness, worker.loop) { end(result) }
    }

    private func begin() {
        startedAt = worker.now
        do throws(SystemError) {
            let socket = try worker.network.connect(to: server.shared.endpoint)
            let tls = backend.makeSession(with: server, on: socket, worker.network)
            guard tls != nil || server.shared.secureName == nil else {
                worker.network.close(socket, resetting: true)
                throw SystemError.secured
            }
            check = backend.plan.makeCheck(of: server.shared, on: socket, tls: tls)
            if let token = worker.prober?.began(self) {
                checkToken = token
                try worker.network.watch(socket, token: token)
            }
            schedule(after: settings.healthTimeout)
        } catch {
            guard error.code != SystemError.notNow else { return end(.timedOut("its line of connections is full")) }
            guard error.isOwnNeed else { return end(.failed(error.reason)) }
            // No check was made: the server is what it was.
            worker.warnOfConnect(server.shared.endpoint, error)
            closeCheck()
            schedule(after: .seconds(1))
        }
    }

    private func end(_ result: CheckResult) {
        closeCheck()
        // A check that failed is repeated at once, but no sooner than a second after it began: a server that answers
        // nothing is then out within `health-every` and `health-fall` times `health-timeout`.
        let spent = worker.now - startedAt
        let every = settings.healthEvery
        let wait =
            switch result.verdict {
            // Up to a tenth less, so that balancers started together do not ask together.
            case .passed: every * Int(1024 - worker.draw() % 103) / 1024
            case .failed, .timedOut: min(.seconds(1), every)
            }
        schedule(after: max(.zero, wait - spent))
        report(result)
    }

    private func report(_ result: CheckResult) {
        let hasPassed = result.verdict == .passed
        server.metrics.counters.add(hasPassed ? .checksPassed : .checksFailed)
        let took = worker.now - startedAt
        let time = took < .milliseconds(1) ? "under 1 ms" : "\(Int(took / .milliseconds(1))) ms"
        let text = hasPassed ? "\(result.text) in \(time)" : result.text
        let note = CheckNote(hasPassed: hasPassed, text: text, took: took, at: worker.now)
        if server.shared.secureName != nil, hasPassed || result.failure != nil {
            server.shared.noteHandshake(result.failure, of: backend.name, worker.log)
        }
        let aftermath = backend.shared.backend.recordCheck(
            of: server.number, result.verdict, note, lastByte: server.shared.lastByte)
        worker.carryOut(aftermath, backend.shared, reason: text)
        worker.shared.noteVerdict()
    }
}
