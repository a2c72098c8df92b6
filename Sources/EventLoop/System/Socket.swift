// Socket calls, each as thin as it can be: arguments typed, interrupts retried, errno as an error.
// All sockets are streams, of TCP or UNIX, non-blocking and closed on exec. It never waits.
import Addresses
import CLinux
import Glibc

enum Socket {
    /// A listening socket. The first one of an address binds alone, so that a port in use is an error and never shared
    /// with a stranger; it allows sharing before it listens, and the other workers' sockets then join it.
    static func listening(on endpoint: Endpoint, joining: Bool) throws(SystemError) -> Descriptor {
        guard let ip = endpoint.address else { throw SystemError(call: "bind", code: EAFNOSUPPORT) }
        let address = SocketAddress(endpoint)
        let number = clinux_stream_socket(address.family)
        guard number >= 0 else { throw .last("socket") }
        let socket = Descriptor(owning: number)
        set(number, SOL_SOCKET, SO_REUSEADDR, 1)
        set(number, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        if !ip.isIPv4 { set(number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, ip.isUnspecified ? 0 : 1) }
        if joining { set(number, SOL_SOCKET, SO_REUSEPORT, 1) }
        let bound = unsafe address.withPointer { unsafe bind(number, $0, $1) }
        guard bound == 0 else { throw .last("bind") }
        if !joining { set(number, SOL_SOCKET, SO_REUSEPORT, 1) }
        guard listen(number, 4096) == 0 else { throw .last("listen") }
        return socket
    }

    /// A socket that listens at a path. Of a process that has gone the file is left; one that is in use is an error.
    /// - Parameter mode: who may connect (chmod(2)).
    static func listening(at path: String, mode: UInt32) throws(SystemError) -> Descriptor {
        let endpoint = Endpoint.unix(path)
        let address = SocketAddress(endpoint)
        let number = clinux_stream_socket(AF_UNIX)
        guard number >= 0 else { throw .last("socket") }
        let socket = Descriptor(owning: number)
        if unsafe address.withPointer({ unsafe bind(number, $0, $1) }) != 0 {
            guard errno == EADDRINUSE else { throw .last("bind") }
            // Connections to other files are refused as well.
            guard isSocket(path) else { throw SystemError(call: "bind", code: EEXIST) }
            guard isAbandoned(endpoint), unsafe unlink(path) == 0,
                unsafe address.withPointer({ unsafe bind(number, $0, $1) }) == 0
            else { throw SystemError(call: "bind", code: EADDRINUSE) }
        }
        // Nobody can connect before it listens.
        guard unsafe chmod(path, mode) == 0 else { throw .last("chmod") }
        guard listen(number, 4096) == 0 else { throw .last("listen") }
        return socket
    }

    private static func isSocket(_ path: String) -> Bool {
        var about = stat()
        return unsafe lstat(path, &about) == 0 && about.st_mode & S_IFMT == S_IFSOCK
    }

    /// Nobody listens at this path any more: a connection is refused, which a full line does not do.
    private static func isAbandoned(_ endpoint: Endpoint) -> Bool {
        do throws(SystemError) {
            _ = try connecting(to: endpoint)
            return false
        } catch {
            return error.code == ECONNREFUSED
        }
    }

    /// Lets a listening socket finish the connections that have begun, and begin no more.
    static func dropNewConnections(_ number: Int32) { _ = clinux_drop_syns(number) }

    /// Makes a socket from elsewhere like our own: non-blocking, closed on exec, with TCP_NODELAY to be inherited.
    static func adopt(_ number: Int32) throws(SystemError) {
        var isListening: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        let result = unsafe getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &size)
        guard result == 0 else { throw .last("getsockopt") }
        guard isListening == 1 else { throw SystemError(call: "getsockopt", code: EINVAL) }
        _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK)
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        set(number, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    /// The address a socket is bound to.
    static func localEndpoint(_ number: Int32) -> Endpoint? {
        var address = SocketAddress()
        let result = unsafe address.withMutablePointer { pointer, size in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe getsockname(number, $0, size) }
        }
        return result == 0 ? address.endpoint : nil
    }

    /// The next waiting connection; nil when none waits. TCP_NODELAY is inherited from the listening socket.
    static func accept(_ listener: Int32) throws(SystemError) -> (number: Int32, peer: Endpoint)? {
        while true {
            var address = SocketAddress()
            let number = unsafe address.withMutablePointer { unsafe clinux_accept(listener, $0, $1) }
            if number >= 0 { return (number, address.endpoint ?? Endpoint(.anyIPv4, port: 0)) }
            switch errno {
            case EINTR, ECONNABORTED: continue
            case EAGAIN: return nil
            case _: throw .last("accept4")
            }
        }
    }

    /// Starts to connect; the socket becomes writable when it is connected.
    static func connecting(to endpoint: Endpoint) throws(SystemError) -> Descriptor {
        let address = SocketAddress(endpoint)
        let number = clinux_stream_socket(address.family)
        guard number >= 0 else { throw .last("socket") }
        let socket = Descriptor(owning: number)
        if address.family != AF_UNIX { set(number, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
        while true {
            let result = unsafe address.withPointer { unsafe connect(number, $0, $1) }
            if result == 0 || errno == EINPROGRESS { return socket }
            guard errno == EINTR else { throw .last("connect") }
        }
    }

    /// Reads into the free end of `buffer`.
    static func receive(_ number: Int32, into buffer: Buffer) -> Transfer {
        let transfer = unsafe buffer.withFreeMemory { unsafe receive(number, $0) }
        if case .moved(let count) = transfer { buffer.didFill(count) }
        return transfer
    }

    static func receive(_ number: Int32, into bytes: inout MutableRawSpan) -> Transfer {
        unsafe bytes.withUnsafeMutableBytes { unsafe receive(number, $0) }
    }

    private static func receive(_ number: Int32, _ memory: UnsafeMutableRawBufferPointer) -> Transfer {
        while true {
            let count = unsafe recv(number, memory.baseAddress, memory.count, 0)
            if count > 0 { return .moved(count) }
            if count == 0 { return .ended }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            case _: return .failed(.last("recv"))
            }
        }
    }

    /// Sends the bytes of `first`, then up to `limit` bytes of `second`, in one call, and consumes what was taken.
    static func send(_ number: Int32, _ first: Buffer?, _ second: Buffer?, limit: Int) -> Transfer {
        while true {
            let head = unsafe first?.memory ?? UnsafeRawBufferPointer(start: nil, count: 0)
            let tail = unsafe second?.memory ?? UnsafeRawBufferPointer(start: nil, count: 0)
            let tailCount = min(tail.count, limit)
            let count = unsafe clinux_send2(number, head.baseAddress, head.count, tail.baseAddress, tailCount)
            if count >= 0 {
                let ofFirst = min(count, head.count)
                first?.consume(ofFirst)
                second?.consume(count - ofFirst)
                return .moved(count)
            }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            case _: return .failed(.last("sendmsg"))
            }
        }
    }

    static func send(_ number: Int32, _ bytes: RawSpan) -> Transfer {
        while true {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 { return .moved(count) }
            switch errno {
            case EINTR: continue
            case EAGAIN: return .wouldBlock
            case _: return .failed(.last("send"))
            }
        }
    }

    /// Whether a byte, or the end, can be read now, without reading it.
    static func hasInput(_ number: Int32) -> Bool {
        var byte: UInt8 = 0
        return unsafe recv(number, &byte, 1, Int32(MSG_PEEK)) >= 0 || errno != EAGAIN
    }

    /// RFC 5482's user timeout, which accepted sockets inherit; it counts while a window stays closed, and while probes (RFC
    /// 9293, 3.8.4) stay unanswered, too.
    static func limitDelivery(_ number: Int32, milliseconds: Int32) {
        set(number, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, milliseconds)
        // Who waits for an answer sends nothing, and neither do we: only a probe finds out that the machine has gone. The
        // user timeout decides how long one may stay unanswered.
        set(number, SOL_SOCKET, SO_KEEPALIVE, 1)
        set(number, Int32(IPPROTO_TCP), TCP_KEEPIDLE, max(1, min(probeTime, milliseconds / 2000)))
        set(number, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 5)
        // What waits for a reader waits at the server, and not in megabytes for each client with the system.
        set(number, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, unsentLimit)
    }

    /// Seconds of silence after which a peer is asked whether it is still there.
    private static let probeTime: Int32 = 30
    /// Bytes that may wait to be sent on an accepted connection.
    private static let unsentLimit: Int32 = 256 << 10

    /// Bytes that the peer has not acknowledged.
    static func unsentCount(_ number: Int32) -> Int { Int(max(0, clinux_unsent(number))) }

    static func finishSending(_ number: Int32) { _ = shutdown(number, Int32(SHUT_WR)) }

    /// Makes the coming close a reset, which no peer takes for a proper end.
    static func resetOnClose(_ number: Int32) {
        var option = linger(l_onoff: 1, l_linger: 0)
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }

    /// Whether the machine can make IPv6 sockets at all.
    static var hasIPv6: Bool {
        let number = clinux_stream_socket(AF_INET6)
        guard number >= 0 else { return false }
        let socket = Descriptor(owning: number)
        let address = SocketAddress(Endpoint(IPAddress(bits: 1), port: 0))
        return unsafe address.withPointer { unsafe bind(socket.number, $0, $1) } == 0
    }

    private static func set(_ number: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        _ = unsafe setsockopt(number, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }
}
