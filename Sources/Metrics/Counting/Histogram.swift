// Durations by size, for quantiles over many scrapes. Single-writer, like the counters.
import Synchronization

/// One worker's histogram of durations. Buckets are fixed, so that histograms of all workers add up.
public final class Histogram: Sendable {
    /// Upper bounds in seconds; a further bucket takes what is longer.
    public static let bounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]
    /// Of the pauses of streams, the first ones are told: up to 5 seconds.
    static let gapBounds = 11
    /// As labels say them; and as OpenMetrics wants them, which are numbers with a point.
    static let texts = bounds.map { $0 == $0.rounded() ? "\(Int($0))" : "\($0)" }
    static let canonicalTexts = bounds.map { "\($0)" }
    /// The same in ticks.
    private static let limits: InlineArray<17, Int> = InlineArray { Ticks.of(.seconds(bounds[$0])) }

    /// Observations by bucket, the unbounded one last; then their sum in units of 1024 ticks: in nanoseconds, ten thousand
    /// streams at a time would have filled it within days.
    private let values = InlineArray<19, Atomic<Int>> { _ in Atomic(0) }

    public init() {}

    public func observe(_ duration: Duration) { observe(ticks: Ticks.of(duration)) }

    func observe(ticks: Int) {
        var bucket = 0
        while bucket < 17, ticks > Self.limits[bucket] { bucket += 1 }
        add(bucket, 1)
        add(18, ticks >> 10)
    }

    private func add(_ index: Int, _ amount: Int) {
        values[index].store(values[index].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// All workers' histograms of one thing, added up.
    public struct Snapshot: Sendable {
        /// By bucket, not cumulative.
        public private(set) var counts = [Int](repeating: 0, count: 18)
        private var sum = 0

        public init(_ histograms: some Sequence<Histogram>) {
            for histogram in histograms {
                for index in counts.indices { counts[index] += histogram.values[index].load(ordering: .relaxed) }
                sum &+= histogram.values[18].load(ordering: .relaxed)
            }
        }

        public var count: Int { counts.reduce(0, +) }

        /// Sum of all observations.
        public var seconds: Double { Ticks.duration(sum) / .seconds(1) * 1024 }
    }
}
