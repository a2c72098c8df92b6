// What one worker has of a backend and of its servers: the rules in effect, its own counters, its kept connections.
import Balancing
import EventLoop
import Metrics

final class WorkerBackend {
    let shared: SharedBackend
    let metrics: RequestMetrics
    /// For requests that begin now.
    var plan: BackendPlan
    /// What connections to https servers are secured with.
    var context: TLSClientContext?
    private let worker: Int
    /// By place; made when they are first needed.
    private var servers: [WorkerServer?] = []

    init(_ plan: BackendPlan, worker: Int) {
        self.plan = plan
        self.worker = worker
        shared = plan.shared
        metrics = plan.shared.metrics[worker]
    }

    var name: String { shared.name }

    /// The server with this number; nil when it has gone, which no holder of its slot will see.
    func server(_ number: Int) -> WorkerServer? {
        let place = ServerNumber.place(number)
        if place < servers.count, let known = servers[place], known.number == number { return known }
        return open(number)
    }

    private func open(_ number: Int) -> WorkerServer? {
        guard let found = shared.server(number) else { return nil }
        let place = ServerNumber.place(number)
        while servers.count <= place { servers.append(nil) }
        let server = WorkerServer(found, worker: worker)
        servers[place] = server
        return server
    }

    /// Those that were needed so far.
    var opened: [WorkerServer] { servers.compactMap(\.self) }

    /// Secures a connection that is being made; nil where the server's are plain, or where there is no memory.
    func makeSession(with server: WorkerServer, on socket: SocketID, _ network: any Network) -> TLSSession? {
        guard let name = server.shared.secureName else { return nil }
        return context?.makeSession(socket, name: name, resumption: server.resumption, on: network)
    }

    /// Lets go of every server but `members`; returns the others.
    func drop(allBut members: [SharedServer]) -> [WorkerServer] {
        var isMember = [Bool](repeating: false, count: servers.count)
        for member in members {
            let place = ServerNumber.place(member.number)
            if place < servers.count, servers[place]?.number == member.number { isMember[place] = true }
        }
        var dropped: [WorkerServer] = []
        for (place, server) in servers.enumerated() where !isMember[place] {
            guard let server else { continue }
            dropped.append(server)
            servers[place] = nil
        }
        return dropped
    }
}

final class WorkerServer {
    let shared: SharedServer
    let number: Int
    let metrics: ServerMetrics
    var idle = IdleConnections()
    /// Of one whose connections are secured.
    let resumption: TLSResumption?
    /// Its checks, on the worker that makes them.
    var probe: Probe?

    init(_ shared: SharedServer, worker: Int) {
        self.shared = shared
        number = shared.number
        metrics = shared.metrics[worker]
        resumption = shared.secureName == nil ? nil : TLSResumption()
    }
}
