// What all workers share of one backend, one server, one listener, for as long as anything uses it: over reloads that keep
// it, and after those that drop it until its last request has ended.
import Addresses
import Balancing
import Configuration
import EventLoop
import Metrics
import Synchronization

/// One server of a backend. Name and endpoint are its identity; another address is another server.
final class SharedServer: Sendable {
    let number: Int
    let name: String
    let endpoint: Endpoint
    /// The name that it has to prove over TLS; nil of one whose connections are plain.
    let secureName: String?
    /// What was wrong with its last handshake.
    let lastFailure = Mutex<TLSFailure.Reason?>(nil)
    /// Its address as Host has it, for requests without Host and for health checks.
    let authority: [UInt8]
    /// By worker.
    let metrics: [ServerMetrics]
    let recording = Recording()
    private let membership = Atomic<Bool>(false)

    init(_ server: Server, number: Int, workerCount: Int) {
        self.number = number
        name = server.name
        endpoint = server.endpoint
        secureName = server.secureName
        let host = server.secureName.flatMap { IPAddress($0) == nil ? $0 : nil }
        let port = server.endpoint.port == 443 ? "" : ":\(server.endpoint.port)"
        authority = Array((host.map { $0 + port } ?? server.endpoint.authority).utf8)
        metrics = (0..<workerCount).map { _ in ServerMetrics() }
    }

    /// The configuration names it; else its connections end with their requests.
    var isMember: Bool { membership.load(ordering: .relaxed) }
    func setMember(_ isMember: Bool) { membership.store(isMember, ordering: .relaxed) }

    /// When it last sent anything, to any worker.
    var lastByte: Duration { metrics.reduce(.zero) { max($0, $1.lastByte) } }
}

/// One backend under its name.
final class SharedBackend: Sendable {
    let name: String
    let backend: Backend
    /// By worker.
    let metrics: [RequestMetrics]
    let recording = Recording()
    /// By place.
    private let servers = Mutex<[SharedServer]>([])
    private let ledger: Ledger

    init(name: String, workerCount: Int, ledger: Ledger) {
        self.name = name
        self.ledger = ledger
        backend = Backend(name: name)
        metrics = (0..<workerCount).map { _ in RequestMetrics() }
    }

    deinit { ledger.add(requests: Snapshot(metrics.map(\.counters))) }

    /// Those that it has, each once.
    var known: [SharedServer] {
        let all = servers.withLock { $0 }
        // One that fills a place which nobody has stands at its own as well.
        return all.enumerated().filter { ServerNumber.place($1.number) == $0 }.map(\.element)
    }

    /// The server with this number; nil once another has taken its place.
    func server(_ number: Int) -> SharedServer? {
        let place = ServerNumber.place(number)
        let found = servers.withLock { $0.indices.contains(place) ? $0[place] : nil }
        return found?.number == number ? found : nil
    }

    /// Servers with the numbers of `roster`; those that are known keep their counters.
    func members(_ servers: [Server], of roster: Roster) -> [SharedServer] {
        zip(roster.numbers, servers).map { number, server in
            self.server(number) ?? SharedServer(server, number: number, workerCount: metrics.count)
        }
    }

    /// Goes on with `roster` and its servers, which are findable before the first of them is picked. Meanwhile nobody is
    /// kept from looking for a server: what takes time is done beside the locks.
    /// - Returns: what follows, and for how long nobody could choose a server.
    func adopt(_ roster: Roster, _ members: [SharedServer], now: Duration) -> (Aftermath, hold: Duration) {
        var next = servers.withLock { $0 }
        for member in members {
            let place = ServerNumber.place(member.number)
            // A filler is found by nobody: its number is another.
            while next.count <= place { next.append(member) }
            next[place] = member
        }
        exchange(&next)
        let began = Machine.monotonicTime
        let aftermath = backend.adopt(roster, now: now)
        let hold = Machine.monotonicTime - began
        let count = backend.placeCount
        var rest = servers.withLock { $0 }
        if count < rest.count {
            rest.removeLast(rest.count - count)
            exchange(&rest)
        }
        return (aftermath, hold)
    }

    private func exchange(_ list: inout [SharedServer]) { servers.withLock { swap(&$0, &list) } }
}

/// One listener: an address, and what is counted there.
final class SharedListener: Sendable {
    /// What makes it the same over reloads.
    struct Identity: Equatable, Sendable {
        var address: IPAddress?
        var port: UInt16
        /// Of a UNIX socket.
        var path: String?
        /// Of a socket that was passed to this process.
        var inherited: String?
        /// It is one of ballast's own; of metrics alone.
        var isStats: Bool
        var isMetrics: Bool
        var isSecure: Bool

        init(_ settings: ListenerSettings, _ role: ListenerRole) {
            address = settings.address
            port = settings.port
            path = settings.path
            inherited = settings.inherited
            isStats = role == .stats || role == .metrics
            isMetrics = role == .metrics
            isSecure = settings.isSecure
        }
    }

    let identity: Identity
    /// By worker.
    let metrics: [Counters<ListenerCounter>]
    /// Its own limit.
    let clients = ClientBudget(limit: .max)
    /// Its sockets are, or were, with the workers.
    private let hasSockets = Atomic<Bool>(false)
    private let ledger: Ledger

    init(_ identity: Identity, workerCount: Int, ledger: Ledger) {
        self.identity = identity
        self.ledger = ledger
        metrics = (0..<workerCount).map { _ in Counters() }
    }

    deinit { ledger.add(connections: accepted) }

    var isOpen: Bool { hasSockets.load(ordering: .relaxed) }
    func setOpen() { hasSockets.store(true, ordering: .relaxed) }

    /// Connections of clients; those of ballast's own page are left out.
    var accepted: Int { identity.isStats ? 0 : metrics.reduce(0) { $0 + $1[.accepted] } }
}

/// What was counted by backends and listeners that are no more.
final class Ledger: Sendable {
    struct Sums: Sendable {
        var requests = Snapshot<RequestCounter>([])
        var connections = 0
    }

    private let state = Mutex(Sums())

    func add(requests: Snapshot<RequestCounter>) { state.withLock { $0.requests += requests } }
    func add(connections: Int) { state.withLock { $0.connections += connections } }

    var sums: Sums { state.withLock { $0 } }
}
