// What all workers of a process share: settings, budgets, each other's numbers and mailboxes, and where lines go.
import Addresses
import Balancing
import Configuration
import EventLoop
public import Metrics
import Synchronization

public final class Shared: Sendable {
    public let plan: Plan
    public let log: EventLog
    /// By worker.
    public let metrics: [WorkerMetrics]
    /// Gets one line for each request; nil where none is wanted.
    let accessLog: (@Sendable (String) -> Void)?
    let clients: ClientBudget
    /// Connections to ballast's own page, which must answer when all others are taken.
    let statsClients = ClientBudget(limit: 64)
    let build: Statistics.Build
    /// Where pages are made: with hundreds of servers that takes longer than streams should wait.
    private let side = SideQueue(label: "ballast.pages")
    private let droppedLogLines: @Sendable () -> Int
    private let mailboxes = Mutex<[Mailbox<WorkerMessage>]>([])
    private let states = Mutex(States())

    private struct States {
        var isDraining = false
        /// Seconds since 1970.
        var loadedAt = 0.0
    }

    /// - Parameter droppedLogLines: how many lines the log has given up.
    public init(
        plan: Plan, workerCount: Int, log: EventLog, build: Statistics.Build = Statistics.Build(version: "", swift: ""),
        accessLog: (@Sendable (String) -> Void)? = nil, droppedLogLines: @escaping @Sendable () -> Int = { 0 }
    ) {
        self.plan = plan
        self.log = log
        self.build = build
        self.accessLog = accessLog
        self.droppedLogLines = droppedLogLines
        let counts = plan.backends.map(\.backend.servers.count)
        metrics = (0..<workerCount).map { _ in
            WorkerMetrics(listenerCount: plan.listeners.count, serverCounts: counts)
        }
        clients = ClientBudget(limit: plan.settings.maxConnections)
        states.withLock { $0.loadedAt = Machine.wallTime }
    }

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

    func startDraining() { states.withLock { $0.isDraining = true } }

    /// When the server last sent anything, on any worker.
    func lastByte(backend: Int, server: Int) -> Duration {
        metrics.reduce(.zero) { max($0, $1.servers[backend][server].lastByte) }
    }

    /// One round of checks is done, and ballast is not about to end.
    var isReady: Bool {
        !states.withLock { $0.isDraining } && plan.backends.allSatisfy { $0.backend.isReady }
    }

    /// Everything that is told, at this moment.
    /// - Parameter now: of the loop's clock.
    public func statistics(now: Duration) -> Statistics {
        let listeners = plan.listeners.enumerated().map { index, listener in
            Statistics.Listener(name: listener.settings.text, counts: Snapshot(metrics.map { $0.listeners[index] }))
        }
        let backends = plan.backends.enumerated().map { index, backend in statistics(backend, index, now) }
        var told = Statistics(
            build: build, process: .init(ProcessFacts()), loadedAt: states.withLock { $0.loadedAt },
            now: Machine.wallTime, isReady: isReady, counts: Snapshot(metrics.map(\.process)), listeners: listeners,
            unrouted: Statistics.Requests(metrics.map(\.unrouted)), backends: backends)
        told.droppedLogLines = droppedLogLines()
        return told
    }

    private func statistics(_ plan: BackendPlan, _ index: Int, _ now: Duration) -> Statistics.Backend {
        let report = plan.backend.report
        let servers = report.servers.enumerated().map { number, report in
            var server = Statistics.Server(
                name: report.server.name, address: report.server.endpoint.description, state: report.state.word,
                metrics: metrics.map { $0.servers[index][number] })
            server.isHealthy = report.isHealthy
            server.isBackup = report.server.isBackup
            server.weight = report.server.weight
            server.inflight = report.inflight
            server.maxconn = report.server.maxconn
            server.limit = report.limit
            server.lastCheck = report.lastCheck.map { "\($0.text), \(Int((now - $0.at) / .seconds(1)))s ago" } ?? ""
            return server
        }
        return Statistics.Backend(
            name: plan.settings.name, policy: plan.settings.balance, waiting: report.waiting,
            longestWait: report.waitingSince.map { now - $0 } ?? .zero, queueLimit: plan.settings.queue,
            requests: Statistics.Requests(metrics.map { $0.backends[index] }), servers: servers)
    }

    /// Bytes of bodies kept for replay now.
    public var replayMemoryTaken: Int { plan.replayBudget.taken }

    /// Counters of all requests, to a backend or none, added up.
    public var requests: Snapshot<RequestCounter> {
        Snapshot(metrics.flatMap { [$0.unrouted.counters] + $0.backends.map(\.counters) })
    }

    /// Client connections accepted, those of ballast's own page left out.
    public var connections: Int {
        let traffic = plan.listeners.indices.filter { plan.listeners[$0].role != .stats }
        return metrics.reduce(0) { sum, worker in traffic.reduce(sum) { $0 + worker.listeners[$1][.accepted] } }
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
