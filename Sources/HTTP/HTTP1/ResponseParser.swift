// The head of a response, as strict as the request's: a replica's bytes are a stranger's bytes.
// It never decides about the body; see BodyFraming.

/// Reads one response head (RFC 9112, 4). Feed it all bytes since the head's start each time more arrive.
public struct ResponseParser: Sendable {
    /// Bounds on a response head.
    public struct Limits: Sendable {
        /// Bytes of the whole head, at most 65,535.
        public var head: Int
        /// Field lines, and options of Connection fields, at most `maximumFields`.
        public var fields: Int

        public init(head: Int = 60 << 10, fields: Int = maximumFields) {
            self.head = min(head, 65_535)
            self.fields = min(fields, maximumFields)
        }
    }

    private var hasStatusLine = false
    private var position = 0
    private var searched = 0
    private var unfinished = FieldParser.Part.none

    public init() {}

    /// Parses as far as the bytes go; true when `head` is complete, as `RequestParser.parse`.
    public mutating func parse(
        _ input: Span<UInt8>, limits: Limits = Limits(), into head: inout MessageHead
    ) throws(ProtocolError) -> Bool {
        let bytes = input.extracting(first: limits.head)
        if unfinished.goesOn(bytes, from: searched) { return try incomplete(bytes, limits) }
        if !hasStatusLine {
            guard let feed = ByteScan.firstLineFeed(in: bytes, from: position) else {
                try Self.checkBeginning(bytes)
                return try incomplete(bytes, limits)
            }
            try Self.parseStatusLine(bytes, feed, into: &head)
            position = feed + 1
            hasStatusLine = true
        }
        while true {
            switch try FieldParser.step(bytes, at: &position, limit: limits.fields, isRequest: false, into: &head) {
            case .field: continue
            case .incomplete(let part):
                unfinished = part
                return try incomplete(bytes, limits)
            case .end:
                head.byteCount = position
                try Self.checkFraming(&head)
                self = ResponseParser()
                return true
            }
        }
    }

    private mutating func incomplete(_ bytes: Span<UInt8>, _ limits: Limits) throws(ProtocolError) -> Bool {
        searched = bytes.count
        guard bytes.count < limits.head else { throw .headTooLarge }
        return false
    }

    /// Refuses what cannot become a status line before its end arrives: a stream of bytes without a line feed.
    private static func checkBeginning(_ bytes: Span<UInt8>) throws(ProtocolError) {
        let name: InlineArray<7, UInt8> = [0x48, 0x54, 0x54, 0x50, 0x2f, 0x31, 0x2e]  // HTTP/1.
        for index in 0..<min(bytes.count, name.count) where bytes[index] != name[index] { throw .malformedStatusLine }
    }

    /// `HTTP/1.x SP 3DIGIT [SP reason]`; the blank before an empty reason is often left out, and means nothing.
    private static func parseStatusLine(
        _ bytes: Span<UInt8>, _ feed: Int, into head: inout MessageHead
    ) throws(ProtocolError) {
        let end = feed - 1
        guard end >= 12, bytes[end] == 0x0d, bytes[8] == 0x20 else { throw .malformedStatusLine }
        head.reset()
        do { head.version = try RequestParser.version(bytes, 0, 8) } catch { throw .malformedStatusLine }
        guard let status = ByteScan.decimal(bytes, ByteRange(start: 9, count: 3)), (100...599).contains(status) else {
            throw .malformedStatusLine
        }
        head.status = Int(status)
        guard end > 12 else { return }
        guard bytes[12] == 0x20 else { throw .malformedStatusLine }
        head.reason = ByteRange(start: 13, count: end - 13)
        var control = ByteScan.firstControl(in: bytes, from: 13)
        while control < end, bytes[control] == 0x09 { control = ByteScan.firstControl(in: bytes, from: control + 1) }
        guard control == end else { throw .malformedStatusLine }
    }

    private static func checkFraming(_ head: inout MessageHead) throws(ProtocolError) {
        try FieldParser.checkDeferred(head)
        guard head.present.contains(.transferEncoding) else { return }
        if head.version == .http10 { throw .transferEncodingInOldVersion }
        if head.present.contains(.contentLength) { throw .contentLengthWithTransferEncoding }
    }
}
