// The time limits of one exchange: which one runs in which state. It never reads a clock; `now` is an argument.

/// Limits of an exchange, from the backend's settings; zero is none.
public struct TimeLimits: Sendable {
    /// To wait in line for a server.
    public var queue: Duration
    /// To establish a connection.
    public var connect: Duration
    /// From the request's last byte to the first byte of the response's body.
    public var response: Duration
    /// Silence inside the response's body.
    public var idle: Duration
    /// Silence in both directions of a tunnel.
    public var tunnel: Duration
    /// The whole request.
    public var request: Duration

    public init(
        queue: Duration = .seconds(30), connect: Duration, response: Duration, idle: Duration,
        tunnel: Duration = .zero, request: Duration = .zero
    ) {
        self.tunnel = tunnel
        self.request = request
        self.queue = queue
        self.connect = connect
        self.response = response
        self.idle = idle
    }

    static func deadline(_ limit: Duration, from now: Duration) -> Duration? {
        limit == .zero ? nil : now + limit
    }
}
