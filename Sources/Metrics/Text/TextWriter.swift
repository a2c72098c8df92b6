// Text as bytes, put together piece by piece: exposition, page and API of a thousand servers are megabytes. Whoever writes
// says where the text stands, and it is escaped for that place.

/// Bytes of a text that is being written.
public struct TextWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init() {}

    /// What was written, for where text is wanted.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    /// As it is.
    public mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

    public mutating func raw(_ other: TextWriter) { bytes.append(contentsOf: other.bytes) }

    public mutating func raw(_ other: [UInt8]) { bytes.append(contentsOf: other) }

    mutating func byte(_ byte: UInt8) { bytes.append(byte) }

    public mutating func number(_ value: Int) {
        if value >= 0, value < 10 { return bytes.append(0x30 + UInt8(truncatingIfNeeded: value)) }
        var rest = value.magnitude
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var count = 0
        repeat {
            digits[count] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
            count += 1
        } while rest > 0
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        while count > 0 {
            count -= 1
            bytes.append(digits[count])
        }
    }

    /// With `places` digits behind the point, rounded.
    mutating func number(_ value: Double, places: Int) {
        var factor = 1.0
        for _ in 0..<places { factor *= 10 }
        let whole = (value.magnitude * factor).rounded()
        guard whole < 9e18 else { return raw("0") }
        let scaled = Int(whole)
        if value < 0, scaled > 0 { byte(UInt8(ascii: "-")) }
        number(scaled / Int(factor))
        guard places > 0 else { return }
        byte(UInt8(ascii: "."))
        var digit = Int(factor) / 10
        while digit > 0 {
            byte(0x30 + UInt8(scaled / digit % 10))
            digit /= 10
        }
    }

    // MARK: Places

    /// Between tags of HTML, or in an attribute's quotes. Controls, and what is no UTF-8, are shown as replaced.
    mutating func html(_ text: String) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "&"): raw("&amp;")
            case UInt8(ascii: "<"): raw("&lt;")
            case UInt8(ascii: ">"): raw("&gt;")
            case UInt8(ascii: "\""): raw("&quot;")
            case UInt8(ascii: "'"): raw("&#39;")
            case 0..<0x20, 0x7f: raw("\u{fffd}")
            case _: bytes.append(byte)
            }
        }
    }

    /// A string of JSON with its quotes (RFC 8259, 7).
    public mutating func json(_ text: String) {
        byte(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": raw("\\\"")
            case "\\": raw("\\\\")
            case "\n": raw("\\n")
            case "\t": raw("\\t")
            case "\r": raw("\\r")
            case "\u{2028}", "\u{2029}", "\u{7f}",
                _ where scalar.value < 0x20:
                escape(scalar.value)
            case _: bytes.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
            }
        }
        byte(UInt8(ascii: "\""))
    }

    /// `\uNNNN`.
    private mutating func escape(_ value: UInt32) {
        raw("\\u")
        let digits = String(value, radix: 16)
        for _ in digits.utf8.count..<4 { byte(0x30) }
        raw(digits)
    }

    /// A field of CSV with its quotes (RFC 4180). What a spreadsheet would take for a formula begins with an apostrophe.
    mutating func csv(_ text: String) {
        byte(UInt8(ascii: "\""))
        if let first = text.utf8.first, "=+-@\t\r".utf8.contains(first) { byte(UInt8(ascii: "'")) }
        for character in text.utf8 {
            switch character {
            case UInt8(ascii: "\""): raw("\"\"")
            case 0..<0x20, 0x7f: byte(0x20)
            case _: bytes.append(character)
            }
        }
        byte(UInt8(ascii: "\""))
    }

    /// A label's value in an exposition: backslash, quote and line feed as the format says; other bytes outside printable
    /// ASCII as `?`.
    mutating func label(_ value: String) {
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): raw("\\\\")
            case UInt8(ascii: "\""): raw("\\\"")
            case 0x0a: raw("\\n")
            case 0x20..<0x7f: bytes.append(byte)
            case _: bytes.append(UInt8(ascii: "?"))
            }
        }
    }
}
