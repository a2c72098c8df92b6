// Quantiles and rates of the last minutes: against what was observed, which the test knows one by one.
import Testing

@testable import Metrics

@Suite struct TrackTests {
    /// The duration that `part` of `durations` do not exceed.
    private func exact(_ durations: [Double], _ part: Double) -> Double {
        let sorted = durations.sorted()
        return sorted[min(sorted.count - 1, Int((part * Double(sorted.count)).rounded(.up)) - 1)]
    }

    @Test func quantilesAreNearTheTruth() {
        var generator = Seeded(state: 7)
        for scale in [0.0005, 0.02, 1.5, 200] {
            let fine = [FineHistogram(), FineHistogram()]
            var durations: [Double] = []
            for index in 0..<4000 {
                let duration = scale * (0.5 + generator.unit() * 3)
                durations.append(duration)
                fine[index % 2].observe(.seconds(duration))
            }
            let distribution = FineHistogram.Snapshot(fine).since(FineHistogram.Snapshot())
            for part in [0.01, 0.5, 0.95, 0.99, 1] {
                let found = distribution.quantile(part) ?? 0
                #expect(abs(found - exact(durations, part)) <= exact(durations, part) * 0.0626, "\(scale) \(part)")
            }
        }
    }

    @Test func extremesHaveAPlace() {
        let fine = FineHistogram()
        for duration in [Duration.zero, .nanoseconds(1), .seconds(-1), .seconds(1_000_000), .seconds(1_000_000_000)] {
            fine.observe(duration)
        }
        let snapshot = FineHistogram.Snapshot([fine])
        #expect(snapshot.total == 5)
        #expect(snapshot.counts[0] == 3 && snapshot.counts[FineHistogram.bucketCount - 1] == 2)
        #expect(Distribution().quantile(0.5) == nil)
    }

    @Test func aQuantileSlides() {
        let fine = FineHistogram()
        var last = Totals()
        func activity(isEnd: Bool = false) -> Activity {
            var totals = Totals()
            totals.latency = FineHistogram.Snapshot([fine])
            defer { if isEnd { last = totals } }
            return totals.since(last)
        }
        var track = Track(now: 0)
        for _ in 0..<100 { fine.observe(.seconds(8)) }
        var now = 0.0
        func step() {
            now += 5
            track.close(now: now, activity(isEnd: true))
        }
        step()
        for _ in 0..<100 { fine.observe(.milliseconds(10)) }
        #expect(abs((track.recent(now: now, activity()).latency99 ?? 0) - 8) < 0.3)
        for _ in 0..<11 { step() }
        #expect(abs((track.recent(now: now, activity()).latency99 ?? 0) - 8) < 0.3)
        step()
        // A minute after: those that were slow are gone, those after them are not.
        #expect(abs((track.recent(now: now, activity()).latency99 ?? 0) - 0.01) < 0.001)
        step()
        #expect(track.recent(now: now, activity()).latency99 == nil)
    }

    @Test func ratesAndSharesAreOfTheirTime() {
        var track = Track(now: 100)
        var activity = Activity()
        for index in 1...200 {
            track.look(load: index % 2 == 0 ? 4 : 2, waiting: 1)
            track.look(load: 3)
            (activity.requests, activity.errors, activity.events) = (50, index > 150 ? 5 : 0, 500)
            track.close(now: 100 + Double(index) * 5, activity)
        }
        let recent = track.recent(now: 100 + 1000, Activity())
        #expect(recent.load.count == 60 && recent.errors.count == 60)
        #expect(recent.load.suffix(2) == [2.5, 3.5] && recent.waiting.last == 0.5)
        #expect(abs(recent.requestsPerSecond - 10) < 0.01 && abs(recent.eventsPerSecond - 100) < 0.01)
        #expect(recent.requestCount == 3000 && recent.errorCount == 250)
        #expect(recent.errors.first == .some(0) && recent.errors.last == .some(0.1))
        #expect(recent.firstByte.allSatisfy { $0 == nil } && recent.firstByteMedian == nil)
    }

    @Test func whatIsNewIsShownAtOnce() {
        let track = Track(now: 0)
        var activity = Activity()
        activity.requests = 6
        let recent = track.recent(now: 2, activity)
        #expect(recent.requestCount == 6 && recent.requestsPerSecond == 3 && recent.load.isEmpty)
    }

    /// What sums of things that come and go could not say: nothing is taken back.
    @Test func activityOfManyAddsUp() {
        let fine = FineHistogram()
        fine.observe(.milliseconds(10))
        var totals = Totals()
        totals.requests = 3
        totals.latency = FineHistogram.Snapshot([fine])
        var whole = totals.since(Totals())
        whole += totals.since(totals)
        whole += Activity()
        #expect(whole.requests == 3)
        #expect(abs((whole.latency.quantile(1) ?? 0) - 0.01) < 0.001)
    }
}

/// Numbers by a seed (Marsaglia's xorshift).
private struct Seeded {
    var state: UInt64

    mutating func unit() -> Double {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Double(state >> 11) / Double(1 << 53)
    }
}
