// The file that says which process runs. The process holds a lock on it as long as it lives, so that a file left behind
// by one that was killed misleads nobody. It never signals anybody.
import Glibc

/// `pid-file`, written and locked by this process.
public final class PidFile: Sendable {
    public enum Failure: Error, Sendable, CustomStringConvertible {
        case system(path: String, SystemError)
        /// It is a file of another kind.
        case foreign(path: String)
        /// Another process holds it.
        case taken(path: String, process: Int32?)
        /// The process that wrote it has ended.
        case notRunning(path: String)

        public var description: String {
            switch self {
            case .system(let path, let error): "the pid file '\(path)': \(error.reason)"
            case .foreign(let path):
                "the file '\(path)' holds something else than a process's number; choose another pid-file"
            case .taken(let path, let process):
                "another ballast (process \(process.map { "\($0)" } ?? "unknown")) runs with the pid file '\(path)'"
            case .notRunning(let path): "no ballast runs with the pid file '\(path)'"
            }
        }
    }

    private let path: String
    private let file: Descriptor

    /// How often, and how long apart in microseconds, the lock is tried: who only asks holds it for a moment.
    private static let tries = 10
    private static let pause: UInt32 = 10_000

    /// Takes the file over, or makes it; fails while another process holds it. Blocks for a moment.
    public init(_ path: String) throws(Failure) {
        for _ in 0..<Self.tries {
            let number = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
            guard number >= 0 else { throw .system(path: path, .last("open")) }
            let file = Descriptor(owning: number)
            guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
                usleep(Self.pause)
                continue
            }
            // Its owner may have removed it between the two calls: then this is nobody's file.
            guard Self.isAt(path, number) else { continue }
            guard Self.number(in: path) != nil || Self.isEmpty(number) else { throw .foreign(path: path) }
            guard ftruncate(number, 0) == 0, File.write("\(getpid())\n", to: number) else {
                throw .system(path: path, .last("write"))
            }
            self.path = path
            self.file = file
            return
        }
        throw .taken(path: path, process: Self.number(in: path))
    }

    /// Removes the file, where its folder still allows it; the lock ends with the process in any case.
    public func remove() { if Self.isAt(path, file.number) { _ = unsafe unlink(path) } }

    private static func isEmpty(_ number: Int32) -> Bool {
        var about = stat()
        return unsafe fstat(number, &about) == 0 && about.st_size == 0
    }

    /// Whether what stands at `path` is the open file.
    private static func isAt(_ path: String, _ number: Int32) -> Bool {
        var (there, here) = (stat(), stat())
        guard unsafe stat(path, &there) == 0, unsafe fstat(number, &here) == 0 else { return false }
        return there.st_ino == here.st_ino && there.st_dev == here.st_dev
    }

    private static func number(in path: String) -> Int32? {
        guard let bytes = try? File.read(path, limit: 64, waits: false) else { return nil }
        return Int32(String(decoding: bytes.filter { $0 != 0x0a }, as: UTF8.self)).flatMap { $0 > 0 ? $0 : nil }
    }

    /// The process that runs with the file at `path`.
    public static func process(at path: String) throws(Failure) -> Int32 {
        let number = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard number >= 0 else {
            throw errno == ENOENT ? .notRunning(path: path) : .system(path: path, .last("open"))
        }
        let file = Descriptor(owning: number)
        // Whoever can lock it proves that nobody runs; a shared lock disturbs no other reader.
        guard flock(file.number, LOCK_SH | LOCK_NB) != 0, let process = Self.number(in: path) else {
            throw .notRunning(path: path)
        }
        return process
    }
}
