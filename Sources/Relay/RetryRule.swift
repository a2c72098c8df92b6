// Whether a failed attempt is made again, and where. The one place that decides it; it never makes an attempt.
import Balancing

/// What the rule looks at.
public struct AttemptFacts: Sendable {
    /// RFC 9110, 9.2.2.
    public var isIdempotent = false
    /// Bytes of the request were handed to the kernel: the server may be at work on it.
    public var hasSent = false
    /// Bytes of the request's body were sent and are gone: this request cannot be sent again.
    public var hasSentBody = false
    /// A byte of a response arrived: the server is at work, or done.
    public var hasResponse = false
    /// The connection had carried a request before.
    public var isKept = false

    public init() {}

    /// The request may be sent again without any chance that it runs twice where that matters.
    public var mayBeReplayed: Bool { !hasSentBody && !hasResponse && (!hasSent || isIdempotent) }
}

/// The rule: never after a response byte, never what may not run twice; a kept connection that turns out dead costs
/// nothing; a server that refuses is skipped for the next; a request lost on the way is repeated `retries` times.
public struct RetryRule: Sendable {
    public enum Decision: Equatable, Sendable { case freshConnection, anotherServer, giveUp }

    /// How often a request that reached a server is sent to another one.
    public var retries: Int

    public init(retries: Int = 1) { self.retries = retries }

    /// - Parameters:
    ///   - retried: attempts that were repeated so far because of a reset.
    ///   - attempts: attempts so far, however they ended.
    public func decide(_ failure: Failure, _ facts: AttemptFacts, retried: Int, attempts: Int) -> Decision {
        guard facts.mayBeReplayed, attempts < Exclusions.capacity else { return .giveUp }
        switch failure {
        case .connect, .connectTimeout:
            return .anotherServer
        case .reset:
            if facts.isKept { return .freshConnection }
            return retried < retries ? .anotherServer : .giveUp
        case .badResponse, .firstByteTimeout, .idleTimeout, .headTimeout, .bodyTimeout, .writeTimeout, .noServer,
            .badRequest, .shutdown:
            return .giveUp
        }
    }
}
