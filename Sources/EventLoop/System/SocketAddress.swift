// Endpoints in the system's own form and back. It never resolves names.
import Addresses
import CLinux
import Glibc

/// An address as socket calls take it.
struct SocketAddress {
    private var storage = sockaddr_storage()
    private(set) var size = socklen_t(MemoryLayout<sockaddr_storage>.size)

    var family: Int32 { Int32(storage.ss_family) }

    /// Room for the system to write an address into.
    init() {}

    init(_ endpoint: Endpoint) {
        switch endpoint {
        case .ip(let address, let port) where address.isIPv4:
            var v4 = sockaddr_in()
            v4.sin_family = sa_family_t(AF_INET)
            v4.sin_port = port.bigEndian
            v4.sin_addr.s_addr = address.v4Bits.bigEndian
            set(v4)
        case .ip(let address, let port):
            var v6 = sockaddr_in6()
            v6.sin6_family = sa_family_t(AF_INET6)
            v6.sin6_port = port.bigEndian
            let bits = address.bits.bigEndian
            unsafe withUnsafeMutableBytes(of: &v6.sin6_addr) { bytes in
                unsafe bytes.storeBytes(of: bits, as: UInt128.self)
            }
            set(v6)
        case .unix(let path):
            var local = sockaddr_un()
            local.sun_family = sa_family_t(AF_UNIX)
            unsafe withUnsafeMutableBytes(of: &local.sun_path) { bytes in
                // The settings let no longer path pass; the byte behind it stays 0.
                unsafe bytes.copyBytes(from: path.utf8.prefix(Endpoint.longestPath))
            }
            set(local)
        }
    }

    private mutating func set<T>(_ address: T) {
        size = socklen_t(MemoryLayout<T>.size)
        // Every sockaddr_* fits into sockaddr_storage; that is what it is for.
        unsafe withUnsafeMutableBytes(of: &storage) { unsafe $0.storeBytes(of: address, as: T.self) }
    }

    /// The endpoint; nil for families other than IPv4, IPv6 and UNIX.
    var endpoint: Endpoint? {
        switch Int32(storage.ss_family) {
        case AF_INET:
            let v4 = unsafe withUnsafeBytes(of: storage) { unsafe $0.load(as: sockaddr_in.self) }
            let address = IPAddress(v4: UInt32(bigEndian: v4.sin_addr.s_addr))
            return Endpoint(address, port: UInt16(bigEndian: v4.sin_port))
        case AF_INET6:
            let v6 = unsafe withUnsafeBytes(of: storage) { unsafe $0.load(as: sockaddr_in6.self) }
            let bits = unsafe withUnsafeBytes(of: v6.sin6_addr) { unsafe $0.loadUnaligned(as: UInt128.self) }
            return Endpoint(IPAddress(bits: UInt128(bigEndian: bits)), port: UInt16(bigEndian: v6.sin6_port))
        case AF_UNIX:
            let local = unsafe withUnsafeBytes(of: storage) { unsafe $0.load(as: sockaddr_un.self) }
            let path = unsafe withUnsafeBytes(of: local.sun_path) { unsafe Array($0.prefix { $0 != 0 }) }
            return .unix(String(decoding: path, as: UTF8.self))
        case _:
            return nil
        }
    }

    func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        unsafe withUnsafePointer(to: storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, size) }
        }
    }

    mutating func withMutablePointer<R>(
        _ body: (UnsafeMutablePointer<sockaddr_storage>, UnsafeMutablePointer<socklen_t>) -> R
    ) -> R {
        unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe withUnsafeMutablePointer(to: &size) { unsafe body(pointer, $0) }
        }
    }
}
