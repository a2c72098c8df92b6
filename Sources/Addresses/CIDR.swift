// A range of addresses by prefix. It never looks anything up.

/// A block of addresses, `10.0.0.0/8` or `2001:db8::/32` (RFC 4632, RFC 4291 2.3); a bare address is a block of one.
public struct CIDR: Hashable, Sendable {
    /// The first address of the block; the bits past the prefix are 0.
    public let base: IPAddress
    /// Prefix length counted in the 128-bit form, 0 to 128; an IPv4 `/8` is 104.
    public let prefixLength: Int

    /// A block around `address`; nil where `prefix` is longer than the address.
    public init?(_ address: IPAddress, prefix: Int) {
        let offset = address.isIPv4 ? 96 : 0
        guard prefix >= 0, prefix + offset <= 128 else { return nil }
        prefixLength = prefix + offset
        base = IPAddress(bits: address.bits & Self.mask(prefixLength))
    }

    /// Parses `address/prefix` or a bare address; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = IPAddress(parts[0]) else { return nil }
        guard parts.count == 2 else {
            self.init(address, prefix: address.isIPv4 ? 32 : 128)
            return
        }
        guard (1...3).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let prefix = Int(parts[1])
        else { return nil }
        self.init(address, prefix: prefix)
    }

    public func contains(_ address: IPAddress) -> Bool {
        address.bits & Self.mask(prefixLength) == base.bits
    }

    private static func mask(_ length: Int) -> UInt128 {
        length == 0 ? 0 : ~0 << UInt128(128 - length)
    }
}
