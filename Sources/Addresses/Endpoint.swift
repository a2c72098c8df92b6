// Where a socket listens or connects to. It never holds a name that would need resolving.

/// An IP address with a port, or a UNIX socket.
public enum Endpoint: Hashable, Sendable {
    case ip(IPAddress, port: UInt16)
    /// By its path; empty for a peer that has bound none, as clients do.
    case unix(String)

    /// The bytes that a path may have: what `sockaddr_un` holds without its end (unix(7)).
    public static let longestPath = 107

    public init(_ address: IPAddress, port: UInt16) { self = .ip(address, port: port) }

    /// Nil for UNIX sockets.
    public var address: IPAddress? { if case .ip(let address, _) = self { address } else { nil } }

    /// 0 for UNIX sockets.
    public var port: UInt16 { if case .ip(_, let port) = self { port } else { 0 } }

    /// What stands in Host where a request has none: UNIX sockets have no name.
    public var authority: String { if case .ip = self { description } else { "localhost" } }
}

extension Endpoint: CustomStringConvertible {
    /// `10.0.0.1:80`, `[2001:db8::1]:80` (RFC 3986, 3.2.2) or `unix:/run/app.sock`.
    public var description: String {
        switch self {
        case .ip(let address, let port): address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}
