// Which fields a backend's messages get and lose: `set-request-header` and its kin. It writes no field.

/// What stands in the value of a field that is set.
public enum FieldPart: Equatable, Sendable {
    case text(String)
    case variable(FieldVariable)
}

/// What a value may say of the message that it goes with.
public enum FieldVariable: String, CaseIterable, Sendable {
    case client, backend, server, scheme, host
    case requestID = "request-id"
}

/// A field with a value of the configuration's.
public struct FieldRule: Equatable, Sendable {
    public var name: String
    public var value: [FieldPart]
}

/// The rules of one direction.
public struct FieldRules: Equatable, Sendable {
    /// Fields that come, each name once, and names of fields that go.
    public var sets: [FieldRule] = []
    public var removes: [String] = []

    public init() {}

    /// Sets a field, unless something is said of it already.
    public mutating func set(_ name: String, _ value: String) {
        let named = sets.map(\.name) + removes
        guard !named.contains(where: { $0.lowercased() == name.lowercased() }) else { return }
        sets.append(FieldRule(name: name, value: [.text(value)]))
    }

    /// Bytes that all values together may have, so that a head with them has room: variables count as the longest there are.
    static let longest = 8 << 10

    private static func longest(_ part: FieldPart) -> Int {
        switch part {
        case .text(let text): text.utf8.count
        case .variable(.client): 45
        case .variable(.scheme): 5
        case .variable(.backend), .variable(.requestID): 128
        // Without a name of its own it goes by host and port.
        case .variable(.server), .variable(.host): 262
        }
    }

    /// Bytes that the fields that are set can take.
    public var addition: Int {
        sets.reduce(0) { sum, rule in
            sum + rule.name.utf8.count + 4 + rule.value.reduce(0) { $0 + Self.longest($1) }
        }
    }
}

extension Readers {
    @Sendable static func setRequestField(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        try set(&backend.requestFields, setting, mayBe: ["host"])
    }

    @Sendable static func setResponseField(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        try set(&backend.responseFields, setting, mayBe: [])
    }

    @Sendable static func removeRequestField(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        try remove(&backend.requestFields, setting)
    }

    @Sendable static func removeResponseField(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        try remove(&backend.responseFields, setting)
    }

    /// Fields that say how a message is framed and who is connected to whom: a wrong one splits messages.
    private static let framing = [
        "connection", "content-length", "transfer-encoding", "keep-alive", "proxy-connection", "te", "trailer",
        "upgrade", "http2-settings", "expect", "host",
    ]

    /// `NAME VALUE`.
    private static func set(
        _ rules: inout FieldRules, _ setting: Setting, mayBe allowed: [String]
    ) throws(Mistake) {
        let name = try fieldName(setting.words[0].text, word: 0, mayBe: allowed)
        guard setting.words.count > 1 else {
            throw Mistake("'\(name)' has no value; write \"\" for an empty one, or \(removing(setting)) = \(name)")
        }
        // Commas part words: a value that was not quoted would lose them.
        guard setting.words.count == 2 else {
            throw Mistake("a value with blanks or commas needs quotes: \(setting.key) = \(name) \"...\"", word: 2)
        }
        guard !rules.sets.contains(where: { $0.name.lowercased() == name.lowercased() }) else {
            throw Mistake("'\(name)' is set twice; a field has one value")
        }
        rules.sets.append(FieldRule(name: name, value: try parts(setting.words[1].text)))
        guard rules.addition <= FieldRules.longest else {
            throw Mistake("all values that are set must not have more than 8k together")
        }
    }

    private static func removing(_ setting: Setting) -> String {
        setting.key.replacing("set-", with: "remove-")
    }

    private static func remove(_ rules: inout FieldRules, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() {
            rules.removes.append(try fieldName(word.text, word: index, mayBe: []))
        }
    }

    private static func fieldName(_ text: String, word: Int, mayBe allowed: [String]) throws(Mistake) -> String {
        let isToken = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            case _: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
        guard (1...128).contains(text.utf8.count), isToken else {
            let hint = text.hasSuffix(":") ? "; leave the colon out" : ""
            throw Mistake("'\(text)' is not a field name like X-Model\(hint)", word: word)
        }
        guard !text.contains("*") else { throw Mistake("'\(text)': names are written whole, without *", word: word) }
        guard !framing.contains(text.lowercased()) || allowed.contains(text.lowercased()) else {
            throw Mistake("'\(text)' belongs to the connection and is ballast's own affair", word: word)
        }
        return text
    }

    /// Text with `{variables}`; braces around anything but a word are text.
    private static func parts(_ text: String) throws(Mistake) -> [FieldPart] {
        guard text.utf8.allSatisfy({ $0 == 0x09 || $0 >= 0x20 && $0 < 0x7f }) else {
            throw Mistake("a field's value is printable ASCII", word: 1)
        }
        var parts: [FieldPart] = []
        var rest = text[...]
        var plain = ""
        while let open = rest.firstIndex(of: "{") {
            plain += rest[..<open]
            rest = rest[open...]
            let word = rest.dropFirst().prefix { $0.isASCII && ($0.isLetter || $0 == "-") }
            guard !word.isEmpty, rest[word.endIndex...].first == "}" else {
                plain.append("{")
                rest = rest.dropFirst()
                continue
            }
            guard let variable = FieldVariable(rawValue: String(word)) else {
                let names = FieldVariable.allCases.map(\.rawValue)
                let hint = Suggestion.text(for: String(word), among: names)
                let all = "; there are " + names.map { "{\($0)}" }.joined(separator: " ")
                throw Mistake("'{\(word)}' is not known here\(hint.isEmpty ? all : hint)", word: 1)
            }
            if !plain.isEmpty { parts.append(.text(plain)) }
            plain = ""
            parts.append(.variable(variable))
            rest = rest[word.endIndex...].dropFirst()
        }
        plain += rest
        if !plain.isEmpty { parts.append(.text(plain)) }
        return parts
    }

    // MARK: What else is changed on the way

    @Sendable static func stripPrefix(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        for (index, prefix) in try prefixes(setting).enumerated() where !backend.stripPrefixes.contains(prefix) {
            guard !prefix.isEmpty else { throw Mistake("'/' has nothing that could be taken off", word: index) }
            backend.stripPrefixes.append(prefix)
        }
    }

    @Sendable static func servedBy(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.servedBy = try Values.flag(try setting.single)
    }

    @Sendable static func upgrade(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let words = setting.words.map { $0.text.lowercased() }
        guard words != ["off"] else {
            backend.upgrade = []
            return
        }
        for (index, word) in words.enumerated() {
            guard !["off", "on", "yes", "no", "true", "false"].contains(word) else {
                throw Mistake("write the protocols that may tunnel, like websocket, or off alone", word: index)
            }
            let hint = word == "websocket" ? "" : Suggestion.text(for: word, among: ["websocket"])
            guard hint.isEmpty else { throw Mistake("'\(word)' is no protocol that is known\(hint)", word: index) }
            guard (1...64).contains(word.utf8.count), word.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2c })
            else { throw Mistake("'\(word)' is not a protocol like websocket", word: index) }
            // What it begins with would be read by nobody's rules.
            guard word != "h2c" else {
                throw Mistake("h2c would let requests pass that ballast has not read; it cannot tunnel", word: index)
            }
        }
        backend.upgrade = words
    }
}

extension Readers {
    @Sendable static func compress(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.compresses = try Values.choice(try setting.single, among: ["off", "gzip"]) == "gzip"
    }

    @Sendable static func compressCookies(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.compressesCookies = try Values.flag(try setting.single)
    }

    @Sendable static func compressTypes(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.compressTypes = []
        for (index, word) in setting.words.enumerated() {
            let type = word.text.lowercased()
            let isType =
                type.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x3b } && type.split(separator: "/").count == 2
                && !type.dropLast().contains("*")
            guard isType else { throw Mistake("'\(word.text)' is not a media type like application/json", word: index) }
            guard type != "text/event-stream" else {
                throw Mistake("event streams are never compressed: their events must not wait", word: index)
            }
            backend.compressTypes.append(type)
        }
    }
}
