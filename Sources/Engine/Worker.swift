// One worker: one loop's connections, timers and buffers, and one turn of that loop. It never shares them; what others
// want of it comes by mailbox.
import Addresses
import Balancing
import Configuration
public import EventLoop
import HTTP
import Metrics
import Relay

/// What may be asked of a worker from outside.
enum WorkerMessage: Sendable {
    /// Go by another plan.
    case adopt(Adoption)
    /// ballast will stop: no connection is kept after its answer.
    case windDown
    /// Stop accepting, end what is idle, let the rest finish.
    case drain
    /// End everything now.
    case abort
    /// Say that the loop turns.
    case heartbeat
    /// Secure connections with these.
    case secure(Security)
    /// Something happened at a backend outside of any worker.
    case happened(SharedBackend, Aftermath)
    /// A slot for a request that waited.
    case granted(SharedBackend, Grant)
    /// Checks say that a server is down.
    case serverIsDown(SharedBackend, server: Int)
    /// A backend's servers will change by time: look after it. For the worker that checks health.
    case tend(SharedBackend)
    /// A page that clients of ballast's own listener wait for, and the form that it has.
    case composed(OwnPage, as: OwnPage, [UInt8])
    /// What those who watch the page get.
    case live(LiveUpdate)
    /// What a client of ballast's own listener said of itself is right, or not.
    case judged(Token, Claim, OwnAccess, of: ConnectionGate.Client?, isRight: Bool)
}

/// Runs on its loop's queue alone: that is why it may be sent there unchecked. Its only parts that others touch are
/// `mailbox` and `metrics`, which are safe by themselves.
public final class Worker: Turning, @unchecked Sendable {
    let mailbox: Mailbox<WorkerMessage>
    let index: Int
    let shared: Shared
    let network: any Network
    /// The one that requests begin under.
    var plan: Plan
    /// By the plan's index.
    var backends: [WorkerBackend] = []
    /// What is left to do for the plan.
    var adopting: AdoptionProgress?
    let metrics: WorkerMetrics
    let loop: LoopContext
    var timers = TimerHeap()
    var listeners = SlotTable<Listener>(kind: TokenKind.listener.rawValue)
    var servers = SlotTable<ServerConnection>(kind: TokenKind.server.rawValue)
    var clients = SlotTable<ClientConnection>(kind: TokenKind.client.rawValue)
    var drivers = SlotTable<ExchangeDriver>(kind: TokenKind.exchange.rawValue)
    var freeDrivers: [ExchangeDriver] = []
    /// The time of this turn.
    private(set) var now = Duration.zero
    var isDraining = false
    /// Answers say that their connection closes.
    var isWindingDown = false
    /// Slots given to requests of this worker by requests of this worker.
    var grants: [(backend: SharedBackend, grant: Grant)] = []
    /// Who waits for a page of ballast's own.
    var pageReaders: [(page: OwnPage, client: Token)] = []
    /// Of ballast's own listeners, which the first worker alone serves.
    let doorkeeper = Doorkeeper()
    let live = LiveFeed()
    private var warnedAt = InlineArray<6, Duration?>(repeating: nil)
    /// What clients' connections are secured with.
    var acceptor: TLSAcceptor?
    /// Clients that are not ballast's own page's.
    var trafficClients = 0
    /// Clients that are being told that their address has too many connections.
    var turnedAway = 0

    var prober: Prober?
    let caretaker = Caretaker()
    /// One property, because each access to one is checked for exclusivity.
    var backlog = Backlog()
    private var random: RandomSource
    private var dateCache = (seconds: Int64(-1), date: HTTPDate(seconds: 0))
    private let drained: @Sendable () -> Void
    private var hasSaidDrained = false

    var log: EventLog { shared.log }

    /// - Parameters:
    ///   - plan: the first one; it is adopted like any other.
    ///   - index: among all workers; the first checks health for all.
    ///   - seed: of request ids and of policies that draw.
    ///   - drained: called once, after `drain`, when the last connection has closed.
    public init(
        index: Int, network: any Network, shared: Shared, plan: Plan, seed: UInt64,
        drained: @escaping @Sendable () -> Void
    ) {
        self.index = index
        self.network = network
        self.shared = shared
        self.plan = plan
        metrics = shared.metrics[index]
        self.drained = drained
        random = RandomSource(seed: seed)
        mailbox = Mailbox(wake: network.wake)
        loop = LoopContext(
            network: network, blocks: BufferPool(blockSize: Wire.blockSize), headBlocks: BufferPool(blockSize: 4 << 10))
        now = network.monotonicTime
        if index == 0 { prober = Prober(self) }
    }

    // MARK: The turn

    public func turn(waitingAtMost limit: Duration) -> Bool {
        let count = network.wait(
            atMost: backlog.isEmpty && adopting == nil ? waitTime(limit) : .zero)
        now = network.monotonicTime
        let mail = mailbox.take()
        closeSpoiled(count, hasMail: !mail.isEmpty)
        for message in mail { handle(message) }
        expireTimers()
        for index in 0..<count { handle(network.event(index)) }
        if !backlog.isEmpty {
            runReady()
            runHandshakes()
        }
        if !grants.isEmpty { deliverGrants() }
        if isDraining { checkDrained() }
        if adopting == nil { network.endTurn() } else { endTurnAdopting() }
        if count > 0 || !mail.isEmpty || !backlog.isEmpty || adopting != nil { return true }
        if let next = timers.next, next <= now { return true }
        network.willSleep(until: timers.next)
        return false
    }

    private func waitTime(_ limit: Duration) -> Duration {
        guard let next = timers.next else { return limit }
        return min(limit, max(.zero, next - now))
    }

    /// Closes kept connections on which something happened, before any request of this turn could be given to one: its
    /// bytes would be taken for that request's answer.
    private func closeSpoiled(_ count: Int, hasMail: Bool) {
        // A single event has nobody to come before, unless a timer or a slot that was waited for starts an attempt.
        guard count > 1 || count == 1 && (hasMail || (timers.next ?? .seconds(Int64.max)) <= now) else { return }
        for index in 0..<count {
            let event = network.event(index)
            guard event.token.kind == TokenKind.server.rawValue, let connection = servers[event.token],
                connection.state == .kept
            else { continue }
            connection.handle(event.readiness, self)
        }
    }

    private func handle(_ event: ReadyEvent) {
        switch TokenKind(rawValue: event.token.kind) {
        case .client: clients[event.token]?.handle(event.readiness)
        case .server: servers[event.token]?.handle(event.readiness, self)
        case .listener: listeners[event.token]?.handleReady(self)
        case .check: prober?.handle(event.token, event.readiness)
        case .exchange, .probe, .backend, .live, nil: break
        }
    }

    private func expireTimers() {
        guard let next = timers.next, next <= now else { return }
        while let (token, time) = timers.popDue(at: now) {
            switch TokenKind(rawValue: token.kind) {
            case .client: clients[token]?.expire(time)
            case .server: servers[token]?.expire(time, self)
            case .exchange: drivers[token]?.expire(time)
            case .listener: listeners[token]?.expire(time, self)
            case .probe: prober?.expire(token, time)
            case .backend: caretaker.expire(token, time, self)
            case .live: live.expire(time, self)
            case .check, nil: break
            }
        }
    }

    /// Connections that go on without an event in one turn: each may move a block.
    private static let runnableAtOnce = 32

    /// Puts a connection in line for this turn's end or the next: it can go on without an event.
    func runLater(_ token: Token) { backlog.runnable.append(token) }

    private func runReady() {
        // Whoever has much to move waits for those who have not: new events come first.
        backlog.startRunning(atMost: Self.runnableAtOnce)
        for token in backlog.running {
            switch TokenKind(rawValue: token.kind) {
            case .client: clients[token]?.advance()
            case .server: servers[token]?.handle([], self)
            case .listener, .exchange, .probe, .check, .backend, .live, nil: break
            }
        }
    }

    // MARK: Small things that many need

    /// The pool whose blocks hold a head of `count` bytes.
    func pool(forHeadOf count: Int) -> BufferPool { count <= 4 << 10 ? loop.headBlocks : loop.blocks }
    func pool(ofHead buffer: Buffer) -> BufferPool { buffer.capacity <= 4 << 10 ? loop.headBlocks : loop.blocks }

    func makeRequestID() -> InlineArray<32, UInt8> {
        let id = random.nextID()
        return RequestID.made(from: id.high, id.low)
    }

    func makeRequestIDBytes() -> [UInt8] {
        let id = makeRequestID()
        return id.indices.map { id[$0] }
    }

    func draw() -> UInt64 { random.next() }

    /// The date of this second.
    var date: HTTPDate {
        let seconds = network.wallSeconds
        if seconds != dateCache.seconds { dateCache = (seconds, HTTPDate(seconds: seconds)) }
        return dateCache.date
    }

    /// What strangers and needs can make happen any number of times.
    enum Nuisance: Int { case connect, proxyHeader, plainHTTP, unexpectedTLS, clientCertificate, password }

    /// One line a minute, not one for each time.
    func warn(_ nuisance: Nuisance, _ text: @autoclosure () -> String) {
        if let last = warnedAt[nuisance.rawValue], now - last < .seconds(60) { return }
        warnedAt[nuisance.rawValue] = now
        log.say(.warning, text())
    }

    func warnOfConnect(_ endpoint: Endpoint, _ error: SystemError) {
        warn(.connect, "cannot open a connection to \(endpoint): \(error)")
    }

    // MARK: Ending

    func drain() {
        isDraining = true
        isWindingDown = true
        for listener in listeners.all where !listener.isStats { listener.retire(self) }
        for connection in servers.all where connection.state == .kept { connection.close(self) }
        for client in clients.all where !client.listener.isStats { client.windDown() }
    }

    func abort() {
        isDraining = true
        isWindingDown = true
        for listener in listeners.all { listener.close(self) }
        for connection in servers.all where connection.state == .kept { connection.close(self) }
        for client in clients.all { client.abort() }
    }

    private func checkDrained() {
        guard trafficClients == 0, !hasSaidDrained, listeners.all.allSatisfy(\.isStats) else { return }
        hasSaidDrained = true
        // Until now, what still ran and waited needed to know how servers are.
        prober?.stop()
        prober = nil
        drained()
    }
}

/// Connections that go on without an event.
struct Backlog {
    /// They have bytes to move, in this turn or later.
    private(set) var running: [Token] = []
    var runnable: [Token] = []
    /// Their handshake can go on, or begin.
    var shaking: [Token] = []
    var greeting: [Token] = []

    var isEmpty: Bool { runnable.isEmpty && shaking.isEmpty && greeting.isEmpty }

    /// Makes at most `limit` of those that have bytes to move the ones that move them in this turn.
    mutating func startRunning(atMost limit: Int) {
        running.removeAll(keepingCapacity: true)
        if runnable.count <= limit {
            swap(&runnable, &running)
        } else {
            running.append(contentsOf: runnable.prefix(limit))
            runnable.removeFirst(limit)
        }
    }
}

/// What a token is for.
enum TokenKind: UInt8 {
    case listener, client, server, exchange, probe, check, backend, live
}
