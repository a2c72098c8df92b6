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
        /// The last chunk and the trailer section are consumed.
        case end
    }

    /// Bytes of one size line, of all extensions of a body, and of the trailer section.
    static let lineLimit = 256
    static let extensionsLimit = 4 << 10
    static let trailersLimit = 8 << 10

    private enum State: BitwiseCopyable {
        case size, afterSize, extensions, sizeFeed, data, dataReturn, dataFeed
        case trailerStart, trailerName, trailerValue, trailerFeed, lastFeed, done
    }

    private var state = State.size
    private var remaining: UInt64 = 0
    private var hasDigits = false
    private var lineLength = 0
    private var extensionsLength = 0
    private var trailersLength = 0

    public init() {}

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
            try step(bytes[position])
            position += 1
        }
        return state == .done ? .end : .incomplete
    }

    private mutating func step(_ byte: UInt8) throws(ProtocolError) {
        switch state {
        case .size: try stepSize(byte)
        case .afterSize, .extensions: try stepExtensions(byte)
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
        try countLine()
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
        case UInt8(ascii: ";"): state = .extensions
        case 0x20, 0x09: state = .afterSize
        default: throw .malformedChunk
        }
    }

    /// Blanks between size and `;` are "bad whitespace" that a recipient must read over (RFC 9112, 7.1.1); the
    /// extensions themselves are read over too, and are never forwarded.
    private mutating func stepExtensions(_ byte: UInt8) throws(ProtocolError) {
        try countLine()
        extensionsLength += 1
        guard extensionsLength <= Self.extensionsLimit else { throw .chunkLineTooLong }
        if state == .afterSize {
            if ByteScan.isBlank(byte) { return }
            guard byte == UInt8(ascii: ";") else { throw .malformedChunk }
            state = .extensions
        } else if byte == 0x0d {
            state = .sizeFeed
        } else {
            guard byte == 0x09 || byte >= 0x20 && byte != 0x7f else { throw .malformedChunk }
        }
    }

    /// Trailer fields are checked as fields are, and dropped (RFC 9110, 6.5.1 allows it).
    private mutating func stepTrailers(_ byte: UInt8) throws(ProtocolError) {
        trailersLength += 1
        guard trailersLength <= Self.trailersLimit else { throw .trailersTooLarge }
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
        case .size, .afterSize, .extensions, .sizeFeed, .data, .dataReturn, .dataFeed, .done: break
        }
    }

    private mutating func countLine() throws(ProtocolError) {
        lineLength += 1
        guard lineLength <= Self.lineLimit else { throw .chunkLineTooLong }
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
