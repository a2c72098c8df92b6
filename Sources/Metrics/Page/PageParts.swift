// The page's parts around the servers' rows: what is asked first stands first. Words and numbers; graphs are made elsewhere.

enum PageParts {
    /// Where a row stands.
    struct Place {
        let id: String
        let backend: String
        let canAct: Bool
        /// The median of its backend's servers' medians; nil where there are fewer than three.
        let typicalFirstByte: Double?
    }

    /// What is usual in a backend.
    static func typicalFirstByte(_ backend: Statistics.Backend) -> Double? {
        let medians = backend.servers.compactMap(\.recent.firstByteMedian).sorted()
        return medians.count > 2 ? medians[(medians.count - 1) / 2] : nil
    }

    /// Servers that serve nobody although they should; whoever took one out knows it.
    static func troubled(_ statistics: Statistics) -> Int {
        statistics.backends.reduce(0) {
            $0 + $1.servers.count { !$0.isOutByHand && ($0.state == "down" || $0.state == "ejected") }
        }
    }

    private static func serving(_ statistics: Statistics) -> (up: Int, all: Int) {
        statistics.backends.reduce((0, 0)) { ($0.0 + $1.servers.count { $0.state == "up" }, $0.1 + $1.servers.count) }
    }

    /// What a tab among many has to say: the worst first.
    static func title(_ statistics: Statistics, _ writer: inout TextWriter) {
        let down = troubled(statistics)
        let (up, servers) = serving(statistics)
        let waiting = statistics.backends.reduce(0) { $0 + $1.waiting }
        if down > 0 {
            writer.raw("✕ \(down) down")
        } else if let share = statistics.recent.errorShare, share > 0.01 {
            writer.raw("✕ ")
            percent(share, &writer)
            writer.raw(" errors")
        } else if !statistics.wasLastLoadAccepted {
            writer.raw("✕ config refused")
        } else if waiting > 0 {
            writer.raw("◐ \(waiting) waiting")
        } else {
            writer.raw(up == servers ? "● up" : "◐ \(up) of \(servers) up")
        }
        writer.raw(" · ballast")
        if !statistics.host.isEmpty {
            writer.raw(" · ")
            writer.html(statistics.host)
        }
    }

    static func status(_ statistics: Statistics, _ writer: inout TextWriter) {
        let (up, servers) = serving(statistics)
        let down = troubled(statistics)
        writer.raw("<header id=\"status\" data-title=\"")
        title(statistics, &writer)
        writer.raw("\"><h1>ballast <small>")
        writer.html(statistics.build.version)
        writer.raw("</small></h1><p class=\"facts\">")
        if down > 0 {
            writer.raw("<strong class=\"state down\">✕ \(down) of \(servers) servers down</strong>")
        } else {
            writer.raw(
                "<strong class=\"state \(up == servers ? "up\">●" : "busy\">◐") \(up) of \(servers) servers up</strong>"
            )
        }
        if !statistics.host.isEmpty {
            writer.raw("<span>")
            writer.html(statistics.host)
            writer.raw("</span>")
        }
        writer.raw("<span>up ")
        duration(statistics.now - statistics.process.startedAt, &writer)
        writer.raw("</span>")
        if statistics.wasLastLoadAccepted {
            writer.raw("<span>config ok, loaded ")
        } else {
            writer.raw("<strong class=\"state down\">✕ the last config was refused</strong><span>running since ")
        }
        time(statistics.loadedStamp, now: statistics.stamp, &writer)
        writer.raw("</span>")
        if !statistics.isReady { writer.raw("<strong class=\"state busy\">◐ not ready</strong>") }
        writer.raw("</p><p id=\"live\" class=\"live\"></p></header>\n")
    }

    // MARK: Tiles

    static func tiles(_ statistics: Statistics, _ writer: inout TextWriter) {
        let recent = statistics.recent
        writer.raw("<section id=\"tiles\" class=\"tiles\" aria-label=\"at a glance\">")
        let load = statistics.backends.reduce(0) { $0 + $1.servers.reduce(0) { $0 + $1.inflight } }
        // What cannot serve is no room.
        let limits = statistics.backends.flatMap(\.servers).filter { $0.state == "up" }.map(\.limit)
        tile("in flight", recent.load, "requests in flight", &writer) {
            $0.number(load)
            if !limits.isEmpty, limits.allSatisfy({ $0 != nil }) {
                $0.raw("<small> / \(limits.reduce(0) { $0 + ($1 ?? 0) })</small>")
            }
        }
        let waiting = statistics.backends.reduce(0) { $0 + $1.waiting }
        tile("waiting", recent.waiting, "requests waiting", mark: waiting > 0 ? "busy" : "", &writer) {
            $0.number(waiting)
        }
        tile("first byte p95", recent.firstByte, "first byte with the wait in line, 95th percentile", &writer) {
            seconds(recent.firstByte95, &$0)
        }
        let share = recent.errorShare
        tile("errors 5m", recent.errors, "errors by requests", mark: share ?? 0 > 0.01 ? "trouble" : "", &writer) {
            percent(share, &$0)
            if recent.errorCount > 0 { $0.raw("<small> \(recent.errorCount)</small>") }
        }
        tile("stream", recent.events, "events a second", &writer) {
            rate(recent.eventsPerSecond, &$0)
            $0.raw("<small> ev/s</small>")
        }
        writer.raw("</section>\n")
    }

    private static func tile(
        _ title: String, _ values: [Float?], _ what: String, mark: String = "", _ writer: inout TextWriter,
        _ value: (inout TextWriter) -> Void
    ) {
        writer.raw("<div class=\"tile \(mark)\"><h2>")
        writer.raw("\(title)</h2><p>")
        value(&writer)
        writer.raw("</p>")
        PageGraphs.line(values, what, width: 150, height: 28, &writer)
        writer.raw("</div>")
    }

    // MARK: Backends

    static func heading(_ index: Int, _ backend: Statistics.Backend, _ writer: inout TextWriter) {
        writer.raw("<div class=\"about\" id=\"b\(index)\"><h2 id=\"b\(index)n\">")
        writer.html(backend.name)
        writer.raw("</h2><p class=\"facts\">")
        if !backend.routes.isEmpty {
            writer.raw("<span>")
            writer.html(backend.routes.prefix(6).joined(separator: " "))
            if backend.routes.count > 6 { writer.raw(" and \(backend.routes.count - 6) more") }
            writer.raw("</span>")
        }
        writer.raw("<span>")
        writer.html(backend.policy)
        writer.raw("</span>")
        let up = backend.servers.count { $0.state == "up" }
        writer.raw(up == 0 ? "<strong class=\"state down\">✕ " : "<span>")
        writer.raw("\(up) of \(backend.servers.count) up")
        writer.raw(up == 0 ? "</strong>" : "</span>")
        if backend.waiting > 0 {
            writer.raw("<strong class=\"state busy\">waiting \(backend.waiting) (longest ")
            seconds(backend.longestWait / .seconds(1), &writer)
            writer.raw(", limit \(backend.queueLimit))</strong>")
        } else {
            writer.raw("<span>nobody waits</span>")
        }
        writer.raw("<span>")
        rate(backend.recent.requestsPerSecond, &writer)
        writer.raw(" req/s</span></p></div>")
    }

    static func tableHead(_ index: Int, canAct: Bool, _ writer: inout TextWriter) {
        writer.raw(
            "<div class=\"scroll\"><table aria-labelledby=\"b\(index)n\"\(canAct ? "" : " class=\"shows\"")><thead><tr>"
        )
        let columns = [
            ("server", ""), ("state", ""), ("in flight", ""), ("req/s", "n wide"),
            (
                "first byte <abbr title=\"from the server, median and 95th percentile of the last minute\">p50 / p95</abbr>",
                "n"
            ),
            ("ev/s", "n wide"), ("<abbr title=\"5xx and failed attempts of five minutes\">errors 5m</abbr>", "n"),
            ("last check", "wide"), ("<abbr title=\"requests in flight\">last 5 min</abbr>", "wide"), ("action", ""),
        ]
        for (title, style) in columns {
            writer.raw(
                style.isEmpty ? "<th scope=\"col\">\(title)</th>" : "<th scope=\"col\" class=\"\(style)\">\(title)</th>"
            )
        }
        writer.raw("</tr></thead><tbody>\n")
    }

    /// What is counted of the backend as a whole.
    static func more(_ index: Int, _ backend: Statistics.Backend, _ writer: inout TextWriter) {
        let counts = backend.requests.counts
        writer.raw("<details class=\"whole\" id=\"b\(index)x\"><summary>requests of ")
        writer.html(backend.name)
        writer.raw(": \(counts[.requests])")
        if counts[.responses5xx] > 0 { writer.raw(", \(counts[.responses5xx]) answered with 5xx") }
        if counts.failures > 0 { writer.raw(", \(counts.failures) failed by ballast") }
        if counts.retries > 0 { writer.raw(", \(counts.retries) retried") }
        if counts.clientsLeft > 0 { writer.raw(", \(counts.clientsLeft) clients left") }
        writer.raw("</summary><div class=\"grid\">")
        list("answered", RequestCounter.classes.map { ($0.code, counts[$0.counter]) }, &writer)
        list(
            "errors by reason", Snapshot<RequestCounter>.failureReasons.map { ($0.reason, counts[$0.counter]) }, &writer
        )
        list("retries after", Snapshot<RequestCounter>.retryReasons.map { ($0.reason, counts[$0.counter]) }, &writer)
        list("clients left while", Snapshot<RequestCounter>.phases.map { ($0.phase, counts[$0.counter]) }, &writer)
        PageGraphs.histogram("first byte, with the wait", backend.requests.firstByte, &writer)
        PageGraphs.histogram("duration", backend.requests.duration, &writer)
        PageGraphs.histogram("wait in line", backend.requests.queue, &writer)
        writer.raw("</div></details>")
    }

    /// Only what there is any of.
    static func list(_ title: String, _ items: [(String, Int)], _ writer: inout TextWriter) {
        writer.raw("<div><h3>\(title)</h3><dl>")
        let told = items.filter { $0.1 > 0 }
        for (name, count) in told { writer.raw("<dt>\(name)</dt><dd>\(count)</dd>") }
        if told.isEmpty { writer.raw("<dt>none</dt><dd></dd>") }
        writer.raw("</dl></div>")
    }

    // MARK: Below the backends

    static func recent(_ statistics: Statistics, _ writer: inout TextWriter) {
        writer.raw("<section id=\"recent\"><h2>recent</h2>")
        if statistics.events.isEmpty { writer.raw("<p>nothing has happened yet</p>") }
        writer.raw("<ol>")
        for event in statistics.events {
            writer.raw(event.isTrouble ? "<li class=\"trouble\">" : "<li>")
            time(event.stamp, now: statistics.stamp, &writer)
            writer.raw(" ")
            if !event.server.isEmpty || !event.backend.isEmpty {
                writer.raw("<b>")
                writer.html(event.server.isEmpty ? event.backend : "\(event.backend)/\(event.server)")
                writer.raw("</b> ")
            }
            writer.html(event.text)
            writer.raw("</li>")
        }
        writer.raw("</ol></section>\n")
    }

    static func about(_ statistics: Statistics, canAct: Bool, _ writer: inout TextWriter) {
        writer.raw("<footer id=\"about\"><p class=\"facts\">")
        for listener in statistics.listeners {
            writer.raw("<span>")
            writer.html(listener.name)
            writer.raw("\(listener.isSecure ? " (TLS)" : ""): \(listener.open) open</span>")
        }
        for certificate in statistics.certificates {
            let days = Int((Double(certificate.expiry) - statistics.now) / 86_400)
            writer.raw(days < 14 ? "<strong class=\"state busy\">◐ " : "<span>")
            writer.html(certificate.path)
            writer.raw(days < 0 ? " has ended" : " ends in \(days) days")
            writer.raw(days < 14 ? "</strong>" : "</span>")
        }
        let unrouted = statistics.unrouted.counts
        if unrouted[.requests] > 0 {
            writer.raw("<span>\(unrouted[.requests]) requests without a backend</span>")
        }
        if statistics.droppedLogLines > 0 {
            writer.raw("<strong class=\"state busy\">◐ \(statistics.droppedLogLines) log lines lost</strong>")
        }
        let process = statistics.process
        writer.raw("<span>\(process.openDescriptors) of \(process.maximumDescriptors) descriptors</span><span>")
        writer.number(Double(process.residentBytes) / 1_048_576, places: 1)
        writer.raw(" MiB</span></p><p class=\"facts\"><a href=\"/metrics\">metrics</a><a href=\"/api/stats\">JSON</a>")
        writer.raw(
            "<a href=\"/api/stats.csv\">CSV</a><a href=\"/api/config\">config</a><a href=\"/api/events\">events</a>")
        writer.raw("<span>times are UTC</span>")
        if !canAct { writer.raw("<span>with auth in [stats], servers can be drained from here</span>") }
        writer.raw("</p></footer>")
    }
}

// MARK: Values

extension PageParts {
    /// `84 ms`, `1.24 s`, or a dash.
    static func seconds(_ value: Double?, _ writer: inout TextWriter) {
        guard let value else { return writer.raw("–") }
        switch value {
        case ..<0.001: writer.raw("&lt;1 ms")
        case ..<0.9995:
            writer.number(Int((value * 1000).rounded()))
            writer.raw(" ms")
        case ..<10:
            writer.number(value, places: 2)
            writer.raw(" s")
        case ..<100:
            writer.number(value, places: 1)
            writer.raw(" s")
        case _: duration(value, &writer)
        }
    }

    /// Two of them with their unit said once, where it is the same.
    static func pair(_ first: Double?, _ second: Double?, _ writer: inout TextWriter) {
        guard let first, let second else { return writer.raw("–") }
        if second < 0.001 { return seconds(second, &writer) }
        // Where there is no room for both, the larger one stays.
        writer.raw("<span class=\"p50\">")
        if first >= 0.001, second < 0.9995 {
            writer.number(Int((first * 1000).rounded()))
        } else if first >= 0.9995, second < 10 {
            writer.number(first, places: 2)
        } else {
            seconds(first, &writer)
        }
        writer.raw(" / </span>")
        seconds(second, &writer)
    }

    static func percent(_ share: Double?, _ writer: inout TextWriter) {
        guard let share else { return writer.raw("–") }
        if share == 0 { return writer.raw("0 %") }
        writer.number(min(share, 1) * 100, places: share < 0.1 ? (share < 0.001 ? 2 : 1) : 0)
        writer.raw(" %")
    }

    /// So many digits as say something.
    static func rate(_ value: Double, _ writer: inout TextWriter) {
        writer.number(value, places: value < 10 ? 1 : 0)
    }

    static func duration(_ seconds: Double, _ writer: inout TextWriter) {
        let whole = Int(max(0, min(seconds, 1e12)))
        switch whole {
        case ..<60: writer.raw("\(whole)s")
        case ..<3600: writer.raw("\(whole / 60)m \(whole % 60)s")
        case ..<86_400: writer.raw("\(whole / 3600)h \(whole / 60 % 60)m")
        case _: writer.raw("\(whole / 86_400)d \(whole / 3600 % 24)h")
        }
    }

    /// Of `2026-11-21T12:41:07.123Z` the `12:41:07`, and before it the day where it is not today's.
    static func time(_ stamp: String, now: String, _ writer: inout TextWriter) {
        writer.raw("<time datetime=\"")
        writer.html(stamp)
        writer.raw("\">")
        if stamp.prefix(10) != now.prefix(10) { writer.html("\(stamp.prefix(10)) ") }
        writer.html("\(stamp.dropFirst(11).prefix(8))")
        writer.raw("</time>")
    }
}
