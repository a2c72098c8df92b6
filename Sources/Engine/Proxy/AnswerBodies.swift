// The bodies of ballast's own answers: built in, or the operator's. Whatever is put into one is escaped for its form.
import HTTP
public import Relay

/// Bodies for the answers that ballast gives itself.
public struct AnswerBodies: Sendable {
    /// Bytes of one body before anything is put into it, at most: the whole answer fits one block.
    public static let largest = 16 << 10

    /// Statuses and classes that a body may be for.
    public static let names: [String] =
        [
            "4xx", "5xx", "400", "404", "405", "408", "413", "414", "417", "421", "429", "431", "501", "502", "503",
            "504", "505",
        ]

    struct Entry: Sendable {
        let name: String
        let form: AnswerForm
        let text: String
    }

    private var entries: [Entry] = []

    public init() {}

    /// - Parameter name: a status, `4xx` or `5xx`.
    public mutating func add(_ text: String, for name: String, _ form: AnswerForm) {
        entries.append(Entry(name: name, form: form, text: text))
    }

    /// The body that tells of `failure`.
    func body(_ failure: Failure, _ form: AnswerForm, requestID: String) -> String {
        let own = template("\(failure.status)", form) ?? template("\(failure.status / 100)xx", form)
        let body = Self.filled(own ?? Self.builtIn(form), failure, form, requestID)
        guard body.utf8.count > 2 * Self.largest else { return body }
        // What stands in it very often has made it longer than a block.
        return Self.filled(Self.builtIn(form), failure, form, requestID)
    }

    private func template(_ name: String, _ form: AnswerForm) -> String? {
        entries.first { $0.name == name && $0.form == form }?.text
    }

    /// JSON is the shape in which AI clients show their users what went wrong.
    private static func builtIn(_ form: AnswerForm) -> String {
        switch form {
        case .json:
            "{\"error\":{\"message\":\"{message}\",\"type\":\"{type}\",\"param\":null,\"code\":{status}},"
                + "\"request_id\":\"{request-id}\"}\n"
        case .html:
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{status} {reason}</title>\n"
                + "<h1>{status} {reason}</h1>\n<p>{message}</p>\n<p>request {request-id}</p>\n</html>\n"
        case .text:
            "{status} {reason}: {message}\nrequest {request-id}\n"
        }
    }

    private static func filled(_ template: String, _ failure: Failure, _ form: AnswerForm, _ id: String) -> String {
        let values: [(name: String, value: String)] = [
            ("{status}", "\(failure.status)"), ("{reason}", "\(Replies.reason(failure.status))"),
            ("{type}", "\(failure.word)"), ("{message}", "\(failure.explanation)"), ("{request-id}", id),
        ]
        var filled = ""
        var rest = template[...]
        while let brace = rest.firstIndex(of: "{") {
            filled += rest[..<brace]
            rest = rest[brace...]
            if let (name, value) = values.first(where: { rest.hasPrefix($0.name) }) {
                filled += escaped(value, form)
                rest = rest.dropFirst(name.count)
            } else {
                filled.append(rest.removeFirst())
            }
        }
        return filled + rest
    }

    /// Texts of ballast's own and ids of `[A-Za-z0-9._-]`; still, nothing goes out as it is.
    private static func escaped(_ text: String, _ form: AnswerForm) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            switch (form, character) {
            case (.html, "<"): escaped += "&lt;"
            case (.html, ">"): escaped += "&gt;"
            case (.html, "&"): escaped += "&amp;"
            case (.html, "\""): escaped += "&quot;"
            case (.html, "'"): escaped += "&#39;"
            case (.json, "\""), (.json, "\\"): escaped += "\\\(character)"
            case _: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
