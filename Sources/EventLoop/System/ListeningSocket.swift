// A socket that listens, on its way to the loop that will watch it: made on any thread, before it is known whether all
// that must succeed does. It never accepts.
public import Addresses
import Glibc
import Synchronization

/// Closed when nobody took it over.
public final class ListeningSocket: Sendable {
    /// Where it is bound: tells the port when 0 was asked for.
    public let endpoint: Endpoint
    private let descriptor: Mutex<Descriptor?>

    /// The file that it is found by, where it has one.
    public let file: SocketFile?

    /// Binds and listens.
    /// - Parameter joining: this process listens there already, and shares its port.
    public init(on endpoint: Endpoint, joining: Bool) throws(SystemError) {
        let socket = try Socket.listening(on: endpoint, joining: joining)
        self.endpoint = Socket.localEndpoint(socket.number) ?? endpoint
        file = nil
        descriptor = Mutex(socket)
    }

    /// Listens at a path.
    /// - Parameter mode: who may connect, as the bits of chmod(2).
    public init(at path: String, mode: UInt32) throws(SystemError) {
        let socket = try Socket.listening(at: path, mode: mode)
        endpoint = .unix(path)
        file = SocketFile(path)
        descriptor = Mutex(socket)
    }

    /// Finds out whether a socket could be made at a path, or taken over there; touches nothing.
    public static func tryPath(_ path: String) throws(SystemError) {
        var about = stat()
        if unsafe lstat(path, &about) == 0 {
            guard about.st_mode & S_IFMT == S_IFSOCK else { throw SystemError(call: "bind", code: EEXIST) }
            return
        }
        let folder = path.lastIndex(of: "/").map { path[...$0] } ?? "."
        guard unsafe access(String(folder), W_OK | X_OK) == 0 else { throw .last("access") }
    }

    /// Changes who may connect at a path where this process listens.
    public static func setMode(_ mode: UInt32, at path: String) throws(SystemError) {
        guard unsafe chmod(path, mode) == 0 else { throw .last("chmod") }
    }

    /// One more descriptor of a socket that nobody has taken yet: both accept from the same line.
    public func copy() throws(SystemError) -> ListeningSocket {
        let number = descriptor.withLock { descriptor -> Int32 in
            guard let number = descriptor?.number else { return -1 }
            return fcntl(number, F_DUPFD_CLOEXEC, 3)
        }
        guard number >= 0 else { throw .last("fcntl") }
        return ListeningSocket(Descriptor(owning: number), file: file)
    }

    /// Stands for a socket of another network than the system's.
    public init(simulating endpoint: Endpoint) {
        self.endpoint = endpoint
        file = nil
        descriptor = Mutex(nil)
    }

    init(_ socket: consuming Descriptor, file: SocketFile? = nil) {
        endpoint = Socket.localEndpoint(socket.number) ?? Endpoint(.anyIPv4, port: 0)
        self.file = file
        descriptor = Mutex(socket)
    }

    func take() throws(SystemError) -> Descriptor {
        let taken = descriptor.withLock { descriptor -> Descriptor? in
            let taken = descriptor.take()
            return taken
        }
        guard let taken else { throw SystemError(call: "listen", code: EBADF) }
        return taken
    }
}

/// The file of a UNIX socket. It goes when the listener is wanted no more: who connects later is told that nobody listens.
public final class SocketFile: Sendable {
    private let path: String
    private let device: UInt
    private let inode: UInt
    private let isGone = Atomic<Bool>(false)

    init(_ path: String) {
        self.path = path
        var about = stat()
        _ = unsafe stat(path, &about)
        (device, inode) = (about.st_dev, about.st_ino)
    }

    /// Removes it, once; unless another process has put its own there meanwhile.
    public func remove() {
        guard !isGone.exchange(true, ordering: .relaxed) else { return }
        var about = stat()
        guard unsafe stat(path, &about) == 0, (about.st_dev, about.st_ino) == (device, inode) else { return }
        _ = unsafe unlink(path)
    }

    deinit { remove() }
}

/// A listening socket that whoever started this process has opened (sd_listen_fds(3)). It stays open to the end, so that
/// a configuration may drop it and take it up again.
public final class InheritedSocket: Sendable {
    /// As its unit calls it (`FileDescriptorName`).
    public let name: String
    private let descriptor: Descriptor

    private init(name: String, number: Int32) throws(SystemError) {
        try Socket.adopt(number)
        self.name = name
        descriptor = Descriptor(owning: number)
    }

    /// One more descriptor of the socket; all of them accept from the same line.
    public func copy() throws(SystemError) -> ListeningSocket {
        let number = fcntl(descriptor.number, F_DUPFD_CLOEXEC, 3)
        guard number >= 0 else { throw .last("fcntl") }
        return ListeningSocket(Descriptor(owning: number))
    }

    /// Every socket that was passed to this process. Call it once: the variables that tell of them are removed, because
    /// they are meant for nobody else.
    /// - Parameter refused: told of descriptors that are not listening sockets.
    public static func all(refused: (String) -> Void) -> [InheritedSocket] {
        defer { for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsafe unsetenv(name) } }
        guard let process = File.environment("LISTEN_PID"), Int32(process) == getpid(),
            let text = File.environment("LISTEN_FDS"), let count = Int32(text), count > 0, count < 1024
        else { return [] }
        let names = (File.environment("LISTEN_FDNAMES") ?? "").split(separator: ":", omittingEmptySubsequences: false)
        var found: [InheritedSocket] = []
        for index in 0..<count {
            let name = Int(index) < names.count ? String(names[Int(index)]) : "unknown"
            do throws(SystemError) {
                found.append(try InheritedSocket(name: name, number: 3 + index))
            } catch {
                refused("descriptor \(3 + index), passed as '\(name)', is not a listening socket")
            }
        }
        return found
    }
}
