// What connections are secured with at one time, on both sides. It changes as one, with a configuration or when files have.
import Addresses
public import EventLoop
import Metrics
import Synchronization

/// Certificates, keys and rules of TLS, ready for connections.
public final class Security: Sendable {
    /// Nil where no listener is secured.
    public let acceptor: TLSAcceptor?
    /// By the name of a backend; of those with https servers.
    public let backends: [(name: String, context: TLSClientContext)]

    public init(acceptor: TLSAcceptor? = nil, backends: [(name: String, context: TLSClientContext)] = []) {
        self.acceptor = acceptor
        self.backends = backends
    }

    public func context(of backend: String) -> TLSClientContext? { backends.first { $0.name == backend }?.context }
}

extension Worker {
    /// Secures connections with these from now on; those that there are go on.
    func adopt(_ next: Security) {
        acceptor = next.acceptor
        for backend in backends {
            let context = next.context(of: backend.name)
            // What was verified under other rules serves no new request.
            if backend.context !== context { for server in backend.opened { closeIdle(server) } }
            backend.context = context
        }
    }

    /// Closes what is kept to a server.
    func closeIdle(_ server: WorkerServer) {
        while let connection = server.idle.lease() { connection.close(self) }
    }

    /// Where `redirect-https` leads.
    var securePort: UInt16 {
        let port = plan.traffic.securePort
        // Where any port was asked for, the one that it became.
        return port != 0 ? port : shared.held.first { $0.listener.identity.isSecure }?.endpoint.port ?? 443
    }

    // MARK: Handshakes

    /// How long handshakes may hold a turn: streams come in between, however many there are.
    private static let handshakeTime = Duration.milliseconds(1)

    /// Puts a connection in line for the next step of its handshake: in this turn if there is time.
    /// - Parameter isFirst: it begins. Those that have begun are finished first: so few are under way at a time, and what
    ///   they need stays in the cache.
    func shakeLater(_ token: Token, isFirst: Bool) {
        if isFirst { backlog.greeting.append(token) } else { backlog.shaking.append(token) }
    }

    func runHandshakes() {
        guard !backlog.shaking.isEmpty || !backlog.greeting.isEmpty else { return }
        let end = network.monotonicTime + Self.handshakeTime
        run(\.shaking, until: end)
        run(\.greeting, until: end)
    }

    private func run(_ line: WritableKeyPath<Backlog, [Token]>, until end: Duration) {
        var done = 0
        // One of each line goes on in every turn, however long the other line is.
        while done < backlog[keyPath: line].count, done == 0 || network.monotonicTime < end {
            shake(backlog[keyPath: line][done])
            done += 1
        }
        backlog[keyPath: line].removeFirst(done)
    }

    private func shake(_ token: Token) {
        switch TokenKind(rawValue: token.kind) {
        case .client: clients[token]?.shake()
        case .server: servers[token]?.shake(self)
        case .listener, .exchange, .probe, .check, .backend, .live, nil: break
        }
    }
}

extension SharedServer {
    /// Tells a failed verification once, until something else is wrong or nothing.
    func noteHandshake(_ failure: TLSFailure?, of backend: String, _ log: EventLog) {
        let isNews = lastFailure.withLock { last -> Bool in
            defer { last = failure?.reason }
            return last != failure?.reason
        }
        guard isNews else { return }
        if let failure {
            log.say(.error, "\(backend)/\(name): no secured connection: \(failure.text)")
        } else {
            log.say(.info, "\(backend)/\(name): connections can be secured again")
        }
    }
}
