// What all workers of a process share: the plan in effect, budgets, each other's mailboxes, and where lines go.
import Addresses
public import Balancing
import Configuration
import EventLoop
import HTTP
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
    let side = SideQueue(label: "ballast.pages")
    /// Where hashes of passwords are computed, which is slow by intent.
    private let passwords = SideQueue(label: "ballast.passwords")
    public let events = RecentEvents()
    let recording = Recording()
    let looks = Mutex(0)
    /// What those who watch the page got last.
    let lastFragments = Mutex(PageFragments())
    let host = Machine.hostName
    let droppedLogLines: @Sendable () -> Int
    private let mailboxes = Mutex<[Mailbox<WorkerMessage>]>([])
    let states = Mutex(States())
    /// When each worker last said that it turns.
    private let heartbeats: Mutex<[Duration]>

    struct States {
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
        /// The configuration in effect as JSON.
        var configurationText: [UInt8] = []
    }

    /// A port with the listener that it serves.
    struct HeldPort: Sendable {
        let endpoint: Endpoint
        let listener: SharedListener
        /// Of a UNIX socket.
        let file: SocketFile?
    }

    struct WeakBackend: Sendable {
        weak var backend: SharedBackend?
    }

    struct WeakListener: Sendable {
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
    /// - Parameter reason: the first of its mistakes.
    public func noteRefusal(_ reason: String) {
        states.withLock { $0.wasLastLoadAccepted = false }
        events.note(
            RecentEvent(
                at: stamp, kind: .configuration, isTrouble: true,
                text: "a configuration was refused, and everything goes on as before: \(reason)"))
    }

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
        events.note(
            RecentEvent(
                at: stamp, kind: .certificate, isTrouble: !isAccepted,
                text: isAccepted
                    ? "changed files of TLS are in use" : "changed files of TLS were refused; those before stay in use")
        )
    }

    // MARK: Readiness

    func startDraining() { states.withLock { $0.isDraining = true } }

    /// One round of checks is done, and ballast is not about to end.
    public var isReady: Bool {
        let (plan, isReady, isDraining) = states.withLock { ($0.plan, $0.hasBeenReady, $0.isDraining) }
        return !isDraining && (isReady || plan?.backends.allSatisfy { $0.shared.backend.isReady } == true)
    }

    /// There was a round of checks already: what servers are found to be is news.
    var hasBegun: Bool { states.withLock { $0.hasBeenReady } }

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

    /// The time of the wall clock, for people.
    public var stamp: String { CivilDate.timestamp(Machine.wallTime) }

    var configurationText: [UInt8] {
        get { states.withLock { $0.configurationText } }
        set { states.withLock { $0.configurationText = newValue } }
    }

    /// Judges a claim beside the loops; the answer comes back to the first worker.
    func verify(_ claim: Claim, _ access: OwnAccess, of address: ConnectionGate.Client?, for client: Token) {
        passwords.run { [self] in
            let isRight = Doorkeeper.isRight(claim, access)
            send(.judged(client, claim, access, of: address, isRight: isRight), to: 0)
        }
    }

    /// Every backend that anything still uses.
    var inUse: [SharedBackend] { states.withLock { $0.backends.compactMap(\.backend) } }

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
