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

/// A page that is made of statistics.
public enum OwnPage: Sendable { case stats, metrics }

/// What of a request to ballast's own listener decides how it is answered.
struct OwnRequest {
    var page: OwnPage
    var isHead: Bool
    var keeps: Bool
    var version: Version
}

/// What is answered.
private struct OwnContent {
    var status = 200
    var type = "text/plain; charset=utf-8"
    var body: String
}

extension ClientConnection {
    /// Answers the request whose head is parsed and stands at the front of `input`.
    func answerOwn(_ head: borrowing MessageHead, _ input: Buffer) {
        let path = input.withBytes { Self.path(head, $0) }
        let isHead = head.method == .head
        let keeps = BodyFraming(request: head) == .none && mayPersist && Persistence.isKept(after: head)
        var request = OwnRequest(page: .stats, isHead: isHead, keeps: keeps, version: head.version)
        wire.consume(head.byteCount, worker.loop)
        guard head.method == .get || isHead else {
            reply(OwnContent(status: 405, body: "only GET and HEAD are served here\n"), to: request)
            return
        }
        switch path {
        case "/", "/stats", "": break
        case "/metrics": request.page = .metrics
        case "/healthz": return reply(OwnContent(body: "ok\n"), to: request)
        case "/readyz":
            let isReady = worker.shared.isReady
            let content = OwnContent(status: isReady ? 200 : 503, body: isReady ? "ready\n" : "not ready\n")
            return reply(content, to: request)
        case _:
            let body = "nothing is served here; try /, /metrics, /healthz or /readyz\n"
            return reply(OwnContent(status: 404, body: body), to: request)
        }
        compose(request)
        worker.compose(request.page, for: token)
    }

    /// The page is there.
    func composed(_ text: String) {
        guard case .composing(let request) = state else { return }
        let type =
            switch request.page {
            case .stats: StatsPage.contentType
            case .metrics: PrometheusText.contentType
            }
        reply(OwnContent(type: type, body: text), to: request)
    }

    private func reply(_ content: OwnContent, to request: OwnRequest) {
        var text = "HTTP/1.1 \(content.status) \(Replies.reason(content.status))\r\nContent-Type: \(content.type)\r\n"
        text +=
            "Content-Length: \(content.body.utf8.count)\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        text += "Content-Security-Policy: \(StatsPage.securityPolicy)\r\nReferrer-Policy: no-referrer\r\n"
        if content.status == 405 { text += "Allow: GET, HEAD\r\n" }
        if content.status == 503 { text += "Retry-After: 1\r\n" }
        switch (request.keeps, request.version) {
        case (false, _): text += "Connection: close\r\n"
        case (true, .http10): text += "Connection: keep-alive\r\n"
        case (true, .http11): break
        }
        text += "Date: "
        var bytes = Array(text.utf8)
        let date = worker.date
        for index in date.bytes.indices { bytes.append(date.bytes[index]) }
        bytes += Array("\r\n\r\n".utf8)
        if !request.isHead { bytes += Array(content.body.utf8) }
        answer(StatsAnswer(bytes, keeps: request.keeps))
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
}
