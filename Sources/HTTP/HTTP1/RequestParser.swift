// The head of a request, from bytes that may arrive one at a time. It decides what the bytes mean or refuses them;
// it never consumes body bytes and never looks at a complete line twice.

/// Reads one request head (RFC 9112, 2.1 and 3). Feed it all bytes since the head's start each time more arrive.
public struct RequestParser: Sendable {
    /// Bounds on a request head.
    public struct Limits: Sendable {
        /// Bytes of the whole head, at most 65,535.
        public var head: Int
        /// Bytes of the request target.
        public var target: Int
        /// Field lines, and options of Connection fields, at most `maximumFields`.
        public var fields: Int
        /// Empty lines before the request line (RFC 9112, 2.2 asks to ignore at least one).
        public var emptyLines: Int

        public init(head: Int = 32 << 10, target: Int = 8 << 10, fields: Int = 128, emptyLines: Int = 2) {
            self.head = min(head, 65_535)
            self.target = target
            self.fields = min(fields, maximumFields)
            self.emptyLines = emptyLines
        }
    }

    private enum Phase { case line, fields }

    private var phase = Phase.line
    private var position = 0
    /// How many bytes there were when the last line was found incomplete: a field that trickles in is searched once.
    private var searched = 0
    private var unfinished = FieldParser.Part.none
    private var emptyLines = 0

    /// Bytes of a method: longer than any that is registered.
    private static let maximumMethod = 64

    public init() {}

    /// Whether any byte of a message has been seen; empty lines before it are none.
    public var hasBegun: Bool { phase == .fields || searched > position }

    /// Whether the head's method is known, and every field before the one that stopped the parser: what an answer to a
    /// head that is refused may go by.
    public private(set) var hasMethod = false

    /// Parses as far as the bytes go. Returns true when `head` is complete; its `byteCount` bytes are then consumed by
    /// the caller, and the parser is ready for the next head.
    public mutating func parse(
        _ input: Span<UInt8>, limits: Limits, into head: inout MessageHead
    ) throws(ProtocolError) -> Bool {
        let bytes = input.extracting(first: limits.head)
        if unfinished.goesOn(bytes, from: searched) { return try incomplete(bytes, limits) }
        if phase == .line {
            guard try parseRequestLine(bytes, limits, into: &head) else { return try incomplete(bytes, limits) }
            phase = .fields
        }
        while true {
            switch try FieldParser.step(bytes, at: &position, limit: limits.fields, isRequest: true, into: &head) {
            case .field: continue
            case .incomplete(let part):
                unfinished = part
                return try incomplete(bytes, limits)
            case .end:
                try finish(bytes, &head)
                self = RequestParser()
                return true
            }
        }
    }

    private mutating func incomplete(_ bytes: Span<UInt8>, _ limits: Limits) throws(ProtocolError) -> Bool {
        searched = bytes.count
        guard bytes.count < limits.head else { throw .headTooLarge }
        return false
    }

    /// `method SP target SP version` with the longest method and a target at its limit.
    private func longestLine(_ limits: Limits) -> Int { limits.target + Self.maximumMethod + 10 }

    private mutating func parseRequestLine(
        _ bytes: Span<UInt8>, _ limits: Limits, into head: inout MessageHead
    ) throws(ProtocolError) -> Bool {
        while position < bytes.count, bytes[position] == 0x0d {
            guard position + 1 < bytes.count else { return false }
            guard bytes[position + 1] == 0x0a else { throw .malformedRequestLine }
            guard emptyLines < limits.emptyLines else { throw .tooManyEmptyLines }
            emptyLines += 1
            position += 2
        }
        guard position < bytes.count else { return false }
        // Whatever is not a method is refused before its line ends: TLS on this port, for one, never ends one.
        var index = position
        while index < bytes.count, ByteScan.isTokenByte(bytes[index]) { index += 1 }
        guard index - position <= Self.maximumMethod else { throw .methodTooLong }
        guard index < bytes.count else { return false }
        // A handshake's record (RFC 8446, 5.1): nothing else has a reason to begin so.
        if bytes[position] == 0x16 { throw .unexpectedTLS }
        guard bytes[index] == 0x20, index > position else { throw .malformedRequestLine }
        head.reset()
        head.methodName = ByteRange(start: position, count: index - position)
        head.method = Self.method(bytes, head.methodName)
        hasMethod = true
        // Its only control bytes are the two at its end.
        let end = ByteScan.firstControl(in: bytes, from: index)
        // Told before anything else is wrong with the line, as it is while its end has not come.
        guard end - position <= longestLine(limits) else { throw .targetTooLong }
        guard end < bytes.count else { return false }
        guard bytes[end] == 0x0d else { throw .malformedRequestLine }
        guard end + 1 < bytes.count else { return false }
        guard bytes[end + 1] == 0x0a else { throw .malformedRequestLine }
        let targetStart = index + 1
        index = targetStart
        while bytes[index] > 0x20, bytes[index] < 0x7f { index += 1 }
        guard bytes[index] == 0x20, index > targetStart else {
            throw bytes[index] >= 0x7f ? .malformedTarget : .malformedRequestLine
        }
        // The first line of a proxy that says whose connection it is looks like a request's.
        if ByteScan.equal(bytes, head.methodName, ignoringCaseOf: "PROXY"), bytes[end - 1] != UInt8(ascii: "1") {
            throw .unexpectedProxyHeader
        }
        head.version = try Self.version(bytes, index + 1, end)
        if ByteScan.equal(bytes, head.methodName, ignoringCaseOf: "CONNECT") { throw .tunnelNotSupported }
        if ByteScan.equal(bytes, head.methodName, ignoringCaseOf: "TRACE") { throw .methodNotAllowed }
        guard index - targetStart <= limits.target else { throw .targetTooLong }
        try RequestTarget.parse(bytes, ByteRange(start: targetStart, count: index - targetStart), into: &head)
        position = end + 2
        return true
    }

    private func finish(_ bytes: Span<UInt8>, _ head: inout MessageHead) throws(ProtocolError) {
        head.byteCount = position
        if head.host.isEmpty, head.version == .http11 { throw .missingHost }
        try FieldParser.checkDeferred(head)
        if head.present.contains(.transferEncoding) {
            if head.version == .http10 { throw .transferEncodingInOldVersion }
            if head.present.contains(.contentLength) { throw .contentLengthWithTransferEncoding }
        }
        if head.method == .options, head.present.contains(.maxForwards) {
            head.maxForwards = try FieldParser.maxForwards(head, bytes)
        }
    }

    /// `HTTP/` digit `.` digit, in capitals (RFC 9112, 2.3).
    static func version(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) throws(ProtocolError) -> Version {
        let name = ByteRange(start: start, count: min(5, end - start))
        guard end - start == 8, ByteScan.equal(bytes, name, ignoringCaseOf: "HTTP/"),
            bytes[start] == UInt8(ascii: "H"), bytes[start + 1] == UInt8(ascii: "T"),
            bytes[start + 2] == UInt8(ascii: "T"), bytes[start + 3] == UInt8(ascii: "P"),
            bytes[start + 6] == UInt8(ascii: ".")
        else { throw .malformedVersion }
        let major = bytes[start + 5] &- 0x30
        let minor = bytes[start + 7] &- 0x30
        guard major < 10, minor < 10 else { throw .malformedVersion }
        guard major == 1 else { throw .unsupportedVersion }
        return minor == 0 ? .http10 : .http11
    }

    /// Methods are case-sensitive (RFC 9110, 9.1): `get` is another method than GET.
    private static func method(_ bytes: Span<UInt8>, _ name: ByteRange) -> Method {
        let text = bytes.extracting(name.indices)
        return switch (name.count, text[0]) {
        case (3, UInt8(ascii: "G")) where matches(text, "GET"): .get
        case (3, UInt8(ascii: "P")) where matches(text, "PUT"): .put
        case (4, UInt8(ascii: "P")) where matches(text, "POST"): .post
        case (4, UInt8(ascii: "H")) where matches(text, "HEAD"): .head
        case (5, UInt8(ascii: "P")) where matches(text, "PATCH"): .patch
        case (6, UInt8(ascii: "D")) where matches(text, "DELETE"): .delete
        case (7, UInt8(ascii: "O")) where matches(text, "OPTIONS"): .options
        default: .other
        }
    }

    private static func matches(_ text: Span<UInt8>, _ name: StaticString) -> Bool {
        let range = ByteRange(start: 0, count: text.count)
        guard ByteScan.equal(text, range, ignoringCaseOf: name) else { return false }
        for index in text.indices where text[index] & 0x20 != 0 { return false }
        return true
    }
}

/// The request target's forms (RFC 9112, 3.2).
enum RequestTarget {
    /// Takes `range` apart; the bytes are known to be visible ASCII.
    static func parse(_ bytes: Span<UInt8>, _ range: ByteRange, into head: inout MessageHead) throws(ProtocolError) {
        switch bytes[range.start] {
        case UInt8(ascii: "/"):
            try check(bytes, range)
            head.target = range
        case UInt8(ascii: "*"):
            guard range.count == 1, head.method == .options else { throw .malformedTarget }
            head.target = range
        default:
            try parseAbsolute(bytes, range, into: &head)
        }
    }

    /// `http://authority/path`; user information is refused (RFC 9110, 4.2.4).
    private static func parseAbsolute(
        _ bytes: Span<UInt8>, _ range: ByteRange, into head: inout MessageHead
    ) throws(ProtocolError) {
        let start: Int
        if hasPrefix(bytes, range, "http://") {
            start = range.start + 7
        } else if hasPrefix(bytes, range, "https://") {
            start = range.start + 8
            head.hasSecureScheme = true
        } else {
            throw .malformedTarget
        }
        var end = start
        while end < range.end, bytes[end] != UInt8(ascii: "/"), bytes[end] != UInt8(ascii: "?") { end += 1 }
        head.authority = ByteRange(start: start, count: end - start)
        guard HostSyntax.isValid(bytes, head.authority) else { throw .malformedTarget }
        head.target = ByteRange(start: end, count: range.end - end)
        try check(bytes, head.target)
    }

    /// What a path and a query may hold, as sets of 64 bytes. Fragments are never sent (RFC 9110, 7.1), and quotes and angle
    /// brackets are in no URI (RFC 3986, 2); of what else is in none, this lets pass what browsers leave as it is.
    private static let pathLow = bytes(from: 0x21, below: 0x40, except: "\"#<>")
    private static let pathHigh = bytes(from: 0x40, below: 0x7f, except: "\\^`{}")
    private static let queryHigh = bytes(from: 0x40, below: 0x7f, except: "")

    private static func bytes(from first: Int, below end: Int, except: String) -> UInt64 {
        var set: UInt64 = 0
        for byte in first..<end where !except.utf8.contains(UInt8(byte)) { set |= 1 << UInt64(byte & 63) }
        return set
    }

    /// In the path a percent sign begins an encoded byte (RFC 3986, 2.1): servers that decode what is none serve another
    /// path than the one that was routed. Queries are theirs to read.
    private static func check(_ bytes: Span<UInt8>, _ range: ByteRange) throws(ProtocolError) {
        let low = pathLow
        var high = pathHigh
        var isPath = true
        var index = range.start
        while index < range.end {
            let byte = bytes[index]
            guard (byte < 64 ? low : high) >> UInt64(byte & 63) & 1 != 0 else { throw .malformedTarget }
            if byte == UInt8(ascii: "?") {
                isPath = false
                high = queryHigh
            } else if byte == UInt8(ascii: "%"), isPath {
                guard index + 2 < range.end, HostSyntax.isHexDigit(bytes[index + 1]),
                    HostSyntax.isHexDigit(bytes[index + 2])
                else { throw .malformedTarget }
            }
            index += 1
        }
    }

    private static func hasPrefix(_ bytes: Span<UInt8>, _ range: ByteRange, _ prefix: StaticString) -> Bool {
        let count = prefix.utf8CodeUnitCount
        guard range.count >= count else { return false }
        return ByteScan.equal(bytes, ByteRange(start: range.start, count: count), ignoringCaseOf: prefix)
    }
}
