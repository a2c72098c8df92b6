// The id under which a request is forwarded, logged and answered. It never takes a client's id that could not be logged.
public import HTTP

/// `X-Request-ID`: the client's own where it is 1 to 128 of `[A-Za-z0-9._-]`, else 32 hexadecimal digits.
public enum RequestID {
    public static let maximumCount = 128

    /// Where the client's own id stands, if it may be kept.
    public static func own(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> ByteRange? {
        guard head.present.contains(.xRequestID) else { return nil }
        var found: ByteRange?
        for index in 0..<head.fieldCount where head.field(index).known == .xRequestID {
            // Two ids are none: there is no telling which one others would take.
            if found != nil { return nil }
            found = head.field(index).value
        }
        guard let found, (1...maximumCount).contains(found.count) else { return nil }
        for index in found.indices where !isAllowed(bytes[index]) { return nil }
        return found
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
        default: false
        }
    }

    /// The digits of a made id.
    public static func made(from high: UInt64, _ low: UInt64) -> InlineArray<32, UInt8> {
        var digits = InlineArray<32, UInt8>(repeating: 0)
        for position in 0..<32 {
            let word = position < 16 ? high : low
            let digit = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * (position % 16)) & 15)
            digits[position] = digit < 10 ? 0x30 + digit : 0x57 + digit
        }
        return digits
    }
}
