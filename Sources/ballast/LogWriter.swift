// Lines to standard error from any thread. Writing may block, so it happens on a queue of its own; nobody waits for it.
import Dispatch
import EventLoop
import Synchronization

/// Writes lines in the order of their coming; drops them while the reader is too slow, and says how many.
final class LogWriter: Sendable {
    /// Lines that may wait for a slow reader.
    private static let limit = 10_000
    /// How long the end of the process waits for lines that are not written.
    private static let patience = DispatchTimeInterval.seconds(1)

    private let queue = DispatchQueue(label: "ballast.log")
    private let waiting = Atomic<Int>(0)
    private let dropped = Atomic<Int>(0)

    func write(_ line: String) {
        guard waiting.load(ordering: .relaxed) < Self.limit else {
            dropped.wrappingAdd(1, ordering: .relaxed)
            return
        }
        waiting.wrappingAdd(1, ordering: .relaxed)
        queue.async { [self] in
            File.write(line, to: 2)
            waiting.wrappingSubtract(1, ordering: .relaxed)
            let lost = dropped.exchange(0, ordering: .relaxed)
            if lost > 0 {
                File.write("ballast: warning: \(lost) log lines were dropped: standard error is too slow\n", to: 2)
            }
        }
    }

    /// Waits until what was said is written, but not for a reader that is stuck.
    func flush() {
        let written = DispatchSemaphore(value: 0)
        queue.async { written.signal() }
        _ = written.wait(timeout: .now() + Self.patience)
    }
}
