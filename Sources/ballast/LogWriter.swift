// Lines to a file or to standard error from any thread. Writing may block, so it happens on a queue of its own; nobody
// waits for it.
import Dispatch
import EventLoop
import Metrics
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
    /// Where it is told that lines are lost.
    private let log: EventLog?
    /// Since the file could last be written.
    private let lost = Mutex(0)

    init(_ target: LogFile) {
        self.target = Mutex(target)
        path = nil
        log = nil
    }

    /// A writer of the file at `path`, which `open` opens.
    /// - Parameter log: where it is told that lines are lost.
    init(path: String, log: EventLog) {
        target = Mutex(nil)
        self.path = path
        self.log = log
    }

    /// The writer of the access log, to be opened; nil where there is none.
    /// - Parameter beside: the writer of standard error.
    static func access(_ place: String, beside standardError: LogWriter, _ log: EventLog) -> LogWriter? {
        switch place {
        case "off": nil
        case "stderr": standardError
        case _: LogWriter(path: place, log: log)
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
        tell(lost)
    }

    /// Says when lines begin to be lost, and when they do not any more: one line for either, not one for each loss.
    private func tell(_ count: Int) {
        if count > 0 { Self.dropped.wrappingAdd(count, ordering: .relaxed) }
        let (before, now) = lost.withLock { lost -> (Int, Int) in
            let before = lost
            lost = count > 0 ? lost + count : 0
            return (before, lost)
        }
        guard let log, let path, (before == 0) != (now == 0) else { return }
        if now > 0 {
            log.say(.error, "the log '\(path)' cannot be written; its lines are lost until it can")
        } else {
            log.say(.info, "the log '\(path)' is written again; \(before) lines were lost")
        }
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
