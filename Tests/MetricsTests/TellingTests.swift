// Texts for programs and people stay what they are, whatever stands in them.
import Foundation
import Testing

@testable import Metrics

private let hostile = "<script>\"'&\\\n\r\t\u{0}\u{7f}\u{2028}é\u{1b}[31m=1+1,;]]>"

private func told() -> Statistics {
    let metrics = ServerMetrics()
    metrics.counters.add(.responses5xx, 3)
    metrics.counters.add(.failedReset, 2)
    metrics.firstByte.observe(.milliseconds(20))
    metrics.streamGap.observe(.seconds(7))
    var server = Statistics.Server(name: hostile, address: hostile, state: "down", metrics: [metrics])
    server.lastCheck = hostile
    server.stateAge = 120
    server.limit = 4
    var backend = Statistics.Backend(
        name: hostile, policy: hostile, waiting: 1, longestWait: .milliseconds(1200), queueLimit: 9,
        requests: Statistics.Requests([RequestMetrics()]), servers: [server])
    backend.routes = [hostile]
    var told = Statistics(
        build: .init(version: "1", swift: "6", openssl: "3"), process: .init(), loadedAt: 5, now: 100, isReady: false,
        counts: Snapshot([]), listeners: [.init(name: hostile, isSecure: true, counts: Snapshot([]))],
        unrouted: Statistics.Requests([RequestMetrics()]), backends: [backend])
    told.host = hostile
    told.stamp = "2026-11-21T12:41:07.123Z"
    told.certificates = [.init(path: hostile, expiry: 1_700_000_000)]
    told.events = [
        RecentEvent(at: "2026-11-20T12:41:07.123Z", kind: .state, backend: hostile, server: hostile, text: hostile)
    ]
    return told
}

@Suite struct TellingTests {
    @Test func jsonIsJSON() throws {
        for bytes in [StatsJSON.bytes(told()), StatsJSON.events(told().events)] {
            let object = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
            #expect(object != nil)
            if let backends = object?["backends"] as? [[String: Any]] {
                #expect(backends[0]["name"] as? String == hostile)
                let server = (backends[0]["servers"] as? [[String: Any]])?[0]
                #expect((server?["failures"] as? [String: Int])?["reset"] == 2)
                #expect(server?["state_age_seconds"] as? Double == 120)
            }
        }
    }

    @Test func csvHasItsColumnsInEachLine() {
        let text = String(decoding: StatsCSV.bytes(told()), as: UTF8.self)
        let lines = text.split(separator: "\r\n")
        #expect(lines.count == 3)
        // Commas between quotes are no columns' end.
        let counts = lines.map { line in
            var isQuoted = false
            return line.filter { character in
                if character == "\"" { isQuoted.toggle() }
                return character == "," && !isQuoted
            }.count
        }
        #expect(Set(counts) == [21])
        var writer = TextWriter()
        writer.csv("=cmd|'x'")
        #expect(writer.text == "\"'=cmd|'x'\"")
    }

    @Test func thePageHasNoTagOfAnybodyElses() {
        let page = String(decoding: StatsPage.bytes(told(), canAct: true), as: UTF8.self)
        #expect(page.components(separatedBy: "<script>").count == 2)
        #expect(!page.contains("\u{1b}") && !page.contains("\u{0}"))
        #expect(page.contains("✕ down <small>2m 0s</small>"))
        #expect(page.contains("<time datetime=\"2026-11-20T12:41:07.123Z\">2026-11-20 12:41:07</time>"))
        let title = page.components(separatedBy: "<title>")[1].components(separatedBy: "</title>")[0]
        #expect(title.hasPrefix("✕ 1 down · ballast · &lt;script&gt;"))
    }

    @Test func openMetricsIsWhatItSays() {
        let text = String(decoding: PrometheusText.bytes(told(), as: .openMetrics), as: UTF8.self)
        #expect(text.hasSuffix("\n# EOF\n"))
        #expect(text.contains("# TYPE ballast_requests counter\nballast_requests_total{"))
        #expect(text.contains("le=\"1.0\"") && !text.contains("le=\"1\""))
        #expect(!text.contains("# TYPE ballast_requests_total"))
    }

    @Test func gapsAreToldUpToFiveSeconds() {
        let text = String(decoding: PrometheusText.bytes(told()), as: UTF8.self)
        let lines = text.split(separator: "\n").filter { $0.hasPrefix("ballast_server_stream_gap_seconds_bucket") }
        #expect(lines.count == 12)
        #expect(lines[10].contains("le=\"5\"") && lines[10].hasSuffix(" 0") && lines[11].hasSuffix(" 1"))
    }

    @Test func changesAreThePartsThatChanged() throws {
        let before = StatsPage.fragments(told(), canAct: true)
        var next = told()
        next.backends[0].servers[0].inflight = 3
        let after = StatsPage.fragments(next, canAct: true)
        func parts(_ event: [UInt8]) throws -> [[String]] {
            let text = String(decoding: event, as: UTF8.self)
            #expect(text.hasPrefix("data: {") && text.hasSuffix("}\n\n") && text.dropLast(2).contains("\n") == false)
            let object = try JSONSerialization.jsonObject(with: Data(text.dropFirst(6).utf8)) as? [String: Any]
            return object?["parts"] as? [[String]] ?? []
        }
        #expect(try parts(before.event(since: before)).isEmpty)
        #expect(try parts(after.event(since: before)).map { $0[0] } == ["tiles", "b0s0"])
        #expect(try parts(after.event(since: nil)).count == 8)
        next.backends[0].servers.append(next.backends[0].servers[0])
        // Other rows: the page is loaded anew.
        #expect(try parts(StatsPage.fragments(next, canAct: true).event(since: after)).isEmpty)
    }

    @Test func logLinesHaveTheirForm() throws {
        func line(_ form: LogForm) -> String { EventLog.line(.warning, "a → b \(hostile)", form) { "T" } }
        #expect(line(.text).hasPrefix("T ballast: warning: a → b <script>\"'&\\x5c\\x0a"))
        #expect(line(.journal).hasPrefix("<4>a → b <script>"))
        let object = try JSONSerialization.jsonObject(with: Data(line(.json).utf8)) as? [String: String]
        #expect(object == ["time": "T", "level": "warning", "message": "a → b \(hostile)"])
        for form in [LogForm.text, .journal, .json] { #expect(line(form).split(separator: "\n").count == 1) }
    }

    @Test func accessRecordsAreObjects() throws {
        var record = AccessRecord()
        (record.method, record.path, record.host, record.certificate) = (hostile, hostile, hostile, hostile)
        record.queue = .microseconds(1500)
        record.events = 3
        let object = try JSONSerialization.jsonObject(with: Data(record.json.utf8)) as? [String: Any]
        #expect(object?["path"] as? String == hostile && object?["queue_ms"] as? Double == 1.5)
        #expect(object?["connect_ms"] is NSNull && object?["events"] as? Int == 3)
        #expect(record.json.split(separator: "\n").count == 1 && record.text.split(separator: "\n").count == 1)
        #expect(record.text.contains(" events=3 "))
    }

    @Test func whatHappenedIsBounded() {
        let events = RecentEvents()
        for number in 1...500 { events.note(RecentEvent(at: "", kind: .state, text: "\(number)")) }
        #expect(events.all.count == RecentEvents.limit)
        #expect(events.all[0].number == 500 && events.all[0].text == "500" && events.all.last?.number == 301)
    }

    /// The operator's page of metrics says what the table says.
    @Test func theReferenceIsTheTables() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let file = root.appendingPathComponent("Config/reference/metrics.md")
        if ProcessInfo.processInfo.environment["BALLAST_WRITE_GOLDENS"] == "1" {
            try MetricTable.markdown.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: file, encoding: .utf8) == MetricTable.markdown)
    }
}
