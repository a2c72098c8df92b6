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
            for server in plan.backend.servers.indices {
                let probe = Probe(index: probes.count, backend: backend, server: server, worker: worker)
                probes.append(probe)
                probe.schedule(after: .zero)
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
    private var check: HTTPCheck?
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
        if check == nil { begin() } else { end(.failed("no answer within \(plan.settings.healthTimeout)")) }
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
            check = HTTPCheck(socket: socket, authority: plan.authorities[server])
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
        switch result {
        case .passed: schedule(after: max(.zero, plan.settings.healthEvery - spent))
        case .failed: schedule(after: max(.zero, min(.seconds(1), plan.settings.healthEvery) - spent))
        }
    }

    private func report(_ result: CheckResult) {
        let name = "\(plan.backend.name)/\(plan.backend.servers[server].name)"
        switch result {
        case .passed:
            worker.counters.add(.healthChecksPassed)
            if plan.backend.recordCheck(of: server, passed: true) == .up { worker.log.say(.info, "\(name) is up") }
        case .failed(let reason):
            worker.counters.add(.healthChecksFailed)
            if plan.backend.recordCheck(of: server, passed: false) == .down {
                worker.log.say(.warning, "\(name) is down: \(reason)")
            }
        }
    }
}
