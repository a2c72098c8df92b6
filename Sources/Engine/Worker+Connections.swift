// A worker's tables: listeners, clients, exchanges and connections to servers come and go here.
public import Addresses
import Balancing
import Configuration
public import EventLoop
import Metrics

extension Worker {
    /// Opens a listener on this worker; before the loop starts.
    /// - Parameter number: of the listener in the plan.
    /// - Returns: where it is bound.
    public func listen(number: Int, on endpoint: Endpoint, joining: Bool) throws(SystemError) -> Endpoint {
        var failure: SystemError?
        let role = plan.listeners[number].role
        let listener = listeners.insert { token in
            do throws(SystemError) {
                let socket = try network.listen(on: endpoint, joining: joining, token: token)
                let bound = network.localEndpoint(of: socket) ?? endpoint
                return Listener(token: token, socket: socket, endpoint: bound, number: number, role: role)
            } catch {
                failure = error
                let none = SocketID(rawValue: -1)
                return Listener(token: token, socket: none, endpoint: endpoint, number: number, role: role)
            }
        }
        if let failure {
            listeners.remove(listener.token)
            throw failure
        }
        return listener.endpoint
    }

    // MARK: Clients

    func hasRoomForClient(_ role: ListenerRole) -> Bool {
        role == .stats ? shared.statsClients.hasRoom : !isDraining && shared.clients.hasRoom
    }

    /// Closes the connection of ballast's own page that has waited longest for its client, so that a check gets through.
    func makeRoomForStats() {
        clients.all.filter { $0.role == .stats && $0.isAwaitingHead }.min { $0.awaitsHeadSince < $1.awaitsHeadSince }?
            .close()
    }

    func addClient(_ socket: SocketID, peer: Endpoint, of listener: Listener) {
        if listener.role == .stats {
            shared.statsClients.take()
        } else {
            shared.clients.take()
            trafficClients += 1
        }
        metrics.listeners[listener.number].add(.accepted)
        let client = clients.insert {
            ClientConnection(
                token: $0, socket: socket, peer: peer, listener: listener.number, role: listener.role, worker: self)
        }
        do throws(SystemError) {
            try network.watch(socket, token: client.token)
        } catch {
            log.say(.warning, "cannot watch a connection: \(error)")
            client.close()
        }
    }

    func removeClient(_ client: ClientConnection) {
        clients.remove(client.token)
        metrics.listeners[client.listener].add(.closed)
        if client.role == .stats {
            shared.statsClients.give()
        } else {
            shared.clients.give()
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
            let metrics = metrics.servers[backend][server]
            let connection = servers.insert {
                ServerConnection(
                    token: $0, backend: backend, server: server, socket: socket, keepFor: keepFor, metrics: metrics)
            }
            metrics.counters.add(.connectionsOpened)
            do throws(SystemError) {
                try network.watch(socket, token: connection.token)
                return connection
            } catch {
                connection.close(self)
                throw error
            }
        } catch {
            warnOfConnect(endpoint, error)
            return nil
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
        holdings.keptServers = idle.count
        holdings.exchanges = drivers.count - freeDrivers.count
        holdings.timers = timers.count
        holdings.blocks = loop.blocks.outstanding + loop.headBlocks.outstanding
        return holdings
    }
}
