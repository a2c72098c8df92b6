// What one worker counts of one thing. It holds numbers only; their owner knows whose they are.
import Synchronization

/// Of the requests of one backend, or of none.
public final class RequestMetrics: Sendable {
    public let counters = Counters<RequestCounter>()
    /// First request byte to last response byte.
    public let duration = Histogram()
    /// Wait for a slot, of requests that waited.
    public let queue = Histogram()

    public init() {}
}

/// Of one server.
public final class ServerMetrics: Sendable {
    public let counters = Counters<ServerCounter>()
    /// Request sent to first body byte.
    public let firstByte = Histogram()
    /// When the server last sent anything for a request, in ticks.
    private let lastByteTime = Atomic<Int>(0)

    public init() {}

    /// When the server last sent anything for a request, by the loop's clock.
    public var lastByte: Duration {
        get { Ticks.duration(lastByteTime.load(ordering: .relaxed)) }
        set { lastByteTime.store(Ticks.of(newValue), ordering: .relaxed) }
    }
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
