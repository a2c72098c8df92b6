// The file that says which process runs. The process holds a lock on it as long as it lives, so that a file left behind
// by one that was killed misleads nobody.
import Glibc

/// `pid-file`, written and locked by this process.
public struct PidFile: ~Copyable, Sendable {
    public enum Failure: Error, Sendable, CustomStringConvertible {
        case system(path: String, SystemError)
        /// Another process holds it.
        case taken(path: String, process: Int32?)
        /// The process that wrote it has ended.
        case notRunning(path: String)

        public var description: String {
            switch self {
            case .system(let path, let error): "the pid file '\(path)': \(error.reason)"
            case .taken(let path, let process):
                "another ballast (process \(process.map { "\($0)" } ?? "unknown")) runs with the pid file '\(path)'"
            case .notRunning(let path): "no ballast runs with the pid file '\(path)'"
            }
        }
    }

    private let path: String
    private let file: Descriptor

    /// Takes the file over, or makes it; fails while another process holds it.
    public init(_ path: String) throws(Failure) {
        let number = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard number >= 0 else { throw .system(path: path, .last("open")) }
        let file = Descriptor(owning: number)
        guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
            throw .taken(path: path, process: Self.number(in: path))
        }
        guard ftruncate(number, 0) == 0, File.write("\(getpid())\n", to: number) else {
            throw .system(path: path, .last("write"))
        }
        self.path = path
        self.file = file
    }

    /// Removes the file, where its folder still allows it; the lock ends with the process in any case.
    public consuming func remove() { _ = unsafe unlink(path) }

    private static func number(in path: String) -> Int32? {
        guard let bytes = try? File.read(path, limit: 64) else { return nil }
        return Int32(String(decoding: bytes.filter { $0 != 0x0a }, as: UTF8.self)).flatMap { $0 > 0 ? $0 : nil }
    }

    /// The process that runs with the file at `path`.
    public static func process(at path: String) throws(Failure) -> Int32 {
        let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
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
