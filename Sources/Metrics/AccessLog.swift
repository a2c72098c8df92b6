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
    public var id = ""
    /// `ok`, a reason of `ballast_request_errors_total`, or `left:` with a phase.
    public var end = ""

    public init() {}

    /// The line, with its line feed: `TIME CLIENT "METHOD PATH VERSION" STATUS BACKEND/SERVER name=value...`.
    public var line: String {
        let place = backend.isEmpty ? "-" : "\(quotable(backend))/\(server.isEmpty ? "-" : quotable(server))"
        return "\(endedAt) \(client) \"\(quotable(method)) \(quotable(path)) \(version)\" "
            + "\(status == 0 ? "-" : "\(status)") \(place) queue=\(Self.text(queue)) connect=\(Self.text(connect)) "
            + "first-byte=\(Self.text(firstByte)) total=\(Self.text(total)) attempts=\(attempts) "
            + "in=\(received) out=\(sent) id=\(id.isEmpty ? "-" : quotable(id)) end=\(end)\n"
    }

    /// Printable, without what would end a quoted text, and of bounded length.
    private func quotable(_ text: String) -> String {
        let limit = 1024
        let cut = text.utf8.count > limit ? String(decoding: text.utf8.prefix(limit), as: UTF8.self) + "..." : text
        return EventLog.escaped(cut).split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\\x22")
    }

    /// Milliseconds with three digits behind the point.
    private static func text(_ duration: Duration?) -> String {
        guard let duration else { return "-" }
        let microseconds = Int(duration / .microseconds(1))
        let rest = String(microseconds % 1000)
        return "\(microseconds / 1000).\(String(repeating: "0", count: 3 - rest.utf8.count))\(rest)ms"
    }
}
