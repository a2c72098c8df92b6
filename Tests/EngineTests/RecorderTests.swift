// What is kept of the last minutes, while servers and backends come and go.
import Addresses
import Balancing
import Configuration
import Metrics
import Testing

@testable import Engine

@Suite struct RecorderTests {
    private let shared = Shared(workerCount: 1, log: EventLog(level: .error) { _ in })

    private func adopt(_ names: [String]) {
        var settings = Settings()
        settings.backends = names.isEmpty ? [BackendSettings(name: "other")] : [BackendSettings(name: "chat")]
        let servers = names.enumerated().map {
            Server(name: $1, endpoint: Endpoint(.loopback, port: UInt16(8000 + $0)))
        }
        shared.adopt(shared.propose(settings, servers: [servers]), now: .zero) { _ in }
    }

    /// A request that each of `names` has answered after so long.
    private func serve(_ names: [String], after duration: Duration) throws {
        let backend = try #require(shared.backend("chat"))
        for report in backend.backend.report.servers where names.contains(report.server.name) {
            let server = try #require(backend.server(report.number))
            server.metrics[0].counters.add(.responses2xx)
            server.metrics[0].counters.add(.streamEvents, 30)
            server.metrics[0].noteFirstByte(after: duration)
            backend.metrics[0].counters.add(.requests)
            backend.metrics[0].counters.add(.responses2xx)
            backend.metrics[0].noteFirstByte(after: duration)
        }
    }

    private func told(at seconds: Double) -> Statistics { shared.statistics(now: .seconds(seconds)) }

    @Test func whoGoesTakesNothingBack() throws {
        adopt(["a", "b"])
        shared.record(closing: true, now: 0)
        try serve(["a", "b"], after: .milliseconds(20))
        shared.record(closing: true, now: 5)
        #expect(abs(told(at: 5).recent.eventsPerSecond - 12) < 0.01)
        // A server goes, and another takes its place.
        for names in [["b"], ["b", "c"]] {
            adopt(names)
            let recent = told(at: 6).recent
            #expect(recent.requestCount == 2 && recent.errorCount == 0 && recent.eventsPerSecond == 10)
            #expect(abs((recent.firstByte95 ?? 0) - 0.02) < 0.002)
        }
        shared.record(closing: true, now: 10)
        #expect(told(at: 10).recent.events == [12, 0])
        // The backend goes with all that it had: what it did stays done.
        adopt([])
        shared.record(closing: true, now: 15)
        let recent = told(at: 15).recent
        #expect(recent.events == [12, 0, 0] && recent.requestCount == 2 && recent.requestsPerSecond >= 0)
    }

    @Test func historyOutlivesAReload() throws {
        adopt(["a", "b"])
        for second in 0...12 {
            try serve(["a"], after: .milliseconds(20))
            shared.record(closing: second % 5 == 0, now: Double(second))
        }
        let before = told(at: 12).backends[0].servers[0].recent
        #expect(before.load.count == 2 && before.requestCount == 13)
        adopt(["a"])
        let after = told(at: 12).backends[0].servers[0].recent
        #expect(after.load.count == 2 && after.requestCount == 13 && after.firstByteMedian == before.firstByteMedian)
    }
}
