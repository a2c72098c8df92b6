// A mistake in a configuration as its author should read it: where it is, what it is, what to write instead.

/// One mistake, with the line it stands in.
public struct SettingsError: Error, Equatable, Sendable {
    public var position: Position
    public var message: String
    /// The line's text, and how many columns of it are meant; empty where there is no line to show.
    public var source: String
    public var width: Int
    /// Told, but no reason to refuse.
    public var isWarning = false

    /// Errors that one run reports at most; how many more there are is told.
    public static let limit = 20

    public init(_ position: Position, _ message: String, source: String = "", width: Int = 1) {
        self.position = position
        // A mark far to the right of a long line helps nobody; and what may be a secret is nobody's to read.
        let isShown = position.column + width < 200 && !Self.mayHoldSecret(source)
        self.source = isShown ? Self.shortened(source, to: 200) : ""
        self.message = Self.shortened(Self.mayHoldSecret(source) ? Self.masked(message, source) : message, to: 400)
        self.width = width
    }

    /// Whether a line may have a password in it, whatever is wrong with it: its key is one of those that take one, or nearly;
    /// or it is no setting at all, as a line of a file that holds nothing else.
    static func mayHoldSecret(_ source: String) -> Bool {
        let line = source.lowercased().drop { $0 == " " || $0 == "\t" }
        guard !line.isEmpty, !line.hasPrefix("["), !line.hasPrefix("#"), !line.hasPrefix(";") else { return false }
        let key = String(line.prefix { $0.isLetter || $0 == "-" || $0 == "_" || $0 == "." })
        let name = key.split(separator: ".").last.map(String.init) ?? key
        if ["pass", "secret", "auth"].contains(where: { name.contains($0) }) { return true }
        return !line.contains("=") || Suggestion.distance(name, "auth") <= 1
    }

    /// Without what the line says behind its key.
    private static func masked(_ message: String, _ source: String) -> String {
        let value = source.drop { $0 != "=" && $0 != ":" && $0 != " " }
        var parts = message.split(separator: "'", omittingEmptySubsequences: false).map(String.init)
        for index in parts.indices where index % 2 == 1 && parts[index].utf8.count > 2 && value.contains(parts[index]) {
            parts[index] = "***"
        }
        return parts.joined(separator: "'")
    }

    private static func shortened(_ text: String, to limit: Int) -> String {
        text.utf8.count <= limit ? text : String(decoding: Array(text.utf8).prefix(limit), as: UTF8.self) + "..."
    }

    /// The form that editors jump to, with the line and a mark under the mistake.
    public var text: String {
        var text = "\(position): \(isWarning ? "warning" : "error"): \(message)\n"
        guard !source.isEmpty, position.line > 0 else { return text }
        let number = String(position.line)
        let margin = String(repeating: " ", count: max(0, 5 - number.count))
        let indent = String(repeating: " ", count: max(0, position.column - 1))
        let mark = String(repeating: "^", count: max(1, width))
        text += "\(margin)\(number) | \(source)\n      | \(indent)\(mark)\n"
        return text
    }
}

/// What a value's parser says: the reader adds where.
struct Mistake: Error {
    let message: String
    /// Index of the word that is meant.
    var word = 0
    /// The line holds a secret, and is not shown.
    var isSecret = false

    init(_ message: String, word: Int = 0, isSecret: Bool = false) {
        self.message = message
        self.word = word
        self.isSecret = isSecret
    }
}

/// The nearest of what could have been meant.
enum Suggestion {
    /// `; did you mean 'x'?` for the candidate within two typing mistakes, or nothing.
    static func text(for word: String, among candidates: [String]) -> String {
        nearest(to: word, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
    }

    /// What other balancers call it, where no letters lead there.
    private static let synonyms: [String: String] = [
        "leastconn": "least-connections", "least-conn": "least-connections", "least_conn": "least-connections",
        "roundrobin": "round-robin", "source": "ip-hash", "bind": "listen", "workers": "threads",
        "worker-processes": "threads", "nbthread": "threads", "interval": "health-every", "inter": "health-every",
        "health-interval": "health-every", "rise": "health-rise", "fall": "health-fall", "log": "access-log",
        "timeout-server": "timeout-idle", "timeout-read": "timeout-idle", "proxy-read-timeout": "timeout-idle",
        "upstream": "servers", "max-conns": "maxconn", "keepalive-timeout": "timeout-keepalive",
        "ssl": "tls", "https": "tls", "crt": "certificate", "ssl-certificate": "certificate", "cert": "certificate",
        "ssl-certificate-key": "key", "private-key": "key", "keyfile": "key", "verify-client": "client-verify",
        "ssl-verify-client": "client-verify", "client-cert": "client-verify", "ca": "client-ca", "ca-file": "client-ca",
        "ssl-client-certificate": "client-ca", "ssl-crl": "client-crl", "crl": "client-crl", "crl-file": "client-crl",
        "protocols": "min-version", "ssl-protocols": "min-version", "ssl-ciphers": "ciphers",
        "ssl-min-ver": "min-version",
        "gzip": "compress", "compression": "compress", "gzip-types": "compress-types",
        "gzip-comp-level": "compress-level",
    ]

    static func nearest(to word: String, among candidates: [String]) -> String? {
        if let meant = synonyms[word], candidates.contains(meant) { return meant }
        let limit = min(2, max(1, word.utf8.count / 3))
        // No key is longer; and the work grows with the square.
        guard word.utf8.count <= 64 else { return nil }
        let best = candidates.map { ($0, distance(word, $0)) }.min { $0.1 < $1.1 }
        if let best, best.1 <= limit { return best.0 }
        // A word cut short or run on is meant more often than it is near.
        let prefixed = candidates.filter { $0.hasPrefix(word) || word.hasPrefix($0) }
        return word.utf8.count >= 3 && prefixed.count == 1 ? prefixed[0] : nil
    }

    /// Insertions, deletions, substitutions and swaps of neighbours that lead from one word to the other.
    static func distance(_ left: String, _ right: String) -> Int {
        let a = Array(left.utf8)
        let b = Array(right.utf8)
        var rows = [[Int]](repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
        for i in 0...a.count { rows[i][0] = i }
        for j in 0...b.count { rows[0][j] = j }
        guard !a.isEmpty, !b.isEmpty else { return max(a.count, b.count) }
        for i in 1...a.count {
            for j in 1...b.count {
                let cost = a[i - 1] == b[j - 1] ? 0 : 1
                rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + cost)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
                }
            }
        }
        return rows[a.count][b.count]
    }
}
