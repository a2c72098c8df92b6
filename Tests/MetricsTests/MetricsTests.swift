// Counting and log lines.
import Metrics
import Testing

@Suite struct MetricsTests {
    @Test func snapshotsAddWorkersUp() {
        let first = Counters<RequestCounter>()
        let second = Counters<RequestCounter>()
        first.add(.requests)
        second.add(.requests, 4)
        second.add(.failedReset)
        second.add(.clientLeftWaiting)
        let snapshot = Snapshot([first, second])
        #expect(snapshot[.requests] == 5)
        #expect(snapshot.failures == 1)
        #expect(snapshot.clientsLeft == 1)
        #expect(snapshot.summary(connections: 2).hasPrefix("5 requests on 2"))
    }

    @Test func statusesCountByClass() {
        for (status, counter) in [
            (101, RequestCounter.responses1xx), (204, .responses2xx), (304, .responses3xx), (431, .responses4xx),
            (599, .responses5xx),
        ] {
            #expect(RequestCounter.responses(status: status) == counter)
        }
    }

    @Test func logLinesStayLines() {
        #expect(EventLog.escaped("plain text") == "plain text")
        #expect(EventLog.escaped("a\nb\u{1b}[31m\\é") == "a\\x0ab\\x1b[31m\\x5c\\xc3\\xa9")
    }
}
