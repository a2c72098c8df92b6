// The chunked coding, taken off (RFC 9112, 7.1). It tells where data stands in the caller's bytes and never copies;
// it accepts one spelling of everything it lets decide a length.

/// Decodes a chunked body that arrives in pieces.
public struct ChunkDecoder: Sendable, BitwiseCopyable {
    /// What stands at the front of the bytes.
    public enum Piece: Equatable, Sendable {
        /// This many bytes of data, to be consumed by the caller; more of the chunk may follow.
        case data(Int)
        /// All bytes that can be used now are consumed.
        case incomplete
        /// Bytes of the trailer section's fields, which are consumed: one line, or a part of one.
        case trailers(Range<Int>)
        /// The last chunk and the trailer section are consumed.
        case end
    }

    /// Bounds on what stands around the data, each at most 2^31 bytes.
    public struct Limits: Sendable, BitwiseCopyable {
        /// Bytes of one size line without its end.
        public var line: UInt32
        /// Bytes of all extensions of a body.
        public var extensions: UInt32
        /// Bytes of the trailer section.
        public var trailers: UInt32

        public init(line: Int = 256, extensions: Int = 4 << 10, trailers: Int = 8 << 10) {
            self.line = UInt32(clamping: line)
            self.extensions = UInt32(clamping: extensions)
            self.trailers = UInt32(clamping: trailers)
        }
    }

    private enum State: BitwiseCopyable {
        case size, afterSize, sizeFeed, data, dataReturn, dataFeed
        case extensionStart, extensionName, afterName, valueStart, token, quoted, escaped, afterQuoted
        case trailerStart, trailerName, trailerValue, trailerFeed, lastFeed, done
    }

    private var state = State.size
    private var remaining: UInt64 = 0
    private var hasDigits = false
    private let limits: Limits
    private var lineLength: UInt32 = 0
    private var extensionsLength: UInt32 = 0
    private var trailersLength: UInt32 = 0

    public init(limits: Limits = Limits()) { self.limits = limits }

    public var isDone: Bool { state == .done }

    /// Consumes framing from `position` on, up to the next data, the end or the last byte.
    /// With `.data(count)`, `position` stands at the first data byte and the bytes count as taken.
    public mutating func next(_ bytes: Span<UInt8>, at position: inout Int) throws(ProtocolError) -> Piece {
        while position < bytes.count {
            if state == .data {
                let count = Int(min(remaining, UInt64(bytes.count - position)))
                remaining -= UInt64(count)
                if remaining == 0 { state = .dataReturn }
                return .data(count)
            }
            if state == .done { return .end }
            if isInTrailer(bytes[position]) {
                let start = position
                repeat {
                    try step(bytes[position])
                    position += 1
                } while position < bytes.count && state != .trailerStart
                return .trailers(start..<position)
            }
            try step(bytes[position])
            position += 1
        }
        return state == .done ? .end : .incomplete
    }

    /// The next byte belongs to a field, not to the section's end.
    private func isInTrailer(_ byte: UInt8) -> Bool {
        switch state {
        case .trailerStart: byte != 0x0d
        case .trailerName, .trailerValue, .trailerFeed: true
        case _: false
        }
    }

    private mutating func step(_ byte: UInt8) throws(ProtocolError) {
        switch state {
        case .size: try stepSize(byte)
        case .afterSize, .extensionStart, .extensionName, .afterName, .valueStart, .token, .quoted, .escaped,
            .afterQuoted:
            try stepExtensions(byte)
        case .sizeFeed:
            try expect(byte, 0x0a)
            lineLength = 0
            state = remaining == 0 ? .trailerStart : .data
        case .dataReturn:
            try expect(byte, 0x0d)
            state = .dataFeed
        case .dataFeed:
            try expect(byte, 0x0a)
            hasDigits = false
            state = .size
        case .trailerStart, .trailerName, .trailerValue, .trailerFeed, .lastFeed: try stepTrailers(byte)
        case .data, .done: break
        }
    }

    private mutating func stepSize(_ byte: UInt8) throws(ProtocolError) {
        try countLine(byte)
        if let digit = Self.hexDigit(byte) {
            // 2^59 bytes is more than any body; refusing here keeps every later sum far from overflow.
            guard remaining < 1 << 55 else { throw .malformedChunk }
            remaining = remaining << 4 | digit
            hasDigits = true
            return
        }
        guard hasDigits else { throw .malformedChunk }
        switch byte {
        case 0x0d: state = .sizeFeed
        case UInt8(ascii: ";"): state = .extensionStart
        case 0x20, 0x09: state = .afterSize
        default: throw .malformedChunk
        }
    }

    /// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`: the blanks are "bad whitespace" that a recipient
    /// must read over (RFC 9112, 7.1.1). Extensions are read over too, and are never forwarded.
    private mutating func stepExtensions(_ byte: UInt8) throws(ProtocolError) {
        try countLine(byte)
        if byte != 0x0d { extensionsLength += 1 }
        guard extensionsLength <= limits.extensions else { throw .chunkExtensionsTooLong }
        let isToken = ByteScan.isTokenByte(byte)
        let isBlank = ByteScan.isBlank(byte)
        switch (state, byte) {
        case (.afterSize, _) where isBlank, (.extensionStart, _) where isBlank, (.afterName, _) where isBlank,
            (.valueStart, _) where isBlank:
            break
        case (.extensionStart, _) where isToken, (.extensionName, _) where isToken: state = .extensionName
        case (.valueStart, _) where isToken, (.token, _) where isToken: state = .token
        case (.extensionName, UInt8(ascii: "=")), (.afterName, UInt8(ascii: "=")): state = .valueStart
        case (.valueStart, UInt8(ascii: "\"")): state = .quoted
        case (.quoted, UInt8(ascii: "\"")): state = .afterQuoted
        case (.quoted, UInt8(ascii: "\\")): state = .escaped
        case (.quoted, _) where isBlank || byte >= 0x20 && byte != 0x7f,
            (.escaped, _) where isBlank || byte >= 0x20 && byte != 0x7f:
            state = .quoted
        case (.extensionName, _) where isBlank: state = .afterName
        case (.token, _) where isBlank, (.afterQuoted, _) where isBlank: state = .afterSize
        case (.afterSize, UInt8(ascii: ";")), (.extensionName, UInt8(ascii: ";")), (.afterName, UInt8(ascii: ";")),
            (.token, UInt8(ascii: ";")), (.afterQuoted, UInt8(ascii: ";")):
            state = .extensionStart
        case (.extensionName, 0x0d), (.token, 0x0d), (.afterQuoted, 0x0d): state = .sizeFeed
        case _: throw .malformedChunk
        }
    }

    /// Trailer fields are checked as fields are; which of them pass is decided elsewhere.
    private mutating func stepTrailers(_ byte: UInt8) throws(ProtocolError) {
        trailersLength += 1
        guard trailersLength <= limits.trailers else { throw .trailersTooLarge }
        switch state {
        case .trailerStart:
            if byte == 0x0d {
                state = .lastFeed
            } else {
                guard ByteScan.isTokenByte(byte) else { throw .malformedField }
                state = .trailerName
            }
        case .trailerName:
            if byte == UInt8(ascii: ":") {
                state = .trailerValue
            } else {
                guard ByteScan.isTokenByte(byte) else { throw .malformedField }
            }
        case .trailerValue:
            if byte == 0x0d {
                state = .trailerFeed
            } else {
                guard byte == 0x09 || byte >= 0x20 && byte != 0x7f else { throw .malformedField }
            }
        case .trailerFeed:
            guard byte == 0x0a else { throw .malformedField }
            state = .trailerStart
        case .lastFeed:
            try expect(byte, 0x0a)
            state = .done
        case .size, .afterSize, .sizeFeed, .data, .dataReturn, .dataFeed, .done, .extensionStart, .extensionName,
            .afterName, .valueStart, .token, .quoted, .escaped, .afterQuoted:
            break
        }
    }

    /// The end of a line is not counted.
    private mutating func countLine(_ byte: UInt8) throws(ProtocolError) {
        if byte != 0x0d { lineLength += 1 }
        guard lineLength <= limits.line else { throw .chunkLineTooLong }
    }

    private func expect(_ byte: UInt8, _ expected: UInt8) throws(ProtocolError) {
        guard byte == expected else { throw .malformedChunk }
    }

    private static func hexDigit(_ byte: UInt8) -> UInt64? {
        switch byte {
        case 0x30...0x39: UInt64(byte - 0x30)
        case 0x41...0x46: UInt64(byte - 0x41 + 10)
        case 0x61...0x66: UInt64(byte - 0x61 + 10)
        default: nil
        }
    }
}
