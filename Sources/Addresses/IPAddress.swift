// An IP address as one 128-bit number: IPv4 lives at ::ffff:0:0/96, so both spellings of one host are equal.
// It never resolves names and never knows of sockets.

/// An IPv4 or IPv6 address. IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) are the IPv4 address they map.
public struct IPAddress: Hashable, Sendable {
    /// The address as a number, most significant byte first; IPv4 as `::ffff:a.b.c.d`.
    public let bits: UInt128

    private static let mappedPrefix: UInt128 = 0xffff << 32

    public init(bits: UInt128) { self.bits = bits }

    /// An IPv4 address from its 32 bits, most significant byte first.
    public init(v4 bits: UInt32) { self.bits = Self.mappedPrefix | UInt128(bits) }

    public var isIPv4: Bool { bits >> 32 == 0xffff }
    public var isLoopback: Bool { isIPv4 ? v4Bits >> 24 == 127 : bits == 1 }

    /// `0.0.0.0` or `::`: as a listener, every address of the machine.
    public var isUnspecified: Bool { isIPv4 ? v4Bits == 0 : bits == 0 }

    /// The low 32 bits: the address itself where `isIPv4`.
    public var v4Bits: UInt32 { UInt32(truncatingIfNeeded: bits) }

    public static let anyIPv6 = IPAddress(bits: 0)
    public static let anyIPv4 = IPAddress(v4: 0)
    public static let loopback = IPAddress(v4: 0x7f00_0001)

    /// Parses the textual form; nil for anything else, names and zone identifiers included.
    public init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        guard bytes.count <= 45 else { return nil }
        if bytes.contains(UInt8(ascii: ":")) {
            guard let bits = Self.parseIPv6(bytes[...]) else { return nil }
            self.init(bits: bits)
        } else {
            guard let bits = Self.parseIPv4(bytes[...]) else { return nil }
            self.init(v4: bits)
        }
    }

    /// Four decimal octets; no leading zeros, because some readers take those as octal.
    private static func parseIPv4(_ bytes: ArraySlice<UInt8>) -> UInt32? {
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bits: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count), part.count == 1 || part.first != UInt8(ascii: "0") else { return nil }
            var octet: UInt32 = 0
            for byte in part {
                guard byte >= 0x30, byte <= 0x39 else { return nil }
                octet = octet * 10 + UInt32(byte - 0x30)
            }
            guard octet <= 255 else { return nil }
            bits = bits << 8 | octet
        }
        return bits
    }

    /// RFC 4291, 2.2: eight groups, one `::`, and a dotted tail.
    private static func parseIPv6(_ bytes: ArraySlice<UInt8>) -> UInt128? {
        let colon = UInt8(ascii: ":")
        var gap: Int?
        var position = bytes.startIndex
        while position + 1 < bytes.endIndex {
            if bytes[position] == colon, bytes[position + 1] == colon {
                gap = position
                break
            }
            position += 1
        }
        guard let gap else {
            guard let groups = groups(of: bytes), groups.count == 8 else { return nil }
            return number(of: groups)
        }
        // A dotted part ends an address, so it cannot stand before the gap.
        guard !bytes[..<gap].contains(UInt8(ascii: ".")), let head = groups(of: bytes[..<gap]),
            let tail = groups(of: bytes[(gap + 2)...])
        else { return nil }
        guard head.count + tail.count <= 7 else { return nil }
        return number(of: head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail)
    }

    private static func number(of groups: [UInt16]) -> UInt128 {
        groups.reduce(0) { $0 << 16 | UInt128($1) }
    }

    private static func groups(of bytes: ArraySlice<UInt8>) -> [UInt16]? {
        if bytes.isEmpty { return [] }
        var groups: [UInt16] = []
        let parts = bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if index == parts.count - 1, part.contains(UInt8(ascii: ".")) {
                guard let bits = parseIPv4(part) else { return nil }
                groups.append(UInt16(truncatingIfNeeded: bits >> 16))
                groups.append(UInt16(truncatingIfNeeded: bits))
                continue
            }
            guard (1...4).contains(part.count) else { return nil }
            var group: UInt16 = 0
            for byte in part {
                guard let digit = hexValue(byte) else { return nil }
                group = group << 4 | digit
            }
            groups.append(group)
        }
        return groups
    }

    private static func hexValue(_ byte: UInt8) -> UInt16? {
        switch byte {
        case 0x30...0x39: UInt16(byte - 0x30)
        case 0x41...0x46: UInt16(byte - 0x41 + 10)
        case 0x61...0x66: UInt16(byte - 0x61 + 10)
        default: nil
        }
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted for IPv4; RFC 5952's canonical form for IPv6.
    public var description: String {
        if isIPv4 {
            let v4 = v4Bits
            return "\(v4 >> 24).\(v4 >> 16 & 255).\(v4 >> 8 & 255).\(v4 & 255)"
        }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> UInt128(112 - 16 * $0)) }
        guard let zeros = Self.longestZeros(in: groups) else { return Self.hex(groups[...]) }
        return Self.hex(groups[..<zeros.lowerBound]) + "::" + Self.hex(groups[zeros.upperBound...])
    }

    private static func hex(_ groups: ArraySlice<UInt16>) -> String {
        groups.map { String($0, radix: 16) }.joined(separator: ":")
    }

    /// The first longest run of at least two zero groups.
    private static func longestZeros(in groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start = 0
        while start < groups.count {
            var end = start
            while end < groups.count, groups[end] == 0 { end += 1 }
            if end - start >= 2, end - start > best?.count ?? 0 { best = start..<end }
            start = end + 1
        }
        return best
    }
}
