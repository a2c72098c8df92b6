// The contract of a policy: which of the candidates takes the next request. A policy never counts requests, never watches
// health and never knows a limit: it is told who can take a request now.

/// A server that can take a request now.
public struct Candidate: Sendable, Equatable {
    /// Requests that were given to the server and have not ended; one that is still connecting counts.
    public var inflight: Int
    /// Its weight in parts of `wholeShare`; less while it starts slowly. At least 1.
    public var share: Int

    /// The share of weight 1. Divisible by small numbers, and fine enough for slow start.
    public static let wholeShare = 1024

    public init(inflight: Int, share: Int) {
        self.inflight = inflight
        self.share = share
    }
}

/// What a policy may look at of a request.
public struct Pick: Sendable {
    /// Servers that the request must not be given to.
    public var exclusions: Exclusions
    /// A hash of the client's address: the same for every request of a client.
    public var affinity: UInt64
    /// A random number for policies that draw.
    public var random: UInt64

    public init(exclusions: Exclusions = Exclusions(), affinity: UInt64 = 0, random: UInt64 = 0) {
        self.exclusions = exclusions
        self.affinity = affinity
        self.random = random
    }
}

/// Picks servers for requests. Used under the backend's lock only.
///
/// A policy's laws, which the law tests hold every policy to: it returns nil only when no candidate outside the
/// exclusions is left; it never returns anything but such a candidate; it respects shares; it never traps.
public protocol BalancingPolicy: Sendable {
    /// Begins with no candidate among `servers`.
    init(_ servers: [Server])

    /// `server` has become a candidate, has changed as one, or is none any more (nil). Logarithmic at most.
    mutating func set(_ server: Int, _ candidate: Candidate?)

    /// The server for a request. The caller then counts it, and says so by `set`.
    mutating func pick(_ request: Pick) -> Int?
}
