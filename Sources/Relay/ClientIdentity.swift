// Who asks: the address that policies, limits, logs and servers go by, and which of a peer's words about it are believed.
public import Addresses
import Balancing
public import HTTP

/// A connection's peer, or the client that a trusted peer speaks for.
public struct ClientIdentity: Sendable {
    /// Nil of a UNIX socket's peer, which has none.
    public let ip: IPAddress?
    /// The same in text; empty where there is none.
    public let address: [UInt8]
    /// The peer's own `X-Forwarded-*` and `X-Real-IP` are believed.
    public let isTrusted: Bool
    /// Its connection is secured.
    public var isSecure = false
    /// A hash of the address: where `ip-hash` leads. IPv6 clients own a /64.
    public let affinity: UInt64

    /// - Parameter ip: nil for a UNIX socket's peer.
    public init(_ ip: IPAddress?, isTrusted: Bool) {
        self.ip = ip
        self.isTrusted = isTrusted
        address = ip.map { Array($0.description.utf8) } ?? []
        let bits = ip.map { $0.isIPv4 ? $0.bits : $0.bits >> 64 } ?? 0
        affinity = FixedHash.mixed(
            FixedHash.mixed(UInt64(truncatingIfNeeded: bits >> 64)) ^ UInt64(truncatingIfNeeded: bits))
    }

    /// For logs.
    public var text: String { ip == nil ? "unix" : String(decoding: address, as: UTF8.self) }

    /// Addresses of X-Forwarded-For that are looked at: more proxies stand behind each other nowhere.
    private static let mostHops = 32

    /// The client that a trusted peer speaks for: of the addresses in X-Forwarded-For the last one that is not a trusted
    /// proxy's; where all are, the first of them. Nil where the peer says nothing that can be read.
    public static func forwarded(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, trusted: [CIDR]
    ) -> IPAddress? {
        var client: IPAddress?
        var hops = 0
        for index in stride(from: head.fieldCount - 1, through: 0, by: -1)
        where head.field(index).known == .xForwardedFor {
            let value = head.field(index).value
            var end = value.end
            while end > value.start {
                var start = end
                while start > value.start, bytes[start - 1] != UInt8(ascii: ",") { start -= 1 }
                let element = ByteScan.trimmed(bytes, ByteRange(start: start, count: end - start))
                end = start - 1
                if element.isEmpty { continue }
                hops += 1
                // Who wrote what cannot be read is nobody to go by, and neither is anybody before.
                guard hops <= mostHops, let address = address(bytes, element) else { return client }
                client = address
                guard trusted.contains(where: { $0.contains(address) }) else { return client }
            }
        }
        return client
    }

    /// `10.0.0.1`, `10.0.0.1:80`, `2001:db8::1` or `[2001:db8::1]:80`: proxies write all of them.
    private static func address(_ bytes: Span<UInt8>, _ range: ByteRange) -> IPAddress? {
        guard range.count <= 64 else { return nil }
        var text: [UInt8] = []
        for index in range.indices { text.append(bytes[index]) }
        var host = text[...]
        if host.first == UInt8(ascii: "["), let close = host.firstIndex(of: UInt8(ascii: "]")) {
            host = host[(host.startIndex + 1)..<close]
        } else if let colon = host.firstIndex(of: UInt8(ascii: ":")), host.lastIndex(of: UInt8(ascii: ":")) == colon {
            host = host[..<colon]
        }
        return IPAddress(String(decoding: host, as: UTF8.self))
    }
}
