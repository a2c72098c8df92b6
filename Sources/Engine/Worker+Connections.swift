// A worker's tables: listeners, clients, exchanges and connections to servers come and go here.
import Addresses
import Balancing
import Configuration
import EventLoop
import Metrics
import Relay
import Synchronization

extension Worker {
    /// Accepts clients on a socket from now on.
    func listen(_ opened: OpenedListener, as wanted: ListenerPlan) {
        // A listener that opens while ballast stops would accept nobody.
        guard opened.sockets.indices.contains(index), !isDraining || opened.isStats else { return }
        var failure: SystemError?
        let listener = listeners.insert { token in
            var socket: SocketID?
            do throws(SystemError) {
                socket = try network.listen(opened.sockets[index], token: token)
                if let socket { network.limitDelivery(plan.traffic.deliveryLimit, on: socket) }
            } catch {
                failure = error
            }
            return Listener(
                token: token, socket: socket ?? SocketID(rawValue: -1), endpoint: opened.endpoint,
                settings: wanted.settings, shared: opened.shared, worker: index, backend: backend(of: wanted.role),
                access: wanted.access)
        }
        guard let failure else { return }
        listeners.remove(listener.token)
        log.say(.error, "cannot watch \(opened.endpoint): \(failure)")
    }

    func backend(of role: ListenerRole) -> WorkerBackend? {
        if case .backend(let index) = role { backends[index] } else { nil }
    }

    // MARK: Clients

    func hasRoomForClient(_ listener: Listener) -> Bool {
        (listener.isStats ? shared.statsClients.hasRoom : shared.clients.hasRoom) && listener.shared.clients.hasRoom
    }

    /// Where one of ballast's own listeners, or all of them, have too many connections, closes the one that has waited longest for its client, or else
    /// the one whose request takes longest, so that a check gets through: who does not read its answer keeps nobody out.
    func makeRoom(on listener: Listener) {
        guard shared.statsClients.isOver || listener.shared.clients.isOver else { return }
        // Who has come in this turn has said nothing yet.
        let own = clients.all.filter { $0.listener.isStats && !$0.isWatching && $0.awaitsHeadSince < now }
        let idle = own.filter(\.isAwaitingHead).min { $0.awaitsHeadSince < $1.awaitsHeadSince }
        let oldest = idle ?? own.min { $0.requestBegan < $1.requestBegan }
        oldest?.close(resetting: idle == nil)
    }

    func addClient(_ socket: SocketID, peer: Endpoint, of listener: Listener) {
        if listener.isStats {
            shared.statsClients.take()
        } else {
            shared.clients.take()
            trafficClients += 1
        }
        listener.metrics.add(.accepted)
        listener.shared.clients.take()
        let client = clients.insert {
            ClientConnection(token: $0, socket: socket, peer: peer, listener: listener, worker: self)
        }
        do throws(SystemError) {
            try network.watch(socket, token: client.token)
        } catch {
            log.say(.warning, "cannot watch a connection: \(error)")
            client.close()
            return
        }
        // Whose connection it is may show with its first bytes only.
        if !listener.isStats, !client.awaitsProxyHeader { admit(client) }
    }

    /// Lets a client in if its address has room for one connection more; else answers it, a few at a time.
    func admit(_ client: ClientConnection) {
        // Without a limit they are counted as well: a reload may set one.
        guard let ip = client.identity.ip, !client.identity.isTrusted else { return }
        let key = ConnectionGate.Client(ip)
        let (limits, now) = (plan.traffic.clientLimits, now)
        switch shared.gate.withLock({ $0.admit(key, limits, now: now) }) {
        case .admitted:
            client.gateClient = key
            return
        case .tooMany: metrics.limits.add(.maxConnectionsPerClient)
        case .tooFast: metrics.limits.add(.connectionRatePerClient)
        }
        // Each answer keeps a connection for a moment: of a flood only the first are told why; and nobody whom that would
        // cost a handshake.
        guard turnedAway < Self.mostTurnedAway, !client.identity.isSecure else {
            client.close(resetting: true)
            return
        }
        turnedAway += 1
        client.isTurnedAway = true
        // While it is told it is in nobody's way.
        shared.clients.give()
        client.listenerClients.give()
        client.refuse(.clientLimit)
    }

    /// Clients that are being told of their limit, at a time.
    private static let mostTurnedAway = 16

    func removeClient(_ client: ClientConnection) {
        clients.remove(client.token)
        client.listenerMetrics.add(.closed)
        if client.isTurnedAway { turnedAway -= 1 } else { client.listenerClients.give() }
        if let key = client.gateClient {
            shared.gate.withLock { $0.leave(key) }
        }
        if client.listener.isStats {
            shared.statsClients.give()
        } else {
            if !client.isTurnedAway { shared.clients.give() }
            trafficClients -= 1
        }
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

    // MARK: Servers

    /// A kept connection to the server that seems alive.
    func leaseIdle(_ server: WorkerServer, mayReplay: Bool) -> ServerConnection? {
        while let connection = server.idle.lease() {
            // A request that may not be sent twice asks the kernel once more whether the server has hung up.
            let isSuspect = !mayReplay && now - connection.keptSince > .seconds(1)
            if isSuspect, !connection.isQuiet(self) {
                connection.close(self)
                continue
            }
            return connection
        }
        return nil
    }

    /// - Parameter limit: connections kept to its server.
    func keepIdle(_ connection: ServerConnection, limit: Int) {
        guard !isDraining, connection.server.shared.isMember, connection.server.idle.add(connection, limit: limit)
        else {
            connection.close(self)
            return
        }
        connection.keep(self)
    }

    /// Starts a connection to a server.
    /// - Parameter keepFor: how long it may be kept between requests.
    /// - Throws: what the system says at once: that there is no way to the server, or nothing left to make one with.
    func connect(
        _ server: WorkerServer, of backend: WorkerBackend?, keepFor: Duration
    ) throws(SystemError) -> ServerConnection {
        let socket = try network.connect(to: server.shared.endpoint)
        let tls = backend?.makeSession(with: server, on: socket, network)
        guard tls != nil || server.shared.secureName == nil else {
            network.close(socket, resetting: true)
            throw .secured
        }
        let connection = servers.insert {
            ServerConnection(token: $0, server: server, socket: socket, tls: tls, keepFor: keepFor)
        }
        server.metrics.counters.add(.connectionsOpened)
        do throws(SystemError) {
            try network.watch(socket, token: connection.token)
            return connection
        } catch {
            connection.close(self)
            throw error
        }
    }

    // MARK: What is held

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
        holdings.keptServers = servers.all.count { $0.state == .kept }
        holdings.exchanges = drivers.count - freeDrivers.count
        holdings.timers = timers.count
        holdings.blocks = loop.blocks.outstanding + loop.headBlocks.outstanding
        return holdings
    }
}
