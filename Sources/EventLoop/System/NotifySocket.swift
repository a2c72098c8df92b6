// Datagrams to the service manager (sd_notify(3)), without its library. What they say is the daemon's affair.
import CLinux
import Glibc

/// The socket that NOTIFY_SOCKET names.
public final class NotifySocket: Sendable {
    private let socket: Descriptor
    private let address: sockaddr_un
    private let size: socklen_t
    /// How often the manager wants to hear of a process that lives; nil where it does not ask.
    public let watchdog: Duration?

    /// Nil where nobody listens. The variables are removed: they are meant for this process alone.
    public init?() {
        let path = File.environment("NOTIFY_SOCKET") ?? ""
        let watchdog = Self.watchdogInterval
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsafe unsetenv(name) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.first == UInt8(ascii: "/") || bytes.first == UInt8(ascii: "@"),
            bytes.count < MemoryLayout.size(ofValue: address.sun_path)
        else { return nil }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        // '@' stands for the zero byte of an abstract name, which ends where its length says.
        if bytes[0] == UInt8(ascii: "@") { address.sun_path.0 = 0 }
        let number = clinux_datagram_socket(AF_UNIX)
        guard number >= 0 else { return nil }
        // A manager that is busy is waited for, but not for ever.
        var limit = timeval(tv_sec: 1, tv_usec: 0)
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        socket = Descriptor(owning: number)
        self.address = address
        self.watchdog = watchdog
        size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
    }

    private static var watchdogInterval: Duration? {
        if let process = File.environment("WATCHDOG_PID"), Int32(process) != getpid() { return nil }
        guard let text = File.environment("WATCHDOG_USEC"), let microseconds = Int64(text), microseconds > 0 else {
            return nil
        }
        return .microseconds(microseconds)
    }

    /// Sends `lines` as one datagram; blocks for a second at most, so never call it from a loop. A manager that does not take it has its own way to find out.
    public func send(_ lines: String) {
        var address = address
        let bytes = Array(lines.utf8)
        unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                _ = unsafe sendto(socket.number, bytes, bytes.count, Int32(MSG_NOSIGNAL), address, size)
            }
        }
    }
}
