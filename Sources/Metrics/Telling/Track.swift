// The last five minutes of one thing that is counted: rates, quantiles and little graphs come from it. It reads no clock
// and no counter by itself.

/// Sums of one thing at a moment. They only grow.
public struct Totals: Sendable {
    public var requests = 0
    /// Requests that ballast or their server failed, and those that were cut.
    public var errors = 0
    /// Server-sent events.
    public var events = 0
    public var firstByte = FineHistogram.Snapshot()
    public var latency = FineHistogram.Snapshot()

    public init() {}

    /// What has happened since `earlier`.
    public func since(_ earlier: Totals) -> Activity {
        var activity = Activity()
        activity.requests = requests - earlier.requests
        activity.errors = errors - earlier.errors
        activity.events = events - earlier.events
        activity.firstByte = firstByte.since(earlier.firstByte)
        activity.latency = latency.since(earlier.latency)
        return activity
    }
}

/// What has happened in a while. That of several things adds up, whichever of them come and go.
public struct Activity: Sendable {
    public var requests = 0
    public var errors = 0
    public var events = 0
    var firstByte = Distribution()
    public var latency = Distribution()

    public init() {}

    public static func += (left: inout Activity, right: Activity) {
        left.requests += right.requests
        left.errors += right.errors
        left.events += right.events
        left.firstByte += right.firstByte
        left.latency += right.latency
    }
}

/// What a track is looked at for, by one look at it.
public struct Recent: Sendable {
    /// The mean of each interval, the oldest first; shorter while ballast is young.
    public var load: [Float?] = []
    public var waiting: [Float?] = []
    public var events: [Float?] = []
    /// Parts of the requests, and seconds; none where there was no request.
    public var errors: [Float?] = []
    public var firstByte: [Float?] = []
    public var requestsPerSecond = 0.0
    public var eventsPerSecond = 0.0
    /// Over five minutes.
    public var requestCount = 0
    public var errorCount = 0
    /// Seconds, over one minute; nil without requests.
    public var firstByteMedian: Double?
    public var firstByte95: Double?
    public var latency99: Double?

    public init() {}

    /// Errors by requests of five minutes; nil without requests.
    public var errorShare: Double? {
        requestCount > 0 ? min(1, Double(errorCount) / Double(requestCount)) : nil
    }
}

public struct Track: Sendable {
    /// Seconds of one interval; intervals of five minutes and of one.
    public static let interval = 5
    public static let count = 60
    private static let minute = 60 / interval

    private struct Interval: Sendable {
        var end = 0.0
        var load: Float = 0
        var waiting: Float = 0
        var eventRate: Float = 0
        var firstByte95: Float?
        var requests = 0
        var errors = 0
        var events = 0
        /// Of the last minute alone: nobody asks for those before.
        var firstByte = Spread()
        var latency = Spread()
    }

    /// The oldest first; at most `count`.
    private var intervals: [Interval] = []
    private let startedAt: Double
    private var load = 0
    private var waiting = 0
    private var looks = 0

    /// - Parameter now: seconds of a clock that never jumps.
    public init(now: Double) { startedAt = now }

    /// A look at what is running and waiting, one of several in an interval.
    public mutating func look(load: Int, waiting: Int = 0) {
        self.load += load
        self.waiting += waiting
        looks += 1
    }

    /// The interval is over.
    public mutating func close(now: Double, _ activity: Activity) {
        var interval = Interval()
        interval.end = now
        interval.load = looks > 0 ? Float(load) / Float(looks) : 0
        interval.waiting = looks > 0 ? Float(waiting) / Float(looks) : 0
        let length = now - (intervals.last?.end ?? startedAt)
        interval.eventRate = Float(Double(activity.events) / max(length, 0.001))
        (interval.requests, interval.errors, interval.events) = (activity.requests, activity.errors, activity.events)
        interval.firstByte95 = activity.firstByte.quantile(0.95).map(Float.init)
        (interval.firstByte, interval.latency) = (Spread(activity.firstByte), Spread(activity.latency))
        (load, waiting, looks) = (0, 0, 0)
        if intervals.count == Self.count { intervals.removeFirst() }
        intervals.append(interval)
        let leaving = intervals.count - 1 - Self.minute
        guard leaving >= 0 else { return }
        (intervals[leaving].firstByte, intervals[leaving].latency) = (Spread(), Spread())
    }

    /// - Parameters:
    ///   - now: of the same clock.
    ///   - activity: since the last interval was over.
    public func recent(now: Double, _ activity: Activity) -> Recent {
        var recent = Recent()
        (recent.requestCount, recent.errorCount) = (activity.requests, activity.errors)
        var firstByte = activity.firstByte
        var latency = activity.latency
        for interval in intervals {
            recent.load.append(interval.load)
            recent.waiting.append(interval.waiting)
            recent.events.append(interval.eventRate)
            recent.firstByte.append(interval.firstByte95)
            recent.errors.append(
                interval.requests > 0 ? min(1, Float(interval.errors) / Float(interval.requests)) : nil)
            recent.requestCount += interval.requests
            recent.errorCount += interval.errors
            firstByte.add(interval.firstByte)
            latency.add(interval.latency)
        }
        recent.firstByteMedian = firstByte.quantile(0.5)
        recent.firstByte95 = firstByte.quantile(0.95)
        recent.latency99 = latency.quantile(0.99)
        addRates(&recent, now: now, activity)
        return recent
    }

    /// Over ten seconds and what has begun since, or what there is of them.
    private func addRates(_ recent: inout Recent, now: Double, _ activity: Activity) {
        let last = intervals.suffix(10 / Self.interval)
        let before = intervals.dropLast(last.count).last?.end ?? startedAt
        let time = max(now - before, 1)
        recent.requestsPerSecond = Double(last.reduce(activity.requests) { $0 + $1.requests }) / time
        recent.eventsPerSecond = Double(last.reduce(activity.events) { $0 + $1.events }) / time
    }
}
