// Checks every server in its rhythm, for all workers, on one worker's loop. Results go to the backend's machine; what
// they mean is decided there.
import Balancing
import Configuration
import EventLoop
import Metrics

final class Prober {
    private let worker: Worker
    private var probes: [Probe] = []

    /// Starts a probe for each server of each backend that is checked.
    init(_ worker: Worker) {
        self.worker = worker
        for (backend, plan) in worker.plan.backends.enumerated() where plan.settings.health != .off {
            for (server, identity) in plan.backend.servers.enumerated() where !identity.isDisabled {
                let probe = Probe(index: probes.count, backend: backend, server: server, worker: worker)
                // Thousands of servers are not asked at the same moment.
                probe.schedule(after: min(.milliseconds(1) * probes.count, plan.settings.healthEvery))
                probes.append(probe)
            }
        }
    }

    func handle(_ token: Token, _ readiness: Readiness) {
        guard token.slot < probes.count else { return }
        probes[token.slot].handle(token, readiness)
    }

    func expire(_ token: Token, _ time: Duration) {
        guard token.slot < probes.count else { return }
        probes[token.slot].expire(token, time)
    }

    func stop() {
        for probe in probes { probe.stop() }
    }
}

/// One server's checks, one after the other.
final class Probe {
    private let worker: Worker
    private let backend: Int
    private let server: Int
    private let index: Int
    private var generation: UInt32 = 0
    private var check: (any HealthCheck)?
    private var startedAt = Duration.zero
    private var alarm = Alarm()
    private var timerToken: Token { Token(kind: TokenKind.probe.rawValue, slot: index, generation: 0) }
    private var token: Token { Token(kind: TokenKind.probe.rawValue, slot: index, generation: generation) }
    private var plan: BackendPlan { worker.plan.backends[backend] }

    init(index: Int, backend: Int, server: Int, worker: Worker) {
        self.index = index
        self.backend = backend
        self.server = server
        self.worker = worker
    }

    func schedule(after delay: Duration) {
        alarm.set(worker.now + delay, token: timerToken, in: &worker.timers)
    }

    func stop() {
        alarm.set(nil, token: timerToken, in: &worker.timers)
        check?.close(worker.loop)
        check = nil
    }

    /// The timer's token never changes; events carry the check's generation, so that a late one is told apart.
    func expire(_ token: Token, _ time: Duration) {
        guard alarm.isDue(time, now: worker.now, token: timerToken, in: &worker.timers) else { return }
        if check == nil { begin() } else { end(.timedOut("no answer within \(plan.settings.healthTimeout)")) }
    }

    func handle(_ token: Token, _ readiness: Readiness) {
        guard token == self.token, let check else { return }
        if let result = check.handle(readiness, worker.loop) { end(result) }
    }

    private func begin() {
        startedAt = worker.now
        generation = generation % 0xff_fffe + 1
        let endpoint = plan.backend.servers[server].endpoint
        do throws(SystemError) {
            let socket = try worker.network.connect(to: endpoint)
            check = plan.makeCheck(of: server, on: socket)
            try worker.network.watch(socket, token: token)
            schedule(after: plan.settings.healthTimeout)
        } catch {
            end(.failed(error.reason))
        }
    }

    private func end(_ result: CheckResult) {
        check?.close(worker.loop)
        check = nil
        report(result)
        // A check that failed is repeated at once, but no sooner than a second after it began: a server that answers
        // nothing is then out within `health-every` and `health-fall` times `health-timeout`.
        let spent = worker.now - startedAt
        let every = plan.settings.healthEvery
        let wait =
            switch result.verdict {
            // Up to a tenth less, so that balancers started together do not ask together.
            case .passed: every * Int(1024 - worker.draw() % 103) / 1024
            case .failed, .timedOut: min(.seconds(1), every)
            }
        schedule(after: max(.zero, wait - spent))
    }

    private func report(_ result: CheckResult) {
        let hasPassed = result.verdict == .passed
        worker.metrics.servers[backend][server].counters.add(hasPassed ? .checksPassed : .checksFailed)
        let took = worker.now - startedAt
        let time = took < .milliseconds(1) ? "under 1 ms" : "\(Int(took / .milliseconds(1))) ms"
        let text = hasPassed ? "\(result.text) in \(time)" : result.text
        let note = CheckNote(hasPassed: hasPassed, text: text, took: took, at: worker.now)
        let lastByte = worker.shared.lastByte(backend: backend, server: server)
        let aftermath = plan.backend.recordCheck(of: server, result.verdict, note, lastByte: lastByte)
        worker.carryOut(aftermath, backend, reason: text)
    }
}
