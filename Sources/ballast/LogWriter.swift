// Lines to a file or to standard error from any thread. Writing may block, so it happens on a queue of its own; nobody
// waits for it.
import Dispatch
import EventLoop
import Synchronization

/// Writes lines in the order of their coming; drops them while the reader is too slow, and counts how many.
final class LogWriter: Sendable {
    /// Lines that may wait for a slow reader.
    private static let limit = 10_000
    /// How long the end of the process waits for lines that are not written.
    private static let patience = DispatchTimeInterval.seconds(1)

    /// Lines given up so far, by all writers.
    private static let dropped = Atomic<Int>(0)
    static var droppedCount: Int { dropped.load(ordering: .relaxed) }

    private let queue = DispatchQueue(label: "ballast.log")
    /// Nil until it is opened.
    private let target: Mutex<LogFile?>
    /// Nil is standard error.
    private let path: String?
    private let lines = Mutex<[String]>([])

    init(_ target: LogFile) {
        self.target = Mutex(target)
        path = nil
    }

    /// A writer of the file at `path`, which `open` opens.
    init(path: String) {
        target = Mutex(nil)
        self.path = path
    }

    /// The writer of the access log, to be opened; nil where there is none.
    /// - Parameter beside: the writer of standard error.
    static func access(_ place: String, beside standardError: LogWriter) -> LogWriter? {
        switch place {
        case "off": nil
        case "stderr": standardError
        case _: LogWriter(path: place)
        }
    }

    /// Opens the file, or opens it anew.
    func open() throws(Unwritable) {
        guard let path else { return }
        do throws(SystemError) {
            let file = try LogFile(appendingTo: path)
            target.withLock { $0 = file }
        } catch {
            throw Unwritable(path: path, error: error)
        }
    }

    /// Where lines are given to it.
    var sink: @Sendable (String) -> Void { { self.write($0) } }

    struct Unwritable: Error, CustomStringConvertible {
        let path: String
        let error: SystemError
        var description: String { "cannot write the access log '\(path)': \(error.reason)" }
    }

    func write(_ line: String) {
        let isFirst = lines.withLock { lines -> Bool? in
            guard lines.count < Self.limit else { return nil }
            lines.append(line)
            return lines.count == 1
        }
        guard let isFirst else {
            Self.dropped.wrappingAdd(1, ordering: .relaxed)
            return
        }
        // Lines that come while others are written go together, in one call.
        if isFirst { queue.async { self.drain() } }
    }

    /// Opens the file anew, behind everything that was said: it was moved away.
    func reopen(failed: @escaping @Sendable (String) -> Void) {
        guard path != nil else { return }
        queue.async {
            self.drain()
            do throws(Unwritable) { try self.open() } catch { failed("\(error); the old one is still written") }
        }
    }

    private func drain() {
        let waiting = lines.withLock { lines -> [String] in
            defer { lines.removeAll(keepingCapacity: true) }
            return lines
        }
        guard !waiting.isEmpty else { return }
        let file = target.withLock { $0 }
        let lost = file?.write(waiting.joined()) == true ? 0 : waiting.count
        if lost > 0 { Self.dropped.wrappingAdd(lost, ordering: .relaxed) }
    }

    /// Waits until what was said is written, but not for a reader that is stuck.
    func flush() {
        let written = DispatchSemaphore(value: 0)
        queue.async {
            self.drain()
            written.signal()
        }
        _ = written.wait(timeout: .now() + Self.patience)
    }
}
