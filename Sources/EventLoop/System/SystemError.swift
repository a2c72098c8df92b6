// A system call that failed: which one, and why. It never hides the call's name.
import Glibc

/// What the system answered instead of doing what it was asked.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The call, as its manual page is named.
    public let call: String
    /// The value of errno.
    public let code: Int32

    public init(call: String, code: Int32) {
        self.call = call
        self.code = code
    }

    /// The failure of the call made last on this thread.
    static func last(_ call: String) -> SystemError { SystemError(call: call, code: errno) }

    /// What people read: "permission denied".
    public var reason: String {
        var text = [CChar](repeating: 0, count: 128)
        _ = unsafe strerror_r(code, &text, text.count)
        let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }

    public var description: String { "\(call): \(reason)" }

    /// This side has nothing left to do it with: that says nothing about how the other side is.
    public var isOwnNeed: Bool {
        [Self.tooManyFiles, Self.fileTableFull, Self.noMemory, Self.noBuffers, Self.noPorts].contains(code)
    }

    public static let connectionReset = ECONNRESET
    public static let noEntry = ENOENT
    public static let exists = EEXIST
    public static let addressInUse = EADDRINUSE
    public static let permissionDenied = EACCES
    public static let tooManyFiles = EMFILE
    public static let fileTableFull = ENFILE
    public static let noMemory = ENOMEM
    public static let noBuffers = ENOBUFS
    /// Of connect(2): every local port towards that address is taken.
    public static let noPorts = EADDRNOTAVAIL
    /// Of connect(2): on a UNIX socket, the line of those that wait to be accepted is full.
    public static let notNow = EAGAIN
    public static let connectionAborted = ECONNABORTED
}
