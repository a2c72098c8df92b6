// Durations in narrow buckets, for quantiles that mean something: what Prometheus gets has too few. Single-writer, like the
// counters.
import Synchronization

/// One worker's durations in sixteen buckets for each doubling, from 70 microseconds to 20 minutes: a quantile is off by
/// one part in sixteen at most, and mostly by much less.
public final class FineHistogram: Sendable {
    static let bucketCount = 384
    /// Bits of the shortest duration that has a bucket of its own, in ticks.
    private static let lowest = 16

    private let values = InlineArray<384, Atomic<UInt32>> { _ in Atomic(0) }
    private let total = Atomic<Int>(0)

    public init() {}

    public func observe(_ duration: Duration) { observe(ticks: Ticks.of(duration)) }

    func observe(ticks: Int) {
        let index = Self.bucket(ticks)
        // Sums are compared by their difference: they may begin anew.
        values[index].store(values[index].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        total.store(total.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

    private static func bucket(_ ticks: Int) -> Int {
        guard ticks >= 1 << lowest else { return 0 }
        let bits = Int.bitWidth - 1 - ticks.leadingZeroBitCount
        return min((bits - lowest) * 16 + (ticks >> (bits - 4)) & 15, bucketCount - 1)
    }

    /// Where the bucket begins, in seconds.
    static func lowerBound(_ bucket: Int) -> Double {
        let ticks = (16 + bucket % 16) << (bucket / 16 + lowest - 4)
        return Ticks.duration(ticks) / .seconds(1)
    }

    /// All workers' histograms of one thing, added up.
    public struct Snapshot: Sendable {
        /// By bucket; empty while there is nothing.
        var counts: [UInt32] = []
        /// Of all observations.
        public private(set) var total = 0

        public init() {}

        public init(_ histograms: some Sequence<FineHistogram>) {
            for histogram in histograms {
                let total = histogram.total.load(ordering: .relaxed)
                guard total > 0 else { continue }
                if counts.isEmpty { counts = [UInt32](repeating: 0, count: bucketCount) }
                for index in counts.indices { counts[index] &+= histogram.values[index].load(ordering: .relaxed) }
                self.total += total
            }
        }

        /// Observations since `earlier`.
        func since(_ earlier: Snapshot) -> Distribution {
            guard total != earlier.total, !counts.isEmpty else { return Distribution() }
            var distribution = Distribution()
            for index in counts.indices {
                let before = earlier.counts.isEmpty ? 0 : earlier.counts[index]
                let count = counts[index] &- before
                if count > 0 { distribution.add(Int(count), to: index) }
            }
            return distribution
        }
    }
}

/// Observations of a while: only buckets that have any.
struct Spread: Sendable {
    fileprivate let items: [(bucket: UInt16, count: UInt32)]

    init() { items = [] }

    init(_ distribution: Distribution) {
        items = distribution.counts.enumerated().filter { $1 > 0 }.map {
            (UInt16(truncatingIfNeeded: $0), UInt32(clamping: $1))
        }
    }
}

/// Observations by bucket, to take quantiles from.
public struct Distribution: Sendable {
    /// Empty while there is nothing.
    fileprivate var counts: [Int] = []
    private var total = 0

    mutating func add(_ count: Int, to bucket: Int) {
        if counts.isEmpty { counts = [Int](repeating: 0, count: FineHistogram.bucketCount) }
        counts[bucket] += count
        total += count
    }

    mutating func add(_ spread: Spread) { for item in spread.items { add(Int(item.count), to: Int(item.bucket)) } }

    static func += (left: inout Distribution, right: Distribution) {
        for (bucket, count) in right.counts.enumerated() where count > 0 { left.add(count, to: bucket) }
    }

    /// In seconds: the duration that `part` of the observations do not exceed, between the bounds of its bucket by how far
    /// into it that lies. Nil without observations.
    func quantile(_ part: Double) -> Double? {
        guard total > 0 else { return nil }
        let rank = max(part * Double(total), 1)
        var below = 0
        for (bucket, count) in counts.enumerated() where count > 0 {
            if Double(below + count) >= rank {
                let low = bucket == 0 ? 0 : FineHistogram.lowerBound(bucket)
                let high = FineHistogram.lowerBound(bucket + 1)
                return low + (high - low) * (rank - Double(below)) / Double(count)
            }
            below += count
        }
        return nil
    }
}
