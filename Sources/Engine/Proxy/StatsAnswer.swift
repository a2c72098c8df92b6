// Answers of ballast's own listener: the page, the metrics, and whether it lives and is ready. GET and HEAD only; it shows,
// and changes nothing.
import EventLoop
import HTTP
import Metrics

/// One answer on its way: as long as it is, it leaves in blocks.
final class StatsAnswer {
    private let bytes: [UInt8]
    private var position = 0
    /// The connection stays.
    let keeps: Bool

    init(_ bytes: [UInt8], keeps: Bool) {
        self.bytes = bytes
        self.keeps = keeps
    }

    var isDone: Bool { position == bytes.count }

    /// Writes as much of the rest as there is room for.
    func fill(_ output: Buffer) {
        let bytes = bytes
        output.append { target in
            let count = min(target.freeCapacity, bytes.count - position)
            target.put(bytes.span.extracting(position..<position + count))
            position += count
        }
    }
}

/// What is served.
private struct OwnContent {
    var status = 200
    var type = "text/plain; charset=utf-8"
    var body: String
}

extension ClientConnection {
    /// Answers the request whose head is parsed and stands at the front of `input`.
    func answerOwn(_ head: borrowing MessageHead, _ input: Buffer) {
        let path = input.withBytes { Self.path(head, $0) }
        let hasBody = BodyFraming(request: head) != .none
        let isHead = head.method == .head
        let keeps = !hasBody && mayPersist && Persistence.isKept(after: head)
        let version = head.version
        var content = OwnContent(status: 405, body: "only GET and HEAD are served here\n")
        if head.method == .get || isHead { content = self.content(path) }
        wire.consume(head.byteCount, worker.loop)
        var text = "HTTP/1.1 \(content.status) \(Replies.reason(content.status))\r\nContent-Type: \(content.type)\r\n"
        text +=
            "Content-Length: \(content.body.utf8.count)\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        text += "Content-Security-Policy: \(StatsPage.securityPolicy)\r\nReferrer-Policy: no-referrer\r\n"
        if content.status == 405 { text += "Allow: GET, HEAD\r\n" }
        if content.status == 503 { text += "Retry-After: 1\r\n" }
        if !keeps {
            text += "Connection: close\r\n"
        } else if version == .http10 {
            text += "Connection: keep-alive\r\n"
        }
        text += "Date: "
        var bytes = Array(text.utf8)
        let date = worker.date
        for index in date.bytes.indices { bytes.append(date.bytes[index]) }
        bytes += Array("\r\n\r\n".utf8)
        if !isHead { bytes += Array(content.body.utf8) }
        answer(StatsAnswer(bytes, keeps: keeps))
    }

    /// The path of the target, cut where it is longer than any that is served.
    private static func path(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> String {
        var path: [UInt8] = []
        for index in head.target.indices where path.count < 64 {
            if bytes[index] == UInt8(ascii: "?") { break }
            path.append(bytes[index])
        }
        return String(decoding: path, as: UTF8.self)
    }

    private func content(_ path: String) -> OwnContent {
        switch path {
        case "/", "/stats", "":
            let page = StatsPage.html(worker.shared.statistics(now: worker.now))
            return OwnContent(type: StatsPage.contentType, body: page)
        case "/metrics":
            let text = PrometheusText.text(worker.shared.statistics(now: worker.now))
            return OwnContent(type: PrometheusText.contentType, body: text)
        case "/healthz": return OwnContent(body: "ok\n")
        case "/readyz":
            let isReady = worker.shared.isReady
            return OwnContent(status: isReady ? 200 : 503, body: isReady ? "ready\n" : "not ready\n")
        case _: return OwnContent(status: 404, body: "nothing is served here; try /, /metrics, /healthz or /readyz\n")
        }
    }
}
