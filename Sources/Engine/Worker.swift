// One worker: one loop's connections, timers and buffers, and one turn of that loop. It never shares them; what others
// want of it comes by mailbox.
public import Addresses
import Balancing
import Configuration
public import EventLoop
import HTTP
public import Metrics
import Relay

/// What may be asked of a worker from outside.
public enum WorkerMessage: Sendable {
    /// Stop accepting, end what is idle, let the rest finish.
    case drain
    /// End everything now.
    case abort
}

/// Runs on its loop's queue alone: that is why it may be `@unchecked Sendable`. Its only parts that others touch are
/// `mailbox` and `counters`, which are safe by themselves.
public final class Worker: Turning, @unchecked Sendable {
    public let mailbox: Mailbox<WorkerMessage>
    public let counters = Counters()

    let network: any Network
    let plan: Plan
    let log: EventLog
    let loop: LoopContext
    var timers = TimerHeap()
    var listeners = SlotTable<Listener>(kind: TokenKind.listener.rawValue)
    var servers = SlotTable<ServerConnection>(kind: TokenKind.server.rawValue)
    var idle: IdleConnections
    /// The time of this turn.
    private(set) var now = Duration.zero
    private(set) var isDraining = false

    private var clients = SlotTable<ClientConnection>(kind: TokenKind.client.rawValue)
    private var drivers = SlotTable<ExchangeDriver>(kind: TokenKind.exchange.rawValue)
    private var freeDrivers: [ExchangeDriver] = []
    private var runnable: [Token] = []
    private var running: [Token] = []
    private var prober: Prober?
    private let budget: ClientBudget
    private var random: RandomSource
    private var dateCache = (seconds: Int64(-1), date: HTTPDate(seconds: 0))
    private let drained: @Sendable () -> Void
    private var hasSaidDrained = false

    /// - Parameters:
    ///   - budget: client connections that all workers together may have.
    ///   - checksHealth: one worker checks for all.
    ///   - seed: of request ids.
    ///   - drained: called once, after `drain`, when the last connection has closed.
    public init(
        network: any Network, plan: Plan, log: EventLog, budget: ClientBudget, checksHealth: Bool, seed: UInt64,
        drained: @escaping @Sendable () -> Void
    ) {
        self.network = network
        self.plan = plan
        self.log = log
        self.budget = budget
        self.drained = drained
        random = RandomSource(seed: seed)
        mailbox = Mailbox(wake: network.wake)
        loop = LoopContext(
            network: network, blocks: BufferPool(blockSize: 64 << 10), headBlocks: BufferPool(blockSize: 4 << 10))
        idle = IdleConnections(
            serverCounts: plan.backends.map(\.backend.servers.count), limits: plan.backends.map(\.settings.poolSize))
        now = network.monotonicTime
        if checksHealth { prober = Prober(self) }
    }

    /// Opens a listener on this worker; before the loop starts.
    /// - Returns: where it is bound.
    public func listen(on endpoint: Endpoint, joining: Bool) throws(SystemError) -> Endpoint {
        var failure: SystemError?
        let listener = listeners.insert { token in
            do throws(SystemError) {
                let socket = try network.listen(on: endpoint, joining: joining, token: token)
                return Listener(token: token, socket: socket, endpoint: network.localEndpoint(of: socket) ?? endpoint)
            } catch {
                failure = error
                return Listener(token: token, socket: SocketID(rawValue: -1), endpoint: endpoint)
            }
        }
        if let failure {
            listeners.remove(listener.token)
            throw failure
        }
        return listener.endpoint
    }

    // MARK: The turn

    public func turn(waitingAtMost limit: Duration) -> Bool {
        let count = network.wait(atMost: runnable.isEmpty ? waitTime(limit) : .zero)
        now = network.monotonicTime
        let mail = mailbox.take()
        for message in mail { handle(message) }
        closeSpoiled(count)
        expireTimers()
        for index in 0..<count { handle(network.event(index)) }
        runReady()
        if isDraining { checkDrained() }
        network.endTurn()
        if count > 0 || !mail.isEmpty || !runnable.isEmpty { return true }
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
    private func closeSpoiled(_ count: Int) {
        // A single event has nobody to come before, unless a timer starts another attempt.
        guard count > 1 || count == 1 && (timers.next ?? .seconds(Int64.max)) <= now else { return }
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
        case .probe: prober?.handle(event.token, event.readiness)
        case .exchange, nil: break
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
            case nil: break
            }
        }
    }

    /// Puts a connection in line for this turn's end or the next: it can go on without an event.
    func runLater(_ token: Token) { runnable.append(token) }

    private func runReady() {
        guard !runnable.isEmpty else { return }
        swap(&runnable, &running)
        for token in running {
            switch TokenKind(rawValue: token.kind) {
            case .client: clients[token]?.advance()
            case .server: servers[token]?.handle([], self)
            case .listener, .exchange, .probe, nil: break
            }
        }
        running.removeAll(keepingCapacity: true)
    }

    // MARK: Clients

    var hasRoomForClient: Bool { !isDraining && budget.hasRoom }

    func addClient(_ socket: SocketID, peer: Endpoint) {
        budget.take()
        counters.add(.connections)
        let client = clients.insert { ClientConnection(token: $0, socket: socket, peer: peer, worker: self) }
        do throws(SystemError) {
            try network.watch(socket, token: client.token)
        } catch {
            log.say(.warning, "cannot watch a connection: \(error)")
            client.close()
        }
    }

    func removeClient(_ token: Token) {
        clients.remove(token)
        budget.give()
        for listener in listeners.all { listener.resume(self) }
    }

    // MARK: Exchanges

    func takeDriver() -> ExchangeDriver {
        freeDrivers.popLast() ?? drivers.insert { ExchangeDriver(token: $0, worker: self) }
    }

    func giveDriver(_ driver: ExchangeDriver) {
        driver.reset()
        freeDrivers.append(driver)
    }

    /// The pool whose blocks hold a head of `count` bytes.
    func pool(forHeadOf count: Int) -> BufferPool { count <= 4 << 10 ? loop.headBlocks : loop.blocks }
    func pool(ofHead buffer: Buffer) -> BufferPool { buffer.capacity <= 4 << 10 ? loop.headBlocks : loop.blocks }

    func makeRequestID() -> InlineArray<32, UInt8> {
        let id = random.nextID()
        return RequestID.made(from: id.high, id.low)
    }

    /// The date of this second.
    var date: HTTPDate {
        let seconds = network.wallSeconds
        if seconds != dateCache.seconds { dateCache = (seconds, HTTPDate(seconds: seconds)) }
        return dateCache.date
    }

    // MARK: Servers

    /// A kept connection to the server that seems alive.
    func leaseIdle(backend: Int, server: Int, mayReplay: Bool) -> ServerConnection? {
        while let connection = idle.lease(backend: backend, server: server) {
            // A request that may not be sent twice asks the kernel once more whether the server has hung up.
            let isSuspect = !mayReplay && now - connection.keptSince > .seconds(1)
            if isSuspect, network.hasInput(connection.wire.stream.socket) {
                connection.close(self)
                continue
            }
            return connection
        }
        return nil
    }

    func keepIdle(_ connection: ServerConnection) {
        guard !isDraining, idle.add(connection) else {
            connection.close(self)
            return
        }
        connection.keep(self)
    }

    /// Starts a connection to a server; nil when the system refuses at once.
    func connect(backend: Int, server: Int) -> ServerConnection? {
        let endpoint = plan.backends[backend].backend.servers[server].endpoint
        do throws(SystemError) {
            let socket = try network.connect(to: endpoint)
            let keepFor = plan.backends[backend].settings.poolIdle
            let connection = servers.insert {
                ServerConnection(token: $0, backend: backend, server: server, socket: socket, keepFor: keepFor)
            }
            do throws(SystemError) {
                try network.watch(socket, token: connection.token)
                return connection
            } catch {
                connection.close(self)
                throw error
            }
        } catch {
            log.say(.debug, "\(endpoint): \(error)")
            return nil
        }
    }

    // MARK: Counting

    /// Counts how an exchange ended.
    /// - Parameter status: what the client got, if it got any.
    func count(_ disposition: Disposition, status: Int?) {
        if let status { counters.add(.responses(status: status)) }
        if let counter = Counter(disposition) { counters.add(counter) }
        if case .cut = disposition { counters.add(.failedTruncated) }
    }

    // MARK: Ending

    private func handle(_ message: WorkerMessage) {
        isDraining = true
        for listener in listeners.all { listener.close(self) }
        prober?.stop()
        prober = nil
        for connection in idle.all { connection.close(self) }
        switch message {
        case .drain:
            for client in clients.all where client.isIdle { client.close() }
        case .abort:
            for client in clients.all { client.abort() }
        }
    }

    private func checkDrained() {
        guard clients.count == 0, !hasSaidDrained else { return }
        hasSaidDrained = true
        drained()
    }

    /// What the worker holds: for tests and for messages.
    public struct Holdings: Equatable, Sendable {
        public var clients = 0
        public var servers = 0
        public var keptServers = 0
        public var exchanges = 0
        public var blocks = 0
        public var timers = 0
        public init() {}
    }

    public var holdings: Holdings {
        var holdings = Holdings()
        holdings.clients = clients.count
        holdings.servers = servers.count
        holdings.keptServers = idle.count
        holdings.exchanges = drivers.count - freeDrivers.count
        holdings.timers = timers.count
        holdings.blocks = loop.blocks.outstanding + loop.headBlocks.outstanding
        return holdings
    }
}

extension Counter {
    /// The counter of a disposition; nil for what is counted by status alone.
    init?(_ disposition: Disposition) {
        switch disposition {
        case .answered: return nil
        case .replied(let failure), .cut(let failure): self = Counter(failure)
        case .clientLeft(.connecting): self = .clientLeftConnecting
        case .clientLeft(.uploading): self = .clientLeftUploading
        case .clientLeft(.waiting): self = .clientLeftWaiting
        case .clientLeft(.streaming): self = .clientLeftStreaming
        }
    }

    private init(_ failure: Failure) {
        switch failure {
        case .connect: self = .failedConnect
        case .connectTimeout: self = .failedConnectTimeout
        case .reset: self = .failedReset
        case .badResponse: self = .failedBadResponse
        case .firstByteTimeout: self = .failedFirstByteTimeout
        case .idleTimeout: self = .failedIdleTimeout
        case .headTimeout: self = .failedHeadTimeout
        case .bodyTimeout: self = .failedBodyTimeout
        case .writeTimeout: self = .failedWriteTimeout
        case .noServer: self = .failedNoServer
        case .badRequest: self = .failedBadRequest
        case .shutdown: self = .failedShutdown
        }
    }
}

/// What a token is for.
enum TokenKind: UInt8 {
    case listener, client, server, exchange, probe
}
