import Testing

// What is told, and that nothing told can be mistaken for something else.
@testable import Metrics

private func statistics() -> Statistics {
    let metrics = ServerMetrics()
    metrics.counters.add(.responses2xx, 3)
    metrics.firstByte.observe(.milliseconds(20))
    let requests = RequestMetrics()
    requests.counters.add(.requests, 2)
    requests.duration.observe(.milliseconds(3))
    requests.duration.observe(.seconds(7000))
    var server = Statistics.Server(name: "a\"b\\c\n<i>", address: "10.0.0.1:1", state: "up", metrics: [metrics])
    server.inflight = 2
    server.lastCheck = "200 <b>"
    let backend = Statistics.Backend(
        name: "x", policy: "random", waiting: 4, longestWait: .seconds(61), queueLimit: 9,
        requests: Statistics.Requests([requests]), servers: [server])
    var told = Statistics(
        build: .init(version: "1", swift: "6"), process: .init(), loadedAt: 5, now: 100, isReady: true,
        counts: Snapshot([]), listeners: [.init(name: ":443", isSecure: true, counts: Snapshot([]))],
        unrouted: Statistics.Requests([RequestMetrics()]), backends: [backend])
    told.certificates = [.init(path: "/etc/tls/a.pem", expiry: 1_700_000_000)]
    return told
}

private func exposition(_ told: Statistics, as format: Exposition = .prometheus) -> String {
    String(decoding: PrometheusText.bytes(told, as: format), as: UTF8.self)
}

@Suite struct StatisticsTests {
    @Test func histogramsAddUp() {
        let first = Histogram()
        let second = Histogram()
        first.observe(.milliseconds(1))
        first.observe(.milliseconds(1) + .microseconds(1))
        second.observe(.seconds(600))
        second.observe(.seconds(601))
        let sum = Histogram.Snapshot([first, second])
        #expect(sum.count == 4)
        #expect(sum.counts[0] == 1 && sum.counts[1] == 1 && sum.counts[16] == 1 && sum.counts[17] == 1)
        #expect(abs(sum.seconds - 1201.002001) < 0.001)
    }

    @Test func everyRowHasSamplesFromTheStart() {
        var told = statistics()
        told.hasAutoscalingAliases = true
        let text = exposition(told)
        let all = MetricTable.rows + MetricTable.aliases
        for metric in all {
            #expect(text.contains("# TYPE \(metric.name) \(metric.kind.rawValue)\n\(metric.name)"), "\(metric.name)")
            let line = text.split(separator: "\n").first { $0.hasPrefix("\(metric.name){") } ?? ""
            for label in metric.labels where metric.name != "prediction_latency_p99_seconds" {
                let isThere = line.contains("{\(label)=") || line.contains(",\(label)=") || metric.kind == .histogram
                #expect(isThere, "\(metric.name) \(label)")
            }
        }
        #expect(Set(all.map(\.name)).count == all.count)
        #expect(!exposition(statistics()).contains("request_queue_depth"))
    }

    @Test func labelsAreEscaped() {
        let text = exposition(statistics())
        #expect(text.contains(#"ballast_server_inflight_requests{backend="x",server="a\"b\\c\n<i>"} 2"#))
        #expect(text.contains(#"ballast_request_duration_seconds_bucket{backend="x",le="0.005"} 1"#))
        #expect(text.contains(#"ballast_request_duration_seconds_bucket{backend="x",le="+Inf"} 2"#))
        #expect(text.contains(#"ballast_request_duration_seconds_count{backend="x"} 2"#))
        #expect(text.contains(#"le="600"} 1"#))
        var writer = TextWriter()
        writer.label("é\u{1}")
        #expect(writer.text == "???")
    }

    @Test func thePageEscapesWhatItShows() {
        let page = String(decoding: StatsPage.bytes(statistics(), canAct: true), as: UTF8.self)
        #expect(!page.contains("<i>") && !page.contains("200 <b>"))
        #expect(page.contains("a&quot;b\\c\u{fffd}&lt;i&gt;"))
        #expect(page.contains("waiting 4 (longest 61.0 s, limit 9)"))
        #expect(page.contains("● up"))
        #expect(page.contains("action=\"/api/servers/x/a%22b%5Cc%0A%3Ci%3E/drain\""))
        #expect(!String(decoding: StatsPage.bytes(statistics(), canAct: false), as: UTF8.self).contains("<form"))
    }

    @Test func accessLinesStayLines() {
        var record = AccessRecord()
        record.client = "10.0.0.1"
        record.method = "G\"E\nT"
        record.path = "/\u{1b}\\ \" 200 x"
        record.version = "HTTP/1.1"
        record.backend = "b"
        record.connect = .microseconds(1234)
        record.end = "left:queued"
        let line = record.text
        #expect(
            line == "- 10.0.0.1 \"G\\x22E\\x0aT /\\x1b\\x5c \\x22 200 x HTTP/1.1\" - b/- "
                + "queue=- connect=1.234ms first-byte=- total=0.000ms attempts=0 in=0 out=0 host=- id=- end=left:queued\n"
        )
        record.path = String(repeating: "x", count: 5000)
        #expect(record.text.utf8.count < 1400)
    }

    @Test func lastByteSurvivesItsTicks() {
        let metrics = ServerMetrics()
        metrics.lastByte = .seconds(86_400 * 365)
        #expect(abs((metrics.lastByte - .seconds(86_400 * 365)) / .seconds(1)) < 0.001)
    }
}
