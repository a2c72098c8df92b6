// What all workers of a process share: the plan in effect, budgets, each other's mailboxes, and where lines go.
import Addresses
public import Balancing
import Configuration
import EventLoop
public import Metrics
import Synchronization

public final class Shared: Sendable {
    public let log: EventLog
    /// By worker.
    let metrics: [WorkerMetrics]
    let clients: ClientBudget
    /// Connections to ballast's own page, which must answer when all others are taken.
    let statsClients = ClientBudget(limit: statsConnections)
    static let statsConnections = 64
    public let replayBudget: MemoryBudget
    public let compressBudget: MemoryBudget
    let ledger = Ledger()
    /// Connections by client address, where there is a limit for them.
    let gate = Mutex(ConnectionGate())
    let build: Statistics.Build
    /// Where pages are made: with hundreds of servers that takes longer than streams should wait.
    private let side = SideQueue(label: "ballast.pages")
    private let droppedLogLines: @Sendable () -> Int
    private let mailboxes = Mutex<[Mailbox<WorkerMessage>]>([])
    private let states = Mutex(States())
    /// When each worker last said that it turns.
    private let heartbeats: Mutex<[Duration]>

    private struct States {
        /// Nil until the first configuration is adopted.
        var plan: Plan?
        /// Every backend that is still in use, named by the configuration or not.
        var backends: [WeakBackend] = []
        /// Every listener with connections, named by the configuration or not.
        var listeners: [WeakListener] = []
        /// Every port that listens for the plan.
        var held: [HeldPort] = []
        var isDraining = false
        /// One round of checks was done once. Servers that come later make nobody wait.
        var hasBeenReady = false
        var whenReady: (@Sendable () -> Void)?
        /// Seconds since 1970.
        var loadedAt = 0.0
        var wasLastLoadAccepted = true
        var certificates: [Statistics.Certificate] = []
        var wasLastCertificateLoadAccepted = true
    }

    /// A port with the listener that it serves.
    struct HeldPort: Sendable {
        let endpoint: Endpoint
        let listener: SharedListener
        /// Of a UNIX socket.
        let file: SocketFile?
    }

    private struct WeakBackend: Sendable {
        weak var backend: SharedBackend?
    }

    private struct WeakListener: Sendable {
        weak var listener: SharedListener?
    }

    /// - Parameter droppedLogLines: how many lines the log has given up.
    public init(
        workerCount: Int, log: EventLog, build: Statistics.Build = Statistics.Build(version: "", swift: ""),
        droppedLogLines: @escaping @Sendable () -> Int = { 0 }
    ) {
        self.log = log
        self.build = build
        self.droppedLogLines = droppedLogLines
        metrics = (0..<workerCount).map { _ in WorkerMetrics() }
        heartbeats = Mutex(Array(repeating: .zero, count: workerCount))
        clients = ClientBudget(limit: 0)
        replayBudget = MemoryBudget(limit: 0)
        compressBudget = MemoryBudget(limit: 0)
    }

    public var workerCount: Int { metrics.count }

    // MARK: Workers

    /// Tells the workers of each other, in their order; before any of them runs.
    public func introduce(_ workers: [Worker]) { mailboxes.withLock { $0 = workers.map(\.mailbox) } }

    /// Sends `message` to the worker with this index.
    func send(_ message: WorkerMessage, to worker: Int) {
        let mailbox = mailboxes.withLock { $0.indices.contains(worker) ? $0[worker] : nil }
        mailbox?.send(message)
    }

    func sendToAll(_ message: WorkerMessage) {
        for mailbox in mailboxes.withLock({ $0 }) { mailbox.send(message) }
    }

    func noteHeartbeat(of worker: Int, at now: Duration) { heartbeats.withLock { $0[worker] = now } }

    /// Asks every worker to say that it turns.
    public func askForHeartbeats() { sendToAll(.heartbeat) }

    /// When the worker that has been silent longest last said that it turns.
    public var oldestHeartbeat: Duration { heartbeats.withLock { $0.min() ?? .zero } }

    /// Every backend as it is now, those that the configuration dropped while they finish included.
    public var reports: [Backend.Report] {
        states.withLock { $0.backends.compactMap(\.backend) }.map(\.backend.report)
    }

    /// How it does, in one line.
    public var statusLine: String {
        var sum = Backend.Summary()
        for backend in states.withLock({ $0.backends.compactMap(\.backend) }) { sum += backend.backend.summary }
        return "\(sum.up) of \(sum.servers) servers up; \(sum.running) requests running, \(sum.waiting) waiting"
    }

    // MARK: The configuration in effect

    /// The plan in effect; nil before the first one is adopted.
    public var plan: Plan? { states.withLock { $0.plan } }

    /// The backend called `name`, if any request or configuration still uses it.
    func backend(_ name: String) -> SharedBackend? {
        states.withLock { states in states.backends.lazy.compactMap(\.backend).first { $0.name == name } }
    }

    /// Puts `plan` into effect for everything that asks here.
    /// - Returns: the plan before.
    func setPlan(_ plan: Plan) -> Plan? {
        clients.setLimit(plan.maxConnections)
        replayBudget.setLimit(plan.replayMemory)
        compressBudget.setLimit(plan.compressMemory)
        return states.withLock { states -> Plan? in
            defer { states.plan = plan }
            states.backends.removeAll { $0.backend == nil }
            for backend in plan.backends.map(\.shared)
            where !states.backends.contains(where: { $0.backend === backend }) {
                states.backends.append(WeakBackend(backend: backend))
            }
            states.listeners.removeAll { $0.listener == nil }
            for listener in plan.listeners {
                listener.shared.clients.setLimit(listener.settings.maxConnections ?? .max)
            }
            for listener in plan.listeners.map(\.shared)
            where !states.listeners.contains(where: { $0.listener === listener }) {
                states.listeners.append(WeakListener(listener: listener))
            }
            states.loadedAt = Machine.wallTime
            states.wasLastLoadAccepted = true
            return states.plan
        }
    }

    /// Ports that listen.
    var held: [HeldPort] { states.withLock { $0.held } }

    /// Ports that listen from now on, as workers find it out by themselves: those of listeners that stay, and those of one
    /// address that a listener of the plan covers.
    func hold(_ opened: [OpenedListener], for plan: Plan) {
        let all =
            held
            + opened.map {
                HeldPort(endpoint: $0.endpoint, listener: $0.shared, file: $0.sockets[0].file)
            }
        let next = all.compactMap { port -> HeldPort? in
            let wanted =
                plan.listeners.first { $0.shared === port.listener }
                ?? plan.listeners.first { $0.covers(port.endpoint, of: port.listener) }
            return wanted.map { HeldPort(endpoint: port.endpoint, listener: $0.shared, file: port.file) }
        }
        for port in next { port.listener.setOpen() }
        states.withLock { $0.held = next }
    }

    /// The process ends: what its sockets were found by goes, those that serve to the end included.
    public func removeSocketFiles() { for port in held { port.file?.remove() } }

    /// A configuration was refused: nothing has changed but this.
    public func noteRefusal() { states.withLock { $0.wasLastLoadAccepted = false } }

    // MARK: Certificates

    /// Secures connections with these from now on. After the adoption of a plan that was made before.
    public func secure(_ security: Security) { sendToAll(.secure(security)) }

    /// What is told of the certificates in use.
    public func noteCertificates(_ certificates: [Statistics.Certificate]) {
        var told: [Statistics.Certificate] = []
        for certificate in certificates where !told.contains(where: { $0.path == certificate.path }) {
            told.append(certificate)
        }
        let all = told
        states.withLock { ($0.certificates, $0.wasLastCertificateLoadAccepted) = (all, true) }
    }

    /// Changed files were taken up, or refused: then nothing else has changed.
    public func noteCertificateLoad(_ isAccepted: Bool) {
        states.withLock { $0.wasLastCertificateLoadAccepted = isAccepted }
    }

    // MARK: Readiness

    func startDraining() { states.withLock { $0.isDraining = true } }

    /// One round of checks is done, and ballast is not about to end.
    public var isReady: Bool {
        let (plan, isReady, isDraining) = states.withLock { ($0.plan, $0.hasBeenReady, $0.isDraining) }
        return !isDraining && (isReady || plan?.backends.allSatisfy { $0.shared.backend.isReady } == true)
    }

    /// A server has had its first verdict: perhaps it was the last one that was waited for.
    func noteVerdict() {
        guard !states.withLock({ $0.hasBeenReady }), isReady else { return }
        let body = states.withLock { states -> (@Sendable () -> Void)? in
            states.hasBeenReady = true
            defer { states.whenReady = nil }
            return states.whenReady
        }
        body?()
    }

    /// Calls `body` once, from any thread, when one round of checks is done.
    public func whenReady(_ body: @escaping @Sendable () -> Void) {
        // The last verdict may have come before anybody asked.
        let wasReady = states.withLock { states -> Bool in
            if !states.hasBeenReady { states.whenReady = body }
            return states.hasBeenReady
        }
        if wasReady { body() } else { noteVerdict() }
    }

    // MARK: Pages

    /// Seconds since 1970.
    var wallTime: Double { Machine.wallTime }

    /// Makes the text of a page beside the loops; it comes back to the first worker.
    func compose(_ page: OwnPage) {
        side.run { [self] in
            let statistics = statistics(now: Machine.monotonicTime)
            let text =
                switch page {
                case .stats: StatsPage.html(statistics)
                case .metrics: PrometheusText.text(statistics)
                }
            send(.composed(page, text), to: 0)
        }
    }

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
            unrouted: Statistics.Requests(metrics.map(\.unrouted)),
            backends: (plan?.backends ?? []).map { Statistics.Backend($0.shared, $0.settings, now: now) })
        // Those that the configuration dropped, while they finish.
        for backend in backends where plan?.backends.contains(where: { $0.shared === backend }) == false {
            let leaving = Statistics.Backend(leaving: backend, now: now)
            if leaving.waiting > 0 || leaving.servers.contains(where: { $0.inflight > 0 }) {
                told.backends.append(leaving)
            }
        }
        told.wasLastLoadAccepted = wasAccepted
        (told.certificates, told.wasLastCertificateLoadAccepted) = states.withLock {
            ($0.certificates, $0.wasLastCertificateLoadAccepted)
        }
        told.limits = Snapshot(metrics.map(\.limits))
        told.droppedLogLines = droppedLogLines()
        return told
    }

    // MARK: Sums

    /// Counters of all requests, to a backend or none, added up.
    public var requests: Snapshot<RequestCounter> {
        let backends = states.withLock { $0.backends.compactMap(\.backend) }
        var sum = Snapshot(metrics.map(\.unrouted.counters) + backends.flatMap { $0.metrics.map(\.counters) })
        sum += ledger.sums.requests
        return sum
    }

    /// Client connections accepted, those of ballast's own page left out.
    public var connections: Int {
        let listeners = states.withLock { $0.listeners.compactMap(\.listener) }
        return listeners.reduce(ledger.sums.connections) { $0 + $1.accepted }
    }

    /// Of the process, added up.
    public var counts: Snapshot<ProcessCounter> { Snapshot(metrics.map(\.process)) }
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
    init(_ shared: SharedBackend, _ settings: BackendSettings, now: Duration) {
        let report = shared.backend.report
        self.init(
            name: shared.name, policy: settings.balance, waiting: report.waiting,
            longestWait: report.waitingSince.map { now - $0 } ?? .zero, queueLimit: settings.queue,
            requests: Statistics.Requests(shared.metrics),
            servers: report.servers.compactMap { Statistics.Server($0, of: shared, now: now) })
        // One that finishes under its old address has given its name away.
        let names = report.servers.filter(\.isMember).map(\.server.name)
        guard names.count < servers.count else { return }
        for index in names.count..<servers.count where names.contains(servers[index].name) {
            servers[index].name += "@\(servers[index].address)"
        }
    }

    /// A backend that the configuration names no more.
    init(leaving shared: SharedBackend, now: Duration) {
        self.init(shared, BackendSettings(name: shared.name), now: now)
        policy = "removed"
        queueLimit = 0
        for index in servers.indices { servers[index].state = ServerState.draining.word }
    }
}

extension Statistics.Server {
    fileprivate init?(_ report: Backend.ServerReport, of backend: SharedBackend, now: Duration) {
        // It went between the report and this.
        guard let shared = backend.server(report.number) else { return nil }
        self.init(
            name: report.server.name, address: report.server.endpoint.description, state: report.state.word,
            metrics: shared.metrics)
        isHealthy = report.isHealthy
        isBackup = report.server.isBackup
        weight = report.server.weight
        inflight = report.inflight
        maxconn = report.server.maxconn
        limit = report.limit
        lastCheck = report.lastCheck.map { "\($0.text), \(Int((now - $0.at) / .seconds(1)))s ago" } ?? ""
    }
}
