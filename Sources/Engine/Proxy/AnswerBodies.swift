// The bodies of ballast's own answers: built in, or the operator's. Whatever is put into one is escaped for its form.
import HTTP
import Relay

/// Bodies for the answers that ballast gives itself.
public struct AnswerBodies: Equatable, Sendable {
    /// Bytes of one body before anything is put into it, at most: the whole answer fits one block.
    public static let largest = 16 << 10

    /// Statuses and classes that a body may be for.
    public static let names: [String] =
        [
            "4xx", "5xx", "400", "404", "405", "408", "413", "414", "417", "421", "429", "431", "501", "502", "503",
            "504", "505",
        ]

    private struct Entry: Equatable, Sendable {
        let name: String
        let form: AnswerForm
        let template: Template
    }

    private var entries: [Entry] = []

    public init() {}

    /// - Parameter name: a status, `4xx` or `5xx`.
    public mutating func add(_ text: String, for name: String, _ form: AnswerForm) {
        entries.append(Entry(name: name, form: form, template: Template(text)))
    }

    /// The body that tells of `failure`, in at most `room` bytes where those suffice for the built-in one.
    func body(_ failure: Failure, _ form: AnswerForm, requestID: [UInt8], room: Int = 2 * largest) -> [UInt8] {
        let values = Values(failure, form, requestID)
        if let own = template("\(failure.status)", form) ?? template("\(failure.status / 100)xx", form) {
            let body = own.filled(values)
            if body.count <= min(room, 2 * Self.largest) { return body }
        }
        return Self.builtIn(form).filled(values)
    }

    private func template(_ name: String, _ form: AnswerForm) -> Template? {
        if entries.isEmpty { return nil }
        return entries.first { $0.name == name && $0.form == form }?.template
    }

    private static func builtIn(_ form: AnswerForm) -> Template {
        switch form {
        case .json: json
        case .html: html
        case .text: text
        }
    }

    /// JSON is the shape in which AI clients show their users what went wrong.
    private static let json = Template(
        "{\"error\":{\"message\":\"{message}\",\"type\":\"{type}\",\"param\":null,\"code\":{status}},"
            + "\"request_id\":\"{request-id}\"}\n")
    private static let html = Template(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{status} {reason}</title>\n"
            + "<h1>{status} {reason}</h1>\n<p>{message}</p>\n<p>request {request-id}</p>\n</html>\n")
    private static let text = Template("{status} {reason}: {message}\nrequest {request-id}\n")
}

/// What is put into a body.
private struct Values {
    static let names = ["{status}", "{reason}", "{type}", "{message}", "{request-id}"].map { Array($0.utf8) }
    /// In the order of the names.
    let texts: [[UInt8]]

    /// Texts of ballast's own and ids of `[A-Za-z0-9._-]`; still, nothing goes out as it is.
    init(_ failure: Failure, _ form: AnswerForm, _ id: [UInt8]) {
        let own = [
            "\(failure.status)", "\(Replies.reason(failure.status))", "\(failure.word)", "\(failure.explanation)",
        ].map { Array($0.utf8) }
        texts = (own + [id]).map { Self.escaped($0, form) }
    }

    private static func escaped(_ text: [UInt8], _ form: AnswerForm) -> [UInt8] {
        guard form != .text else { return text }
        var escaped: [UInt8] = []
        for byte in text {
            switch (form, byte) {
            case (.html, UInt8(ascii: "<")): escaped += "&lt;".utf8
            case (.html, UInt8(ascii: ">")): escaped += "&gt;".utf8
            case (.html, UInt8(ascii: "&")): escaped += "&amp;".utf8
            case (.html, UInt8(ascii: "\"")): escaped += "&quot;".utf8
            case (.html, UInt8(ascii: "'")): escaped += "&#39;".utf8
            case (.json, UInt8(ascii: "\"")), (.json, UInt8(ascii: "\\")): escaped += [UInt8(ascii: "\\"), byte]
            case _: escaped.append(byte)
            }
        }
        return escaped
    }
}

/// A body taken apart once, because answers are given in storms.
private struct Template: Equatable, Sendable {
    private enum Part: Equatable, Sendable {
        case text([UInt8])
        /// By its place among the names.
        case value(Int)
    }

    private var parts: [Part] = []

    init(_ text: String) {
        var rest = Array(text.utf8)[...]
        var plain: [UInt8] = []
        while let byte = rest.first {
            if let name = Values.names.firstIndex(where: { rest.starts(with: $0) }) {
                parts += [.text(plain), .value(name)]
                plain = []
                rest = rest.dropFirst(Values.names[name].count)
            } else {
                plain.append(byte)
                rest = rest.dropFirst()
            }
        }
        parts.append(.text(plain))
    }

    func filled(_ values: Values) -> [UInt8] {
        var filled: [UInt8] = []
        for part in parts {
            switch part {
            case .text(let text): filled += text
            case .value(let index): filled += values.texts[index]
            }
        }
        return filled
    }
}
