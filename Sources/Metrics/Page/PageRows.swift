// A server's row, and what unfolds below it: how it is, what it does, how it was, and what can be done about it.

extension PageParts {
    /// A state by shape, word and colour.
    private static func mark(_ state: String) -> String {
        switch state {
        case "up": "●"
        case "down", "ejected": "✕"
        case "disabled": "○"
        case _: "◐"
        }
    }

    static func row(
        _ place: Place, _ server: Statistics.Server, _ backend: Statistics.Backend, _ writer: inout TextWriter
    ) {
        writer.raw("<tr id=\"\(place.id)\"><th scope=\"row\"><details><summary>")
        writer.html(server.name)
        if server.isBackup { writer.raw(" <small>backup</small>") }
        if server.hasWeightByHand { writer.raw(" <small>weight \(server.weight) by hand</small>") }
        writer.raw("</summary></details></th>")
        state(server, &writer)
        writer.raw("<td>")
        load(server, backend, &writer)
        let serves = server.state != "down" && server.state != "disabled"
        writer.raw("</td><td class=\"n wide\">")
        if serves { rate(server.recent.requestsPerSecond, &writer) } else { writer.raw("–") }
        firstByte(place, server, serves: serves, &writer)
        writer.raw("</td><td class=\"n wide\">")
        if serves { rate(server.recent.eventsPerSecond, &writer) } else { writer.raw("–") }
        writer.raw(server.recent.errorCount > 0 ? "</td><td class=\"n trouble\">" : "</td><td class=\"n\">")
        writer.number(server.recent.errorCount)
        if server.recent.errorCount > 0 {
            writer.raw(" <small>")
            percent(server.recent.errorShare, &writer)
            writer.raw("</small>")
        }
        writer.raw("</td><td class=\"wide check\">")
        writer.html(server.lastCheck)
        writer.raw("</td><td class=\"wide\">")
        PageGraphs.line(server.recent.load, "requests in flight", width: 90, height: 18, &writer)
        writer.raw("</td><td>")
        if place.canAct, !server.isLeaving, let verb = nextAction(server) { button(verb, place, server, &writer) }
        writer.raw("</td></tr>\n")
    }

    private static func state(_ server: Statistics.Server, _ writer: inout TextWriter) {
        writer.raw("<td class=\"state \(server.state)\">\(mark(server.state)) \(server.state)")
        if let age = server.stateAge, server.state != "up" {
            writer.raw(" <small>")
            duration(age, &writer)
            if server.isOutByHand { writer.raw(" by hand") }
            writer.raw("</small>")
        }
        if server.state == "down" || server.state == "ejected" {
            writer.raw("<small class=\"why\">")
            writer.html(server.lastCheck)
            writer.raw("</small>")
        }
        writer.raw("</td>")
    }

    /// A server that takes several times as long as its neighbours is what is looked for here.
    private static func firstByte(
        _ place: Place, _ server: Statistics.Server, serves: Bool, _ writer: inout TextWriter
    ) {
        let median = serves ? server.recent.firstByteMedian : nil
        let times = median.flatMap { own in place.typicalFirstByte.map { own / max($0, 0.001) } } ?? 1
        writer.raw(times >= 3 ? "</td><td class=\"n busy\">" : "</td><td class=\"n\">")
        pair(median, server.recent.firstByte95, &writer)
        if times >= 3 {
            writer.raw(" <small>")
            writer.number(times, places: 0)
            writer.raw("×</small>")
        }
    }

    /// What is most likely wanted of it.
    private static func nextAction(_ server: Statistics.Server) -> String? {
        switch server.state {
        case _ where server.isOutByHand: "resume"
        case "disabled": "resume"
        // The configuration's weight is 0: only another weight would help.
        case "draining": nil
        case "down": "check"
        case _: "drain"
        }
    }

    private static func load(
        _ server: Statistics.Server, _ backend: Statistics.Backend, _ writer: inout TextWriter
    ) {
        // Without a limit, against the busiest of its backend.
        let whole = server.limit ?? backend.servers.reduce(0) { max($0, $1.inflight) }
        PageGraphs.bar(server.inflight, of: whole, isLimit: server.limit != nil, &writer)
        writer.raw("<span class=\"count\">")
        writer.number(server.inflight)
        if let limit = server.limit { writer.raw("<small>/\(limit)</small>") }
        writer.raw("</span>")
    }

    private static func address(_ place: Place, _ server: Statistics.Server, _ verb: String) -> String {
        "/api/servers/\(encoded(place.backend))/\(encoded(server.name))/\(verb)"
    }

    private static func button(
        _ verb: String, _ place: Place, _ server: Statistics.Server, _ writer: inout TextWriter
    ) {
        writer.raw("<form method=\"post\" action=\"\(address(place, server, verb))\"><button aria-label=\"\(verb) ")
        writer.html(server.name)
        writer.raw("\">\(verb)</button></form>")
    }

    /// As a segment of a path (RFC 3986, 3.3).
    private static func encoded(_ name: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var text: [UInt8] = []
        for byte in name.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e, 0x3a: text.append(byte)
            case _: text += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    // MARK: Details

    static func details(_ place: Place, _ server: Statistics.Server, _ writer: inout TextWriter) {
        let counts = server.counts
        writer.raw(
            "<tr id=\"\(place.id)m\" class=\"more\"><td colspan=\"10\"><div class=\"grid\"><div><h3>server</h3><dl>")
        writer.raw("<dt>address</dt><dd>")
        writer.html(server.address)
        writer.raw(
            "</dd><dt>weight</dt><dd>\(server.weight)\(server.hasWeightByHand ? " (by hand)" : "")</dd><dt>limit</dt><dd>"
        )
        if let limit = server.limit, limit != server.maxconn {
            writer.raw("\(limit) of \(server.maxconn), slow start")
        } else {
            writer.raw(server.limit.map { "\($0)" } ?? "none")
        }
        writer.raw("</dd><dt>last check</dt><dd>")
        writer.html(server.lastCheck.isEmpty ? "none" : server.lastCheck)
        writer.raw("</dd></dl></div>")
        list("responses", ServerCounter.classes.map { ($0.code, counts[$0.counter]) }, &writer)
        list("failed attempts", Snapshot<ServerCounter>.failureReasons.map { ($0.reason, counts[$0.counter]) }, &writer)
        let handshakes = counts[.secured]
        writer.raw("<div><h3>connections</h3><dl><dt>active</dt><dd>\(server.activeConnections)</dd>")
        writer.raw(
            "<dt>idle</dt><dd>\(server.idleConnections)</dd><dt>opened</dt><dd>\(counts[.connectionsOpened])</dd>")
        writer.raw("<dt>found dead</dt><dd>\(counts[.staleConnections])</dd>")
        if handshakes > 0 { writer.raw("<dt>handshakes</dt><dd>\(handshakes), \(counts[.resumed]) resumed</dd>") }
        writer.raw("</dl></div>")
        list(
            "counted",
            [
                ("events", counts[.streamEvents]), ("KiB out", counts[.sentBytes] >> 10),
                ("KiB in", counts[.receivedBytes] >> 10),
                ("attempts retried", counts[.retried]), ("checks passed", counts[.checksPassed]),
                ("checks failed", counts[.checksFailed]),
            ], &writer)
        PageGraphs.histogram("first byte", server.firstByte, &writer)
        if place.canAct, !server.isLeaving { actions(place, server, &writer) }
        writer.raw("</div></td></tr>\n")
    }

    private static func actions(_ place: Place, _ server: Statistics.Server, _ writer: inout TextWriter) {
        writer.raw("<div class=\"actions\"><h3>actions</h3>")
        for verb in ["drain", "disable", "resume", "check"] { button(verb, place, server, &writer) }
        writer.raw("<form method=\"post\" action=\"\(address(place, server, "weight"))\"><label>weight ")
        writer.raw(
            "<input name=\"weight\" type=\"number\" min=\"0\" max=\"256\" required value=\"\(server.weight)\"></label>")
        writer.raw("<button aria-label=\"set the weight of ")
        writer.html(server.name)
        writer.raw("\">set</button></form></div>")
    }
}
