// One line for each request, whatever its bytes were. It never writes to a file itself.

/// What is told of one request.
public struct AccessRecord: Sendable {
    /// Seconds since 1970 at the end of the request.
    public var endedAt = 0.0
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
        return "\(WallTime.text(endedAt)) \(client) \"\(quotable(method)) \(quotable(path)) \(version)\" "
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

/// Points in time for people.
public enum WallTime {
    /// `2026-11-21T05:54:32.123Z`.
    public static func text(_ seconds: Double) -> String {
        let milliseconds = Int((seconds * 1000).rounded(.down))
        let days = milliseconds / 86_400_000
        let inDay = milliseconds % 86_400_000
        let (year, month, day) = civil(days)
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(padded(inDay / 3_600_000, 2)):"
            + "\(padded(inDay / 60_000 % 60, 2)):\(padded(inDay / 1000 % 60, 2)).\(padded(inDay % 1000, 3))Z"
    }

    /// The date of a day since 1970 (Howard Hinnant: chrono-compatible low-level date algorithms).
    private static func civil(_ days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
