// One line for each request, whatever its bytes were. It never writes to a file itself.

/// What is told of one request.
public struct AccessRecord: Sendable {
    /// When the request ended, as it is to be shown.
    public var endedAt = "-"
    public var client = ""
    public var method = ""
    /// Without its query: what stands there may be private.
    public var path = ""
    public var version = ""
    /// Of whom it was asked; empty where nothing is known of it.
    public var host = ""
    /// Where it came in.
    public var listener = ""
    /// Version and suite of its connection, and whose certificate was verified there; empty where there is none.
    public var tls = ""
    public var cipher = ""
    public var certificate = ""
    /// What the client got; 0 if nothing.
    public var status = 0
    public var backend = ""
    public var server = ""
    public var attempts = 0
    /// Nil where the request did not come so far.
    public var queue: Duration?
    public var connect: Duration?
    public var firstByte: Duration?
    public var total = Duration.zero
    /// Body bytes.
    public var received = 0
    public var sent = 0
    /// Events of the stream that it was.
    public var events = 0
    public var id = ""
    /// `ok`, a reason of `ballast_request_errors_total`, or `left:` with a phase.
    public var end = ""

    public init() {}

    /// The line, with its line feed: `TIME CLIENT "METHOD PATH VERSION" STATUS BACKEND/SERVER name=value...`.
    public var text: String {
        let place = backend.isEmpty ? "-" : "\(quotable(backend))/\(server.isEmpty ? "-" : quotable(server))"
        var text = "\(endedAt) \(client) \"\(quotable(method)) \(quotable(path)) \(version)\" "
        text += "\(status == 0 ? "-" : "\(status)") \(place) queue=\(Self.text(queue)) connect=\(Self.text(connect)) "
        text += "first-byte=\(Self.text(firstByte)) total=\(Self.text(total)) attempts=\(attempts) in=\(received) "
        text += "out=\(sent) "
        if events > 0 { text += "events=\(events) " }
        text += "host=\(Self.word(quotable(host))) "
        if !tls.isEmpty { text += "tls=\(tls) " }
        if !certificate.isEmpty { text += "certificate=\"\(quotable(certificate))\" " }
        return text + "id=\(Self.word(quotable(id))) end=\(end)\n"
    }

    /// The same as an object of JSON. Bytes that are no UTF-8 are shown as replaced.
    public var json: String {
        var json = JSONWriter()
        json.object {
            $0.add("time", endedAt)
            $0.add("id", id)
            $0.add("client", client)
            $0.add("listener", listener)
            $0.add("method", cut(method))
            $0.add("host", cut(host))
            $0.add("path", cut(path))
            $0.add("version", version)
            $0.add("status", status)
            $0.add("backend", backend)
            $0.add("server", server)
            $0.add("attempts", attempts)
            $0.add("queue_ms", queue.map { $0 / .milliseconds(1) })
            $0.add("connect_ms", connect.map { $0 / .milliseconds(1) })
            $0.add("first_byte_ms", firstByte.map { $0 / .milliseconds(1) })
            $0.add("total_ms", total / .milliseconds(1))
            $0.add("received_bytes", received)
            $0.add("sent_bytes", sent)
            $0.add("events", events)
            $0.add("end", end)
            $0.add("tls", tls)
            $0.add("cipher", cipher)
            $0.add("certificate", cut(certificate))
        }
        json.line()
        return json.writer.text
    }

    private static func word(_ text: String) -> String { text.isEmpty ? "-" : text }

    /// Of bounded length.
    private func cut(_ text: String) -> String {
        let limit = 1024
        return text.utf8.count > limit ? String(decoding: text.utf8.prefix(limit), as: UTF8.self) + "..." : text
    }

    /// Printable, without what would end a quoted text, and of bounded length.
    private func quotable(_ text: String) -> String {
        EventLog.escaped(cut(text)).split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\\x22")
    }

    /// Milliseconds with three digits behind the point.
    private static func text(_ duration: Duration?) -> String {
        guard let duration else { return "-" }
        let microseconds = Int(duration / .microseconds(1))
        let rest = String(microseconds % 1000)
        return "\(microseconds / 1000).\(String(repeating: "0", count: 3 - rest.utf8.count))\(rest)ms"
    }
}
