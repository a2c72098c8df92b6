// Whether a failed attempt is made again, and where. The one place that decides it; it never makes an attempt.
public import Balancing

/// What the rule looks at.
public struct AttemptFacts: Sendable {
    /// RFC 9110, 9.2.2.
    public var isIdempotent = false
    /// The request carries an Idempotency-Key: its server promises to run it once.
    public var isKeyed = false
    /// Bytes of the request were handed to the kernel: the server may be at work on it.
    public var hasSent = false
    /// Bytes of the request's body were sent and not kept: this request cannot be sent again.
    public var hasLostBody = false
    /// A byte of a response arrived: the server is at work, or done.
    public var hasResponse = false
    /// An interim response went to the client, besides the 100 that it asked for.
    public var hasForwarded = false
    /// The connection had carried a request before.
    public var isKept = false

    public init() {}
}

/// The rule: never after a response byte, never what may not run twice; a kept connection that turns out dead costs
/// nothing; a server that refuses is skipped for the next; a request lost on the way is repeated `retries` times.
public struct RetryRule: Sendable {
    public enum Decision: Equatable, Sendable {
        case freshConnection
        /// `isRetry`: it may have run before, so the attempt counts as a retry and against the budget.
        case anotherServer(isRetry: Bool)
        case giveUp
    }

    /// How often a request that reached a server is sent to another one; 0 tries one server only.
    public var retries: Int
    public var causes: Causes
    public var replay: Replay

    public init(
        retries: Int = 1, causes: Causes = Causes(connect: true, reset: true), replay: Replay = .idempotent
    ) {
        self.retries = retries
        self.causes = causes
        self.replay = replay
    }

    /// Statuses that say the request was not run: it may go elsewhere whatever its method.
    static func isRefusal(_ status: Int) -> Bool { status == 429 || status == 503 }

    private func mayRunTwice(_ facts: AttemptFacts) -> Bool {
        switch replay {
        case .idempotent: facts.isIdempotent
        case .keyed: facts.isIdempotent || facts.isKeyed
        case .always: true
        }
    }

    /// The request may be sent again without any chance that it runs twice where that matters.
    public func mayBeReplayed(_ facts: AttemptFacts) -> Bool {
        !facts.hasResponse && !facts.hasLostBody && (!facts.hasSent || mayRunTwice(facts))
    }

    /// Whether it could be sent again after it was sent.
    func isRepeatable(_ facts: AttemptFacts) -> Bool {
        !facts.hasResponse && !facts.hasLostBody && mayRunTwice(facts)
    }

    /// Whether there is any use in keeping the request's body.
    func wantsBody(_ facts: AttemptFacts) -> Bool {
        mayRunTwice(facts) || retries > 0 && (causes.statuses.contains(429) || causes.statuses.contains(503))
    }

    /// - Parameters:
    ///   - retried: attempts so far that counted as retries.
    ///   - attempts: attempts so far, however they ended.
    public func decide(_ failure: Failure, _ facts: AttemptFacts, retried: Int, attempts: Int) -> Decision {
        guard mayBeReplayed(facts), attempts < Exclusions.capacity else { return .giveUp }
        if failure == .reset, facts.isKept { return .freshConnection }
        guard retries > 0, causes.contains(failure) else { return .giveUp }
        switch failure {
        case .connect, .connectTimeout, .upstreamTLS:
            return .anotherServer(isRetry: false)
        case .reset, .firstByteTimeout:
            return retried < retries ? .anotherServer(isRetry: true) : .giveUp
        case .badResponse, .idleTimeout, .headTimeout, .bodyTimeout, .writeTimeout, .noServer, .queueFull,
            .queueTimeout, .noRoute, .badRequest, .shutdown, .requestTimeout, .tunnelTimeout, .bodyRate, .readRate,
            .clientLimit, .tooLarge:
            return .giveUp
        }
    }

    /// Whether a response with `status` is given up for an attempt elsewhere. Nothing of it has been forwarded.
    public func retries(after status: Int, _ facts: AttemptFacts, retried: Int, attempts: Int) -> Bool {
        causes.statuses.contains(status) && retried < retries && attempts < Exclusions.capacity && !facts.hasLostBody
            && !facts.hasForwarded && (Self.isRefusal(status) || mayRunTwice(facts))
    }
}

extension Causes {
    /// Whether `failure` is among the kinds.
    public func contains(_ failure: Failure) -> Bool {
        switch failure {
        case .connect, .upstreamTLS: connect
        case .connectTimeout: connect || timeout
        case .reset, .badResponse: reset
        case .firstByteTimeout, .idleTimeout: timeout
        case .headTimeout, .bodyTimeout, .writeTimeout, .noServer, .queueFull, .queueTimeout, .noRoute, .badRequest,
            .shutdown, .requestTimeout, .tunnelTimeout, .bodyRate, .readRate, .clientLimit, .tooLarge:
            false
        }
    }

    /// What a failed attempt says about its server.
    public func result(_ failure: Failure) -> AttemptResult { contains(failure) ? .bad : .neutral }

    /// What a response says about its server. A refusal says that it is busy, which is no fault.
    public func result(status: Int) -> AttemptResult {
        if RetryRule.isRefusal(status) { return .neutral }
        return statuses.contains(status) ? .bad : .good
    }
}
