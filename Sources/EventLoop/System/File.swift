// Whole small files. It never streams and is never called from a loop.
import Glibc

/// Reading files and writing lines.
public enum File {
    /// All bytes of the file at `path`; `limit` guards against devices that never end.
    /// - Parameter waits: a pipe's writer is waited for; else pipes are refused.
    public static func read(
        _ path: String, limit: Int = 16 << 20, waits: Bool = true
    ) throws(SystemError) -> [UInt8] {
        let number = unsafe open(path, O_RDONLY | O_CLOEXEC | (waits ? 0 : O_NONBLOCK))
        guard number >= 0 else { throw .last("open") }
        let file = Descriptor(owning: number)
        var about = stat()
        if !waits, unsafe fstat(number, &about) == 0, about.st_mode & S_IFMT == S_IFIFO {
            throw SystemError(call: "open", code: EAGAIN)
        }
        return try readAll(file, limit)
    }

    /// All bytes of standard input.
    public static func readStandardInput(limit: Int = 16 << 20) throws(SystemError) -> [UInt8] {
        let number = dup(0)
        guard number >= 0 else { throw .last("dup") }
        return try readAll(Descriptor(owning: number), limit)
    }

    private static func readAll(_ file: consuming Descriptor, _ limit: Int) throws(SystemError) -> [UInt8] {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe Glibc.read(file.number, &block, block.count)
            if count == 0 { return bytes }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .last("read") }
            bytes += block[..<count]
            guard bytes.count <= limit else { throw SystemError(call: "read", code: EFBIG) }
        }
    }

    /// The names in a folder, sorted bytewise.
    public static func names(in folder: String) throws(SystemError) -> [String] {
        guard let directory = unsafe opendir(folder) else { throw .last("opendir") }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Finds out whether the file at `path` could be appended to, or made; touches nothing.
    public static func tryAppending(to path: String) throws(SystemError) {
        let number = unsafe open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
        if number >= 0 {
            _ = Glibc.close(number)
            return
        }
        guard errno == ENOENT else { throw .last("open") }
        let folder = path.lastIndex(of: "/").map { path[...$0] } ?? "."
        guard unsafe access(String(folder), W_OK | X_OK) == 0 else { throw .last("access") }
    }

    /// Writes all of `text` to a descriptor that may block; false when it could not.
    @discardableResult
    public static func write(_ text: String, to number: Int32) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(number, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// The value of an environment variable.
    public static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }
}

/// How a file was at one moment: another mark means that it may be another file.
public struct FileMark: Equatable, Sendable {
    public let path: String
    private var device: UInt = 0
    private var inode: UInt = 0
    private var size = 0
    private var changed: [Int] = []
    private var mode: UInt32 = 0

    /// Follows links, as a mounted secret is one.
    public init(_ path: String) throws(SystemError) {
        self.path = path
        var about = stat()
        guard unsafe stat(path, &about) == 0 else { throw .last("stat") }
        (device, inode, size, mode) = (about.st_dev, about.st_ino, about.st_size, about.st_mode)
        changed = [about.st_mtim.tv_sec, about.st_mtim.tv_nsec, about.st_ctim.tv_sec, about.st_ctim.tv_nsec]
    }

    /// Of a file that is not there.
    public init(missing path: String) { self.path = path }

    /// The file as it is now; one that is not there is another.
    public var now: FileMark {
        do throws(SystemError) { return try FileMark(path) } catch { return FileMark(missing: path) }
    }

    /// Neither its owner nor its group has to be asked (chmod(2)).
    public var isForEverybody: Bool { mode & 0o007 != 0 }
}

/// A file that lines are added to. Made if it is missing, readable by its owner and group.
public final class LogFile: Sendable {
    private let file: Descriptor?
    private let number: Int32

    public init(appendingTo path: String) throws(SystemError) {
        // A pipe that nobody reads is an error, and not a start that never ends.
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY
        let number = unsafe open(path, flags | O_NONBLOCK, 0o640)
        guard number >= 0 else { throw .last("open") }
        // Writes wait: they happen beside the loops.
        _ = fcntl(number, F_SETFL, O_APPEND)
        self.number = number
        file = Descriptor(owning: number)
    }

    private init(standard number: Int32) {
        self.number = number
        file = nil
    }

    public static let standardError = LogFile(standard: 2)

    /// Writes all of `text`; false when that failed.
    public func write(_ text: String) -> Bool { File.write(text, to: number) }
}
