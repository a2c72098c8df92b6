// What one worker counts of one thing. It holds numbers only; their owner knows whose they are.
import Synchronization

/// Of the requests of one backend, or of none.
public final class RequestMetrics: Sendable {
    public let counters = Counters<RequestCounter>()
    /// First request byte to last response byte.
    public let duration = Histogram()
    /// The same of requests that got their server's whole response, for quantiles.
    public let latency = FineHistogram()
    /// First request byte to the first byte of the response's body: what a client waits for, the line included.
    public let firstByte = Histogram()
    public let fineFirstByte = FineHistogram()
    /// Wait for a slot, of requests that waited.
    public let queue = Histogram()

    public init() {}
}

extension RequestMetrics {
    /// A request is over, so long after it began.
    /// - Parameter isAnswered: it got its server's whole response.
    public func noteEnd(after duration: Duration, isAnswered: Bool) {
        let ticks = Ticks.of(duration)
        self.duration.observe(ticks: ticks)
        if isAnswered { latency.observe(ticks: ticks) }
    }

    /// The first byte of a response's body came, so long after its request began.
    public func noteFirstByte(after duration: Duration) {
        let ticks = Ticks.of(duration)
        firstByte.observe(ticks: ticks)
        fineFirstByte.observe(ticks: ticks)
    }
}

/// Of one server.
public final class ServerMetrics: Sendable {
    public let counters = Counters<ServerCounter>()
    /// Request sent to first body byte.
    public let firstByte = Histogram()
    public let fineFirstByte = FineHistogram()
    /// From one piece of a stream to the next.
    public let streamGap = Histogram()
    /// Beginning of an attempt to the end of its response, of those that got it whole.
    public let latency = FineHistogram()
    /// When the server last sent anything for a request, in ticks.
    private let lastByteTime = Atomic<Int>(0)

    public init() {}

    /// When the server last sent anything for a request, by the loop's clock.
    public var lastByte: Duration {
        get { Ticks.duration(lastByteTime.load(ordering: .relaxed)) }
        set { lastByteTime.store(Ticks.of(newValue), ordering: .relaxed) }
    }

    /// The first byte of a body came, so long after its request was sent.
    public func noteFirstByte(after duration: Duration) {
        let ticks = Ticks.of(duration)
        firstByte.observe(ticks: ticks)
        fineFirstByte.observe(ticks: ticks)
    }

    /// A piece of a stream came.
    /// - Parameter last: when the one before came; then when this one did.
    public func notePiece(events: Int, at now: Duration, last: inout PieceTime) {
        if events > 0 { counters.add(.streamEvents, events) }
        let time = Ticks.of(now)
        if last.ticks != 0 { streamGap.observe(ticks: time - last.ticks) }
        last.ticks = time
    }
}

/// When a piece of a stream came, as it is counted; none at first.
public struct PieceTime: Sendable {
    fileprivate var ticks = 0

    public init() {}
}

/// Durations as one integer, by a shift: a division of 128 bits for each event would cost more than the counting.
enum Ticks {
    /// A tick is 2^30 attoseconds, a little more than a nanosecond.
    static func of(_ duration: Duration) -> Int { Int(truncatingIfNeeded: duration.attoseconds >> 30) }
    static func duration(_ ticks: Int) -> Duration { Duration(attoseconds: Int128(ticks) << 30) }
}

/// One worker's numbers, besides those of single listeners, backends and servers.
public final class WorkerMetrics: Sendable {
    public let process = Counters<ProcessCounter>()
    public let limits = Counters<LimitCounter>()
    /// Of requests that came to no backend.
    public let unrouted = RequestMetrics()

    public init() {}
}
