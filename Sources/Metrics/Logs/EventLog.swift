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

    /// Of syslog(3).
    var priority: Int {
        switch self {
        case .error: 3
        case .warning: 4
        case .info: 6
        case .debug: 7
        }
    }
}

/// How lines are written.
public enum LogForm: Int, Sendable {
    /// The time, who speaks, the level, the text.
    case text
    /// A priority as sd-daemon(3) has it, and the text: the journal knows the rest.
    case journal
    /// An object a line.
    case json
}

/// Where lines go. The writer gets whole lines with their line feed, from any thread.
public final class EventLog: Sendable {
    private let level: Atomic<Int>
    private let form: Atomic<Int>
    private let clock: @Sendable () -> String
    private let write: @Sendable (String) -> Void

    /// - Parameter clock: the time as it stands in lines.
    public init(
        level: LogLevel, form: LogForm = .text, clock: @escaping @Sendable () -> String = { "-" },
        write: @escaping @Sendable (String) -> Void
    ) {
        self.level = Atomic(level.rawValue)
        self.form = Atomic(form.rawValue)
        self.clock = clock
        self.write = write
    }

    /// Changes how much is asked for, and how it is written.
    public func set(_ level: LogLevel, _ form: LogForm) {
        self.level.store(level.rawValue, ordering: .relaxed)
        self.form.store(form.rawValue, ordering: .relaxed)
    }

    /// Writes one line when `level` is asked for; the text is not built otherwise.
    public func say(_ level: LogLevel, _ text: @autoclosure () -> String) {
        guard level.rawValue <= self.level.load(ordering: .relaxed) else { return }
        write(Self.line(level, text(), LogForm(rawValue: form.load(ordering: .relaxed)) ?? .text, clock))
    }

    static func line(_ level: LogLevel, _ text: String, _ form: LogForm, _ clock: () -> String) -> String {
        switch form {
        case .text: return "\(clock()) ballast: \(level.word): \(printable(text))\n"
        case .journal: return "<\(level.priority)>\(printable(text))\n"
        case .json:
            var writer = TextWriter()
            writer.raw("{\"time\":")
            writer.json(clock())
            writer.raw(",\"level\":\"\(level.word)\",\"message\":")
            writer.json(text)
            writer.raw("}\n")
            return writer.text
        }
    }

    private static func printable(_ text: String) -> String {
        // The arrow between an old and a new value is ballast's own.
        text.split(separator: "→", omittingEmptySubsequences: false).map { escaped(String($0)) }.joined(separator: "→")
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
