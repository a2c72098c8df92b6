// What all parts of a run tell of what they saw, and how origins behave.

/// What a set of origins saw, and what was wrong with it.
public final class Judge {
    /// How often each nonce was begun by an origin.
    public internal(set) var executions: [String: Int] = [:]
    /// Breaches of what ballast promises.
    public private(set) var complaints: [String] = []
    /// Requests that origins of this judge work on, by origin.
    var working: [String: Int] = [:]
    public internal(set) var mostWorking: [String: Int] = [:]

    public init() {}

    public func complain(_ text: String) { complaints.append(text) }
}

/// How an origin behaves; fixed for its life unless the scenario changes it.
public struct OriginProfile {
    public var refuses = false
    /// Percent of requests on which each fault happens.
    public var resetBeforeAnswer = 0
    public var resetInAnswer = 0
    public var garbage = 0
    public var closesAfterAnswer = 0
    public var silent = 0
    public var answersEarly = 0
    /// Answers 503 without running the request, or 500 after running it.
    public var refusesWork = 0
    public var failsWork = 0
    /// Requests at once that ballast may give it; nil is not judged.
    public var maxconn: Int?
    /// Milliseconds; nil thinks until the next full 10 ms.
    public var thinkTime: ClosedRange<Int>? = 0...20

    /// Bytes of an answer every 10 ms; nil sends as much as there is room for.
    public var pace: Int?

    public init() {}
}
