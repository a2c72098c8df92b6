// Statistics as one HTML page without script or outside asset. Everything shown is escaped, whoever chose it.

public enum StatsPage {
    public static let contentType = "text/html; charset=utf-8"

    /// Nothing may be loaded or framed but the page's own style.
    public static let securityPolicy =
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

    public static func html(_ statistics: Statistics) -> String {
        let uptime = duration(statistics.now - statistics.process.startedAt)
        let open = statistics.listeners.reduce(0) { $0 + $1.open }
        var text = """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <meta http-equiv="refresh" content="5"><title>ballast</title><style>\(style)</style></head><body>
            <h1>ballast \(escaped(statistics.build.version))</h1>
            <p>up \(uptime) · \(statistics.isReady ? "ready" : "not ready") · \(open) client connections · \
            <a href="/metrics">metrics</a></p>

            """
        for backend in statistics.backends { text += section(backend) }
        text += totals(statistics)
        return text + "</body></html>\n"
    }

    private static func section(_ backend: Statistics.Backend) -> String {
        let up = backend.servers.count { $0.state == "up" }
        let counts = backend.requests.counts
        var line = "\(escaped(backend.policy)) · \(up) of \(backend.servers.count) up · "
        line +=
            backend.waiting == 0
            ? "nobody waits"
            : "waiting \(backend.waiting) (longest \(duration(backend.longestWait / .seconds(1))), limit \(backend.queueLimit))"
        line +=
            " · \(counts[.requests]) requests · \(counts.failures) failed · \(counts.retries) retried"
            + " · \(counts.clientsLeft) clients left"
        var text = """
            <h2>\(escaped(backend.name))</h2><p>\(line)</p>
            <table><thead><tr><th scope="col">server<th scope="col">address<th scope="col">state<th scope="col">in flight\
            <th scope="col">limit<th scope="col">weight<th scope="col">2xx<th scope="col">3xx<th scope="col">4xx\
            <th scope="col">5xx<th scope="col">errors<th scope="col">last check</tr></thead><tbody>

            """
        for server in backend.servers { text += row(server) }
        return text + "</tbody></table>\n"
    }

    /// A state by shape, word and colour.
    private static func mark(_ state: String) -> String {
        switch state {
        case "up": "●"
        case "down": "✕"
        case "disabled": "○"
        case _: "◐"
        }
    }

    private static func row(_ server: Statistics.Server) -> String {
        let limit = server.limit.map { $0 == server.maxconn ? "\($0)" : "\($0) of \(server.maxconn)" } ?? "none"
        let counts = server.counts
        let cells = [
            escaped(server.name) + (server.isBackup ? " (backup)" : ""), escaped(server.address),
            "<span class=\"\(server.state)\">\(mark(server.state)) \(server.state)</span>", "\(server.inflight)", limit,
            "\(server.weight)", "\(counts[.responses2xx])", "\(counts[.responses3xx])", "\(counts[.responses4xx])",
            "\(counts[.responses5xx])", "\(counts[.failures])", escaped(server.lastCheck),
        ]
        return "<tr><th scope=\"row\">" + cells.joined(separator: "<td>") + "</tr>\n"
    }

    private static func totals(_ statistics: Statistics) -> String {
        let counts = statistics.unrouted.counts
        guard counts[.requests] > 0 else { return "" }
        return "<h2>no backend</h2><p>\(counts[.requests]) requests · \(counts[.failedBadRequest]) malformed · "
            + "\(counts[.failedNoRoute]) without a route · \(counts[.failedHeadTimeout]) too slow</p>\n"
    }

    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f: result += "\u{fffd}"
            case _: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func duration(_ seconds: Double) -> String {
        let whole = Int(max(0, seconds))
        if whole < 60 { return "\(whole)s" }
        if whole < 3600 { return "\(whole / 60)m \(whole % 60)s" }
        if whole < 86_400 { return "\(whole / 3600)h \(whole / 60 % 60)m" }
        return "\(whole / 86_400)d \(whole / 3600 % 24)h"
    }

    private static let style = """
        :root{color-scheme:light dark}
        body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;max-width:80rem}
        h1{font-size:1.3rem}h2{font-size:1.1rem;margin:2rem 0 0}p{margin:.2rem 0 .6rem;opacity:.8}
        table{border-collapse:collapse;width:100%;display:block;overflow-x:auto;font-variant-numeric:tabular-nums}
        th,td{text-align:right;padding:.3rem .7rem;border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent);white-space:nowrap}
        thead th{font-weight:600;opacity:.7}
        th:first-child,td:nth-child(2),th:nth-child(2),td:nth-child(3),th:nth-child(3),td:last-child,th:last-child{text-align:left}
        .up{color:light-dark(#137333,#81c995)}.down,.ejected{color:light-dark(#b3261e,#f28b82)}
        .busy,.starting,.draining{color:light-dark(#8a5300,#fdd663)}.disabled{opacity:.6}
        """
}
