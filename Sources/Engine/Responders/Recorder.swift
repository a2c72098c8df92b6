// Looks at everything that is counted once a second, and keeps the last five minutes of it: for rates, quantiles and the
// page's little graphs. It never runs on a loop.
import Balancing
import EventLoop
import Metrics
import Synchronization

/// The track of one thing, from the first look on. What several things did adds up by what each has done since the last
/// interval: servers and backends come and go, and their sums with them.
final class Recording: Sendable {
    private struct State {
        var track: Track?
        /// What was counted when the last interval was over.
        var last = Totals()
    }

    private let state = Mutex(State())

    func look(load: Int, waiting: Int = 0) { state.withLock { $0.track?.look(load: load, waiting: waiting) } }

    /// An interval is over; the first begins with the first of them.
    func close(now: Double, _ activity: Activity) {
        state.withLock { state in
            if state.track == nil { state.track = Track(now: now) } else { state.track?.close(now: now, activity) }
        }
    }

    /// What has happened since the last interval was over.
    func activity(_ totals: Totals) -> Activity { state.withLock { totals.since($0.last) } }

    /// The same, and an interval is over.
    func take(_ totals: Totals) -> Activity {
        state.withLock { state in
            guard state.track != nil else { return Activity() }
            defer { state.last = totals }
            return totals.since(state.last)
        }
    }

    func recent(now: Double, _ activity: Activity) -> Recent {
        state.withLock { $0.track?.recent(now: now, activity) } ?? Recent()
    }
}

extension Shared {
    /// To be called once a second, from any thread.
    public func record() {
        side.run { [self] in
            let isEnd = looks.withLock { looks -> Bool in
                defer { looks += 1 }
                return looks % Track.interval == 0
            }
            record(closing: isEnd, now: Machine.monotonicTime / .seconds(1))
        }
    }

    /// - Parameters:
    ///   - isEnd: an interval is over.
    ///   - now: seconds of the loop's clock.
    func record(closing isEnd: Bool, now: Double) {
        var load = 0
        var waiting = 0
        var whole = Activity()
        for backend in inUse {
            let report = backend.backend.report
            var sum = 0
            var activity = Activity()
            for server in report.servers {
                sum += server.inflight
                guard let shared = backend.server(server.number) else { continue }
                shared.recording.look(load: server.inflight)
                guard isEnd else { continue }
                let own = shared.recording.take(shared.totals)
                shared.recording.close(now: now, own)
                activity.events += own.events
            }
            backend.recording.look(load: sum, waiting: report.waiting)
            load += sum
            waiting += report.waiting
            guard isEnd else { continue }
            activity += backend.recording.take(backend.totals)
            backend.recording.close(now: now, activity)
            whole += activity
        }
        recording.look(load: load, waiting: waiting)
        guard isEnd else { return }
        whole += recording.take(unroutedTotals)
        recording.close(now: now, whole)
    }

    /// Of what came to no backend.
    var unroutedTotals: Totals { Totals(metrics.map(\.unrouted)) }
}

extension SharedServer {
    var totals: Totals {
        let counts = Snapshot(metrics.map(\.counters))
        var totals = Totals()
        totals.requests = counts.attempts
        totals.errors = counts[.responses5xx] + counts.failures
        totals.events = counts[.streamEvents]
        totals.firstByte = FineHistogram.Snapshot(metrics.map(\.fineFirstByte))
        totals.latency = FineHistogram.Snapshot(metrics.map(\.latency))
        return totals
    }
}

extension SharedBackend {
    /// Without events, which its servers count.
    var totals: Totals { Totals(metrics) }
}

extension Totals {
    fileprivate init(_ metrics: [RequestMetrics]) {
        let counts = Snapshot(metrics.map(\.counters))
        self.init()
        requests = counts.responses
        errors = counts[.responses5xx] + counts[.truncated]
        firstByte = FineHistogram.Snapshot(metrics.map(\.fineFirstByte))
        latency = FineHistogram.Snapshot(metrics.map(\.latency))
    }
}
