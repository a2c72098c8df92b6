// Durations by size, for quantiles over many scrapes. Single-writer, like the counters.
import Synchronization

/// One worker's histogram of durations. Buckets are fixed, so that histograms of all workers add up.
public final class Histogram: Sendable {
    /// Upper bounds in seconds; a further bucket takes what is longer.
    public static let bounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]
    /// The same in ticks.
    private static let limits: InlineArray<17, Int> = InlineArray { Ticks.of(.seconds(bounds[$0])) }

    /// Observations by bucket, the unbounded one last; then their sum in ticks.
    private let values = InlineArray<19, Atomic<Int>> { _ in Atomic(0) }

    public init() {}

    public func observe(_ duration: Duration) {
        let ticks = Ticks.of(duration)
        var bucket = 0
        while bucket < 17, ticks > Self.limits[bucket] { bucket += 1 }
        add(bucket, 1)
        add(18, ticks)
    }

    private func add(_ index: Int, _ amount: Int) {
        values[index].store(values[index].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// All workers' histograms of one thing, added up.
    public struct Snapshot: Sendable {
        /// By bucket, not cumulative.
        public private(set) var counts = [Int](repeating: 0, count: 18)
        private var ticks = 0

        public init(_ histograms: some Sequence<Histogram>) {
            for histogram in histograms {
                for index in counts.indices { counts[index] += histogram.values[index].load(ordering: .relaxed) }
                ticks += histogram.values[18].load(ordering: .relaxed)
            }
        }

        public var count: Int { counts.reduce(0, +) }

        /// Sum of all observations.
        public var seconds: Double { Ticks.duration(ticks) / .seconds(1) }
    }
}
