// Field lines, for both directions: their syntax, and the facts that framing and persistence draw from them.
// It refuses every spelling that two recipients could read differently, and never repairs one.

/// What the parser of either kind of head does for one field line at a time.
enum FieldParser {
    enum Step {
        case field, end
        /// More bytes are needed. Inside a value only a control byte can change anything.
        case incomplete(isInValue: Bool)
    }

    /// Reads the line at `position` and moves it past the line.
    /// - Parameter isRequest: Host and Expect mean something in requests only.
    static func step(
        _ bytes: Span<UInt8>, at position: inout Int, limit: Int, isRequest: Bool, into head: inout MessageHead
    ) throws(ProtocolError) -> Step {
        guard position < bytes.count else { return .incomplete(isInValue: false) }
        let first = bytes[position]
        if first == 0x0d {
            guard position + 1 < bytes.count else { return .incomplete(isInValue: false) }
            guard bytes[position + 1] == 0x0a else { throw .malformedField }
            position += 2
            return .end
        }
        if ByteScan.isBlank(first) { throw .foldedField }
        var slot = FieldSlot()
        var index = position
        while index < bytes.count, ByteScan.isTokenByte(bytes[index]) {
            if bytes[index] == UInt8(ascii: "_") { slot.hasUnderscore = true }
            index += 1
        }
        guard index < bytes.count else { return .incomplete(isInValue: false) }
        guard bytes[index] == UInt8(ascii: ":"), index > position else { throw .malformedField }
        slot.name = ByteRange(start: position, count: index - position)
        guard let end = try lineEnd(bytes, from: index + 1) else { return .incomplete(isInValue: true) }
        slot.value = ByteScan.trimmed(bytes, ByteRange(start: index + 1, count: end - index - 1))
        slot.known = FieldName.classify(bytes, slot.name)
        guard head.fieldCount < limit else { throw .tooManyFields }
        try note(slot, bytes, isRequest: isRequest, in: &head)
        head.slots[head.fieldCount] = slot
        head.fieldCount += 1
        position = end + 2
        return .field
    }

    /// The index of the CRLF that ends the value at `start`; nil when it has not arrived. The only control byte that a
    /// value may hold is HTAB (RFC 9110, 5.5).
    private static func lineEnd(_ bytes: Span<UInt8>, from start: Int) throws(ProtocolError) -> Int? {
        var index = ByteScan.firstControl(in: bytes, from: start)
        while index < bytes.count, bytes[index] == 0x09 {
            index = ByteScan.firstControl(in: bytes, from: index + 1)
        }
        guard index < bytes.count else { return nil }
        guard bytes[index] == 0x0d else { throw .malformedField }
        guard index + 1 < bytes.count else { return nil }
        guard bytes[index + 1] == 0x0a else { throw .malformedField }
        return index
    }

    private static func note(
        _ slot: FieldSlot, _ bytes: Span<UInt8>, isRequest: Bool, in head: inout MessageHead
    ) throws(ProtocolError) {
        guard slot.known != .other else { return }
        let isRepeated = head.present.contains(slot.known)
        head.present.insert(FieldNames(slot.known))
        switch slot.known {
        case .contentLength:
            guard !isRepeated, let length = ByteScan.decimal(bytes, slot.value) else { throw .malformedContentLength }
            head.contentLength = length
        case .transferEncoding:
            guard !isRepeated else { throw .malformedTransferEncoding }
            try noteTransferEncoding(slot.value, bytes, in: &head)
        case .host where isRequest:
            guard !isRepeated, HostSyntax.isValid(bytes, slot.value) else { throw .malformedHost }
            head.host = slot.value
        case .connection:
            forEachElement(bytes, slot.value) { head.connection.insert(option(bytes, $0)) }
        case .expect where isRequest:
            guard !isRepeated, ByteScan.equal(bytes, slot.value, ignoringCaseOf: "100-continue") else {
                throw .unknownExpectation
            }
            head.expectsContinue = true
        case .keepAlive:
            forEachElement(bytes, slot.value) { noteKeepAlive($0, bytes, in: &head) }
        case .other, .host, .expect, .date, .forwarded, .http2Settings, .idempotencyKey, .maxForwards,
            .proxyAuthenticate,
            .proxyAuthorization,
            .proxyConnection, .te, .trailer, .upgrade, .via, .xForwardedFor, .xForwardedHost, .xForwardedProto,
            .xForwardedOther, .xRealIP, .xRequestID:
            break
        }
    }

    /// Only `chunked`, once and alone. Well-formed but unknown codings are told from nonsense, because they have an
    /// answer of their own (RFC 9112, 6.1: 501).
    private static func noteTransferEncoding(
        _ value: ByteRange, _ bytes: Span<UInt8>, in head: inout MessageHead
    ) throws(ProtocolError) {
        if ByteScan.equal(bytes, value, ignoringCaseOf: "chunked") {
            head.isChunked = true
            return
        }
        var onlyTokens = !value.isEmpty
        var hasUnknown = false
        forEachElement(bytes, value) { element in
            onlyTokens = onlyTokens && ByteScan.isToken(bytes, element)
            hasUnknown = hasUnknown || !ByteScan.equal(bytes, element, ignoringCaseOf: "chunked")
        }
        throw onlyTokens && hasUnknown ? .unknownTransferCoding : .malformedTransferEncoding
    }

    private static func option(_ bytes: Span<UInt8>, _ element: ByteRange) -> ConnectionOptions {
        if ByteScan.equal(bytes, element, ignoringCaseOf: "close") { return .close }
        if ByteScan.equal(bytes, element, ignoringCaseOf: "keep-alive") { return .keepAlive }
        if ByteScan.equal(bytes, element, ignoringCaseOf: "upgrade") { return .upgrade }
        return element.isEmpty ? [] : .others
    }

    private static func noteKeepAlive(_ element: ByteRange, _ bytes: Span<UInt8>, in head: inout MessageHead) {
        let prefix = "timeout=".utf8.count
        guard element.count > prefix else { return }
        let name = ByteRange(start: element.start, count: prefix)
        let digits = ByteRange(start: element.start + prefix, count: element.count - prefix)
        guard ByteScan.equal(bytes, name, ignoringCaseOf: "timeout="), digits.count <= 9,
            let seconds = ByteScan.decimal(bytes, digits)
        else { return }
        head.keepAliveSeconds = Int(seconds)
    }

    /// Calls `body` with each comma-separated, trimmed element, empty ones included (RFC 9110, 5.6.1).
    static func forEachElement(_ bytes: Span<UInt8>, _ value: ByteRange, _ body: (ByteRange) -> Void) {
        var start = value.start
        for index in value.start...value.end where index == value.end || bytes[index] == UInt8(ascii: ",") {
            body(ByteScan.trimmed(bytes, ByteRange(start: start, count: index - start)))
            start = index + 1
        }
    }
}

/// `uri-host [":" port]` (RFC 9110, 7.2), without sub-delims: no host in use has them, and commas or semicolons in a
/// host are how two readers come to two answers.
enum HostSyntax {
    /// A name of 253 bytes, with a port and room for brackets.
    private static let maximumCount = 262

    static func isValid(_ bytes: Span<UInt8>, _ range: ByteRange) -> Bool {
        guard !range.isEmpty, range.count <= maximumCount else { return false }
        var index = range.start
        if bytes[index] == UInt8(ascii: "[") {
            index += 1
            let inside = index
            while index < range.end, isIPv6Byte(bytes[index]) { index += 1 }
            guard index > inside + 1, index < range.end, bytes[index] == UInt8(ascii: "]") else { return false }
            index += 1
        } else {
            while index < range.end, isNameByte(bytes, index, range.end) { index += 1 }
            guard index > range.start else { return false }
        }
        if index == range.end { return true }
        guard bytes[index] == UInt8(ascii: ":") else { return false }
        let port = ByteRange(start: index + 1, count: range.end - index - 1)
        if port.isEmpty { return true }
        guard let number = ByteScan.decimal(bytes, port) else { return false }
        return number <= 65_535
    }

    private static func isIPv6Byte(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ":") || byte == UInt8(ascii: ".") || isHexDigit(byte)
    }

    private static func isNameByte(_ bytes: Span<UInt8>, _ index: Int, _ end: Int) -> Bool {
        switch bytes[index] {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"): true
        case UInt8(ascii: "%"): index + 2 < end && isHexDigit(bytes[index + 1]) && isHexDigit(bytes[index + 2])
        default: false
        }
    }

    static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x46, 0x61...0x66: true
        default: false
        }
    }
}
