// Field lines, for both directions: their syntax, and the facts that framing and persistence draw from them.
// It refuses every spelling that two recipients could read differently, and repairs one: blanks behind a response's
// field names are lost, because RFC 9112 says so.

/// What the parser of either kind of head does for one field line at a time.
enum FieldParser {
    enum Step {
        case field, end
        /// More bytes are needed.
        case incomplete(Part)
    }

    /// Where a field line stands that is not whole: what of it was searched is not searched again, however it trickles in.
    enum Part {
        case none, name, value

        /// The bytes from `start` on, and the one before them, change nothing: the name or the value goes on.
        func goesOn(_ bytes: Span<UInt8>, from start: Int) -> Bool {
            switch self {
            case .none: return false
            case .name:
                var index = start
                while index < bytes.count, ByteScan.isTokenByte(bytes[index]) { index += 1 }
                return index == bytes.count
            case .value: return endOfText(bytes, from: start - 1) == bytes.count
            }
        }
    }

    /// Reads the line at `position` and moves it past the line.
    /// - Parameter isRequest: Host and Expect mean something in requests only; and where a name is followed by blanks, a
    ///   request is refused while a response loses them (RFC 9112, 5.1).
    static func step(
        _ bytes: Span<UInt8>, at position: inout Int, limit: Int, isRequest: Bool, into head: inout MessageHead
    ) throws(ProtocolError) -> Step {
        guard position < bytes.count else { return .incomplete(.none) }
        let first = bytes[position]
        if first == 0x0d {
            guard position + 1 < bytes.count else { return .incomplete(.none) }
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
        let nameEnd = index
        if !isRequest { while index < bytes.count, ByteScan.isBlank(bytes[index]) { index += 1 } }
        guard index < bytes.count else { return .incomplete(index == nameEnd ? .name : .none) }
        guard bytes[index] == UInt8(ascii: ":"), nameEnd > position else { throw .malformedField }
        slot.name = ByteRange(start: position, count: nameEnd - position)
        guard let end = try lineEnd(bytes, from: index + 1) else { return .incomplete(.value) }
        slot.value = ByteScan.trimmed(bytes, ByteRange(start: index + 1, count: end - index - 1))
        slot.known = FieldName.classify(bytes, slot.name)
        guard head.fieldCount < limit else { throw .tooManyFields }
        try note(slot, bytes, isRequest: isRequest, in: &head)
        // What Connection names is looked for in every field: that product has to be bounded.
        guard head.optionCount <= limit else { throw .tooManyFields }
        head.slots[head.fieldCount] = slot
        head.fieldCount += 1
        position = end + 2
        return .field
    }

    /// The index of the CRLF that ends the value at `start`; nil when it has not arrived. The only control byte that a
    /// value may hold is HTAB (RFC 9110, 5.5).
    private static func lineEnd(_ bytes: Span<UInt8>, from start: Int) throws(ProtocolError) -> Int? {
        let index = endOfText(bytes, from: start)
        guard index < bytes.count else { return nil }
        guard bytes[index] == 0x0d else { throw .malformedField }
        guard index + 1 < bytes.count else { return nil }
        guard bytes[index + 1] == 0x0a else { throw .malformedField }
        return index
    }

    /// The first control byte but HTAB at or after `start`; `bytes.count` when there is none.
    private static func endOfText(_ bytes: Span<UInt8>, from start: Int) -> Int {
        var index = ByteScan.firstControl(in: bytes, from: start)
        while index < bytes.count, bytes[index] == 0x09 {
            index = ByteScan.firstControl(in: bytes, from: index + 1)
        }
        return index
    }

    private static func note(
        _ slot: FieldSlot, _ bytes: Span<UInt8>, isRequest: Bool, in head: inout MessageHead
    ) throws(ProtocolError) {
        guard slot.known != .other else {
            // Of the names that ballast does not act upon, two tell it what to count.
            if !isRequest, slot.name.count == 12 { noteType(slot, bytes, in: &head) }
            if !isRequest, slot.name.count == 16, ByteScan.equal(bytes, slot.name, ignoringCaseOf: "Content-Encoding") {
                head.isEncoded = true
            }
            return
        }
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
            ByteScan.forEachElement(bytes, slot.value) {
                head.connection.insert(option(bytes, $0))
                head.optionCount += 1
            }
        case .expect where isRequest:
            let isKnown = !isRepeated && ByteScan.equal(bytes, slot.value, ignoringCaseOf: "100-continue")
            head.expectsContinue = isKnown
            if !isKnown { head.hasUnknownExpectation = true }
        case .keepAlive:
            ByteScan.forEachElement(bytes, slot.value) { noteKeepAlive($0, bytes, in: &head) }
        case .te where isRequest:
            ByteScan.forEachElement(bytes, slot.value) {
                if ByteScan.equal(bytes, $0, ignoringCaseOf: "trailers") { head.acceptsTrailers = true }
            }
        case .other, .acceptRanges, .etag, .vary, .host, .expect, .date, .forwarded, .http2Settings, .idempotencyKey,
            .maxForwards,
            .proxyAuthenticate,
            .proxyAuthorization,
            .proxyConnection, .te, .trailer, .upgrade, .via, .xForwardedFor, .xForwardedHost, .xForwardedProto,
            .xClientCert,
            .xForwardedOther, .xRealIP, .xRequestID:
            break
        }
    }

    /// `text/event-stream`, whatever its parameters.
    private static func noteType(_ slot: FieldSlot, _ bytes: Span<UInt8>, in head: inout MessageHead) {
        let type: StaticString = "text/event-stream"
        let start = ByteRange(start: slot.value.start, count: min(slot.value.count, type.utf8CodeUnitCount))
        guard ByteScan.equal(bytes, start, ignoringCaseOf: type),
            ByteScan.equal(bytes, slot.name, ignoringCaseOf: "Content-Type")
        else { return }
        let end = start.end
        head.hasEventType = end == slot.value.end || bytes[end] == UInt8(ascii: ";") || ByteScan.isBlank(bytes[end])
    }

    /// Only `chunked`, once and alone. Well-formed but unknown codings are told from nonsense, because they have an
    /// answer of their own (RFC 9112, 6.1: 501); a list in which chunked is not the last one has no certain end (6.3: 400).
    private static func noteTransferEncoding(
        _ value: ByteRange, _ bytes: Span<UInt8>, in head: inout MessageHead
    ) throws(ProtocolError) {
        if ByteScan.equal(bytes, value, ignoringCaseOf: "chunked") {
            head.isChunked = true
            return
        }
        var onlyTokens = !value.isEmpty
        var hasUnknown = false
        var isAfterChunked = false
        var isMisplaced = false
        ByteScan.forEachElement(bytes, value) { element in
            onlyTokens = onlyTokens && ByteScan.isToken(bytes, element)
            isMisplaced = isMisplaced || isAfterChunked
            isAfterChunked = ByteScan.equal(bytes, element, ignoringCaseOf: "chunked")
            hasUnknown = hasUnknown || !isAfterChunked
        }
        guard onlyTokens, hasUnknown, !isMisplaced else { throw .malformedTransferEncoding }
        head.hasUnknownCoding = true
    }

    /// What waits for the end of the head.
    static func checkDeferred(_ head: borrowing MessageHead) throws(ProtocolError) {
        if head.hasUnknownCoding { throw .unknownTransferCoding }
        if head.hasUnknownExpectation { throw .unknownExpectation }
    }

    /// The number of the one Max-Forwards field; one too large to count with is as good as the largest.
    static func maxForwards(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) throws(ProtocolError) -> UInt64 {
        var found: UInt64?
        for index in 0..<head.fieldCount where head.field(index).known == .maxForwards {
            let value = head.field(index).value
            guard found == nil, !value.isEmpty else { throw .malformedField }
            for digit in value.indices where bytes[digit] &- 0x30 > 9 { throw .malformedField }
            found = ByteScan.decimal(bytes, value) ?? UInt64(Int64.max)
        }
        return found ?? 0
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
            var end = index + 1
            while end < range.end, bytes[end] != UInt8(ascii: "]") { end += 1 }
            guard end < range.end, isIPv6(bytes, ByteRange(start: index + 1, count: end - index - 1)) else {
                return false
            }
            index = end + 1
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

    /// RFC 3986, 3.2.2: eight groups of up to four digits, one run of them left out, the last two perhaps dotted.
    private static func isIPv6(_ bytes: Span<UInt8>, _ range: ByteRange) -> Bool {
        let colon = UInt8(ascii: ":")
        var groups = 0
        var hasGap = false
        var index = range.start
        if range.count >= 2, bytes[index] == colon {
            // Only a gap may stand first.
            guard bytes[index + 1] == colon else { return false }
            hasGap = true
            index += 2
        }
        while index < range.end {
            let start = index
            while index < range.end, isHexDigit(bytes[index]) { index += 1 }
            if index < range.end, bytes[index] == UInt8(ascii: ".") {
                guard isIPv4(bytes, ByteRange(start: start, count: range.end - start)) else { return false }
                groups += 2
                break
            }
            guard (1...4).contains(index - start) else { return false }
            groups += 1
            if index == range.end { break }
            guard bytes[index] == colon, index + 1 < range.end else { return false }
            index += 1
            if bytes[index] == colon {
                guard !hasGap else { return false }
                hasGap = true
                index += 1
            }
        }
        return hasGap ? groups <= 7 : groups == 8
    }

    private static func isIPv4(_ bytes: Span<UInt8>, _ range: ByteRange) -> Bool {
        var parts = 0
        var start = range.start
        for index in range.start...range.end where index == range.end || bytes[index] == UInt8(ascii: ".") {
            let part = ByteRange(start: start, count: index - start)
            guard part.count <= 3, let number = ByteScan.decimal(bytes, part), number <= 255 else { return false }
            guard part.count == 1 || bytes[part.start] != 0x30 else { return false }
            parts += 1
            start = index + 1
        }
        return parts == 4
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
