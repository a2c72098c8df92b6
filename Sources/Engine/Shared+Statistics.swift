// Everything that is told of a running ballast, put together from what all of its parts count.
import Addresses
import Balancing
import Configuration
import EventLoop
import HTTP
public import Metrics
import Synchronization

extension Shared {
    /// Everything that is told, at this moment.
    /// - Parameter now: of the loop's clock.
    public func statistics(now: Duration) -> Statistics {
        let (plan, loadedAt, wasAccepted, backends) = states.withLock { states in
            (states.plan, states.loadedAt, states.wasLastLoadAccepted, states.backends.compactMap(\.backend))
        }
        let held = held
        let listeners = (plan?.listeners ?? []).map { listener in
            // Where any port was asked for, the one that it became.
            let isAny = listener.settings.port == 0 && listener.settings.inherited == nil
            let endpoint = isAny ? held.first { $0.listener === listener.shared }?.endpoint.description : nil
            return Statistics.Listener(
                name: endpoint ?? listener.settings.text, isSecure: listener.settings.isSecure,
                counts: Snapshot(listener.shared.metrics))
        }
        var told = Statistics(
            build: build, process: .init(ProcessFacts()), loadedAt: loadedAt, now: Machine.wallTime, isReady: isReady,
            counts: Snapshot(metrics.map(\.process)), listeners: listeners,
            unrouted: Statistics.Requests(metrics.map(\.unrouted)), backends: [])
        var whole = recording.activity(unroutedTotals)
        for backend in plan?.backends ?? [] {
            told.backends.append(Statistics.Backend(backend.shared, backend.settings, now: now, adding: &whole))
        }
        // Those that the configuration dropped, while they finish.
        for backend in backends where plan?.backends.contains(where: { $0.shared === backend }) == false {
            let leaving = Statistics.Backend(leaving: backend, now: now, adding: &whole)
            if leaving.waiting > 0 || leaving.servers.contains(where: { $0.inflight > 0 }) {
                told.backends.append(leaving)
            }
        }
        told.recent = recording.recent(now: now / .seconds(1), whole)
        told.wasLastLoadAccepted = wasAccepted
        (told.certificates, told.wasLastCertificateLoadAccepted) = states.withLock {
            ($0.certificates, $0.wasLastCertificateLoadAccepted)
        }
        told.host = host
        told.stamp = CivilDate.timestamp(told.now)
        told.loadedStamp = CivilDate.timestamp(loadedAt)
        told.events = Array(events.all.prefix(Statistics.shownEvents))
        told.hasAutoscalingAliases = plan?.hasAutoscalingAliases ?? false
        told.limits = Snapshot(metrics.map(\.limits))
        told.droppedLogLines = droppedLogLines()
        return told
    }
}

extension Statistics.Process {
    init(_ facts: ProcessFacts) {
        self.init()
        cpuSeconds = facts.cpuSeconds
        residentBytes = facts.residentBytes
        virtualBytes = facts.virtualBytes
        openDescriptors = facts.openDescriptors
        maximumDescriptors = facts.maximumDescriptors
        startedAt = facts.startedAt
    }
}

extension Statistics.Backend {
    /// - Parameter whole: what has happened since the last interval, to which its part is added.
    init(_ shared: SharedBackend, _ settings: BackendSettings, now: Duration, adding whole: inout Activity) {
        let report = shared.backend.report
        var activity = shared.recording.activity(shared.totals)
        self.init(
            name: shared.name, policy: settings.balance, waiting: report.waiting,
            longestWait: report.waitingSince.map { now - $0 } ?? .zero, queueLimit: settings.queue,
            requests: Statistics.Requests(shared.metrics),
            servers: report.servers.compactMap { Statistics.Server($0, of: shared, now: now, adding: &activity) })
        recent = shared.recording.recent(now: now / .seconds(1), activity)
        whole += activity
        routes = settings.hosts + (settings.paths.isEmpty && settings.hosts.isEmpty ? [] : settings.paths)
        // One that finishes under its old address has given its name away.
        let names = report.servers.filter(\.isMember).map(\.server.name)
        guard names.count < servers.count else { return }
        for index in names.count..<servers.count where names.contains(servers[index].name) {
            servers[index].name += "@\(servers[index].address)"
        }
    }

    /// A backend that the configuration names no more.
    init(leaving shared: SharedBackend, now: Duration, adding whole: inout Activity) {
        self.init(shared, BackendSettings(name: shared.name), now: now, adding: &whole)
        policy = "removed"
        queueLimit = 0
        for index in servers.indices { servers[index].state = ServerState.draining.word }
    }
}

extension Statistics.Server {
    fileprivate init?(
        _ report: Backend.ServerReport, of backend: SharedBackend, now: Duration, adding whole: inout Activity
    ) {
        // It went between the report and this.
        guard let shared = backend.server(report.number) else { return nil }
        self.init(
            name: report.server.name, address: report.server.endpoint.description, state: report.state.word,
            metrics: shared.metrics)
        isHealthy = report.isHealthy
        isBackup = report.server.isBackup
        weight = report.weight
        inflight = report.inflight
        maxconn = report.server.maxconn
        limit = report.limit
        stateAge = report.since.map { (now - $0) / .seconds(1) }
        isLeaving = !report.isMember
        hasWeightByHand = report.manual.weight != nil
        isOutByHand = report.manual.isOut
        let activity = shared.recording.activity(shared.totals)
        whole.events += activity.events
        recent = shared.recording.recent(now: now / .seconds(1), activity)
        lastCheck = report.lastCheck?.text ?? ""
        lastCheckAge = report.lastCheck.map { (now - $0.at) / .seconds(1) }
    }
}
