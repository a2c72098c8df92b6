// Lines that tell an operator what happened: one line each, whatever bytes come in. It never writes to a file itself.
import Synchronization

/// How much an operator needs to know of a line.
public enum LogLevel: Int, Comparable, Sendable, CaseIterable {
    case error, warning, info, debug

    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }

    public var word: String {
        switch self {
        case .error: "error"
        case .warning: "warning"
        case .info: "info"
        case .debug: "debug"
        }
    }
}

/// Where lines go. The writer gets whole lines with their line feed, from any thread.
public final class EventLog: Sendable {
    private let level: Atomic<Int>
    private let write: @Sendable (String) -> Void

    public init(level: LogLevel, write: @escaping @Sendable (String) -> Void) {
        self.level = Atomic(level.rawValue)
        self.write = write
    }

    /// Changes how much is asked for.
    public func setLevel(_ level: LogLevel) { self.level.store(level.rawValue, ordering: .relaxed) }

    /// Writes one line when `level` is asked for; the text is not built otherwise.
    public func say(_ level: LogLevel, _ text: @autoclosure () -> String) {
        guard level.rawValue <= self.level.load(ordering: .relaxed) else { return }
        // The arrow between an old and a new value is ballast's own.
        let parts = text().split(separator: "→", omittingEmptySubsequences: false).map { Self.escaped(String($0)) }
        write("ballast: \(level.word): \(parts.joined(separator: "→"))\n")
    }

    /// `text` with everything outside printable ASCII, and the backslash, written as `\xNN`: a line stays one line.
    public static func escaped(_ text: String) -> String {
        guard !text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f && $0 != 0x5c }) else { return text }
        var result = ""
        for byte in text.utf8 {
            if byte >= 0x20, byte < 0x7f, byte != 0x5c {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                result += "\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return result
    }
}
