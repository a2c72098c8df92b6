// Names to addresses by the system's resolver. It blocks: never called from a loop.
public import Addresses
import CLinux
import Dispatch
import Glibc
import Synchronization

/// Looks names up.
public enum Resolver {
    /// A name that has no address now.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        public let name: String
        public let reason: String
        public var description: String { "cannot resolve '\(name)': \(reason)" }
    }

    /// What each of `names` leads to, looked up side by side: one that is slow keeps nobody but itself waiting.
    public static func resolve(_ names: [String]) -> [String: Result<[IPAddress], Failure>] {
        let results = Mutex<[String: Result<[IPAddress], Failure>]>([:])
        let queue = DispatchQueue(label: "ballast.resolver", attributes: .concurrent)
        let group = DispatchGroup()
        let places = DispatchSemaphore(value: atOnce)
        for name in Set(names) where IPAddress(name) == nil {
            places.wait()
            queue.async(group: group) {
                let result = Result { () throws(Failure) in try addresses(of: name) }
                results.withLock { $0[name] = result }
                places.signal()
            }
        }
        group.wait()
        return results.withLock { $0 }
    }

    private static let atOnce = 32

    /// Every address of `name`, in the resolver's order, each once.
    public static func addresses(of name: String) throws(Failure) -> [IPAddress] {
        if let address = IPAddress(name) { return [address] }
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_ADDRCONFIG
        var first: UnsafeMutablePointer<addrinfo>?
        let code = unsafe getaddrinfo(name, nil, &hints, &first)
        guard code == 0 else {
            throw Failure(name: name, reason: unsafe String(cString: gai_strerror(code)).lowercased())
        }
        defer { unsafe freeaddrinfo(first) }
        var found: [IPAddress] = []
        var next = unsafe first
        while let entry = unsafe next {
            if let address = unsafe address(entry.pointee), !found.contains(address) { found.append(address) }
            unsafe next = entry.pointee.ai_next
        }
        return found
    }

    private static func address(_ info: addrinfo) -> IPAddress? {
        switch unsafe info.ai_family {
        case AF_INET:
            let v4 = unsafe UnsafeRawPointer(info.ai_addr).loadUnaligned(as: sockaddr_in.self)
            return IPAddress(v4: UInt32(bigEndian: v4.sin_addr.s_addr))
        case AF_INET6:
            let v6 = unsafe UnsafeRawPointer(info.ai_addr).loadUnaligned(as: sockaddr_in6.self)
            let bits = unsafe withUnsafeBytes(of: v6.sin6_addr) { unsafe $0.loadUnaligned(as: UInt128.self) }
            return IPAddress(bits: UInt128(bigEndian: bits))
        case _:
            return nil
        }
    }
}
