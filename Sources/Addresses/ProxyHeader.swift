// What a proxy that hands a connection on says first: whose it is. The PROXY protocol, versions 1 and 2, as HAProxy's
// proxy-protocol.txt has it. It believes nobody by itself: who may send one is decided elsewhere.

/// The header of the PROXY protocol.
public struct ProxyHeader: Equatable, Sendable {
    /// Whose connection it is.
    public enum Source: Equatable, Sendable {
        /// The proxy's own: a check.
        case proxy
        /// Somebody's whom the proxy cannot name.
        case unknown
        case client(Endpoint)
    }

    public let source: Source
    /// Bytes of the header; what follows is the client's.
    public let byteCount: Int

    /// Bytes that are no such header.
    public struct Malformed: Error, Equatable, Sendable {}

    /// Bytes of a header's line in version 1 at most, and of what may follow the fixed part in version 2: addresses and
    /// some kilobytes about the proxy's connection.
    private static let longestLine = 107
    private static let longestRest = 4096

    /// Bytes of any header, at most.
    public static let longest = fixed + longestRest
    private static let fixed = 16

    private static let signature: InlineArray<12, UInt8> = [
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
    ]
    private static let word: InlineArray<6, UInt8> = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]  // "PROXY "

    /// Reads the header that `bytes` begin with; nil while it has not wholly arrived.
    public static func parse(_ bytes: Span<UInt8>) throws(Malformed) -> ProxyHeader? {
        guard bytes.count > 0 else { return nil }
        return bytes[0] == word[0] ? try parseLine(bytes) : try parseBinary(bytes)
    }

    // MARK: Version 1

    /// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, each behind one blank; or `PROXY UNKNOWN` and anything.
    private static func parseLine(_ bytes: Span<UInt8>) throws(Malformed) -> ProxyHeader? {
        for index in 0..<min(bytes.count, word.count) where bytes[index] != word[index] { throw Malformed() }
        var end = 0
        while end < bytes.count, bytes[end] != 0x0d {
            // The line is visible ASCII and blanks.
            guard bytes[end] >= 0x20, bytes[end] < 0x7f, end < longestLine - 2 else { throw Malformed() }
            end += 1
        }
        guard end + 1 < bytes.count else { return nil }
        guard bytes[end + 1] == 0x0a, end > word.count else { throw Malformed() }
        var copy: [UInt8] = []
        for index in word.count..<end { copy.append(bytes[index]) }
        let words = copy.split(separator: 0x20, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        if words[0] == "UNKNOWN" { return ProxyHeader(source: .unknown, byteCount: end + 2) }
        guard words.count == 5, words[0] == "TCP4" || words[0] == "TCP6", let port = Self.port(words[3]),
            Self.port(words[4]) != nil, let source = address(words[1], words[0]), address(words[2], words[0]) != nil
        else { throw Malformed() }
        return ProxyHeader(source: .client(Endpoint(source, port: port)), byteCount: end + 2)
    }

    /// An address as its family is written; IPv4 in IPv6's clothes is IPv4.
    private static func address(_ text: String, _ family: String) -> IPAddress? {
        guard text.utf8.contains(UInt8(ascii: ":")) == (family == "TCP6") else { return nil }
        return IPAddress(text)
    }

    private static func port(_ text: String) -> UInt16? {
        guard text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), text == "0" || text.first != "0" else { return nil }
        return UInt16(text)
    }

    // MARK: Version 2

    private static func parseBinary(_ bytes: Span<UInt8>) throws(Malformed) -> ProxyHeader? {
        for index in 0..<min(bytes.count, signature.count) where bytes[index] != signature[index] { throw Malformed() }
        guard bytes.count >= fixed else { return nil }
        let rest = Int(bytes[14]) << 8 | Int(bytes[15])
        guard rest <= longestRest else { throw Malformed() }
        let end = fixed + rest
        switch bytes[12] {
        case 0x20:
            // LOCAL: whatever stands behind it means nothing.
            return bytes.count < end ? nil : ProxyHeader(source: .proxy, byteCount: end)
        case 0x21:
            guard let room = roomForAddresses(bytes[13]), rest >= room else { throw Malformed() }
            return bytes.count < end ? nil : ProxyHeader(source: source(bytes), byteCount: end)
        case _:
            throw Malformed()
        }
    }

    /// Bytes of both addresses and ports of a family over a stream; nil for what is no stream, or unknown.
    private static func roomForAddresses(_ family: UInt8) -> Int? {
        switch family {
        case 0x00: 0
        case 0x11: 12
        case 0x21: 36
        case 0x31: 216
        case _: nil
        }
    }

    private static func source(_ bytes: Span<UInt8>) -> Source {
        switch bytes[13] {
        case 0x11:
            let address = IPAddress(v4: UInt32(truncatingIfNeeded: number(bytes, fixed, 4)))
            return .client(Endpoint(address, port: UInt16(truncatingIfNeeded: number(bytes, fixed + 8, 2))))
        case 0x21:
            let address = IPAddress(bits: number(bytes, fixed, 16))
            return .client(Endpoint(address, port: UInt16(truncatingIfNeeded: number(bytes, fixed + 32, 2))))
        case 0x31: return .client(.unix(""))
        case _: return .unknown
        }
    }

    private static func number(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> UInt128 {
        var number: UInt128 = 0
        for index in start..<(start + count) { number = number << 8 | UInt128(bytes[index]) }
        return number
    }
}
