// What can go wrong with one request, whose fault it is, and the answer. Nobody parses strings to learn of a failure.
public import HTTP

/// Why a request failed, or was cut after its response had begun.
public enum Failure: Error, Equatable, Sendable {
    /// No connection to the server: refused, unreachable.
    case connect
    case connectTimeout
    /// The connection to the server could not be secured.
    case upstreamTLS
    /// The connection ended before the response was complete.
    case reset
    /// The server's bytes are not HTTP.
    case badResponse(ProtocolError)
    case firstByteTimeout
    case idleTimeout
    /// Nothing passed through a tunnel for too long.
    case tunnelTimeout
    /// The whole request took longer than it may.
    case requestTimeout
    /// The client's head, body, or reading took too long.
    case headTimeout, bodyTimeout, writeTimeout
    /// The client sends its body, or takes the response, more slowly than it may.
    case bodyRate, readRate
    /// The client's address has as many connections as it may have, or makes new ones faster than it may.
    case clientLimit
    /// The request's body is larger than it may be.
    case tooLarge
    case noServer
    /// All slots are taken, and the line is full.
    case queueFull
    case queueTimeout
    /// No backend is configured for the request's host and path.
    case noRoute
    case badRequest(ProtocolError)
    case shutdown

    /// A client's violation.
    public init(client error: ProtocolError) { self = error == .bodyTooLarge ? .tooLarge : .badRequest(error) }

    /// Status of ballast's own answer (`configuration`: answers of ballast's own).
    public var status: Int {
        switch self {
        case .connect, .upstreamTLS, .reset, .badResponse: 502
        case .connectTimeout, .firstByteTimeout, .idleTimeout, .tunnelTimeout, .requestTimeout: 504
        case .headTimeout, .bodyTimeout, .writeTimeout, .bodyRate, .readRate: 408
        case .clientLimit: 429
        case .tooLarge: 413
        case .noServer, .queueFull, .queueTimeout, .shutdown: 503
        case .noRoute: 404
        case .badRequest(let error): error.status
        }
    }

    /// A word for `type` in the answer's body, the same as the metric's reason.
    public var word: StaticString {
        switch self {
        case .connect: "connect"
        case .connectTimeout: "connect_timeout"
        case .upstreamTLS: "upstream_tls"
        case .reset: "reset"
        case .badResponse: "bad_response"
        case .firstByteTimeout: "first_byte_timeout"
        case .idleTimeout: "idle_timeout"
        case .tunnelTimeout: "tunnel_timeout"
        case .requestTimeout: "request_timeout"
        case .bodyRate: "body_rate"
        case .readRate: "read_rate"
        case .clientLimit: "client_limit"
        case .tooLarge: "too_large"
        case .headTimeout: "head_timeout"
        case .bodyTimeout: "body_timeout"
        case .writeTimeout: "write_timeout"
        case .noServer: "no_server"
        case .queueFull: "queue_full"
        case .queueTimeout: "queue_timeout"
        case .noRoute: "no_route"
        case .badRequest: "bad_request"
        case .shutdown: "shutdown"
        }
    }

    /// One clause for people.
    public var explanation: StaticString {
        switch self {
        case .connect: "no server accepts connections"
        case .connectTimeout: "no server answered the connection in time"
        case .upstreamTLS: "no connection to a server could be secured"
        case .reset: "the server closed the connection before its response was complete"
        case .badResponse: "the server sent a malformed response"
        case .firstByteTimeout: "the server did not begin its response in time"
        case .idleTimeout: "the server fell silent in the middle of its response"
        case .tunnelTimeout: "nothing passed through the tunnel for longer than timeout-tunnel"
        case .requestTimeout: "the request took longer than timeout-request"
        case .bodyRate: "the request's body arrives more slowly than minimum-send-rate"
        case .readRate: "the client takes the response more slowly than minimum-read-rate"
        case .clientLimit: "there are too many connections from this address; try again later"
        case .tooLarge: "the request's body is larger than body-limit"
        case .headTimeout: "the request's head did not arrive in time"
        case .bodyTimeout: "the request's body stopped arriving"
        case .writeTimeout: "the client stopped reading"
        case .noServer: "no server can take the request"
        case .queueFull: "all servers are at their limit, and so is the line of those that wait"
        case .queueTimeout: "no server became free in time"
        case .noRoute: "nothing is served here"
        case .badRequest(let error): error.explanation
        case .shutdown: "ballast is stopping"
        }
    }

    /// The attempt on a server failed: it did not connect, or did not answer as it should.
    public var isServersFault: Bool {
        switch self {
        case .connect, .connectTimeout, .upstreamTLS, .reset, .badResponse, .firstByteTimeout, .idleTimeout: true
        case .badRequest, .headTimeout, .bodyTimeout, .writeTimeout, .noServer, .queueFull, .queueTimeout, .noRoute,
            .shutdown, .requestTimeout, .tunnelTimeout, .bodyRate, .readRate, .clientLimit, .tooLarge:
            false
        }
    }

    /// The client made the mistake: nothing more can be read from its connection with certainty.
    public var isClientsFault: Bool {
        switch self {
        case .badRequest, .headTimeout, .bodyTimeout, .writeTimeout, .bodyRate, .readRate, .clientLimit, .tooLarge: true
        case .connect, .connectTimeout, .upstreamTLS, .reset, .badResponse, .firstByteTimeout, .idleTimeout, .noServer,
            .queueFull, .queueTimeout, .noRoute, .shutdown, .requestTimeout, .tunnelTimeout:
            false
        }
    }
}

/// How an exchange ended: one of these for each, counted once.
public enum Disposition: Equatable, Sendable {
    /// The server's response was delivered whole.
    case answered
    /// ballast answered itself.
    case replied(Failure)
    /// The response had begun and could not be finished; the client sees that it is cut.
    case cut(Failure)
    /// The client left first.
    case clientLeft(Phase)
}

/// How far an exchange was when its client left.
public enum Phase: Equatable, Sendable { case queued, connecting, uploading, waiting, streaming }
