// JSON piece by piece (RFC 8259). Whoever writes it says what is an object; the commas are here.

/// Values of JSON with the commas between them.
struct JSONWriter {
    private(set) var writer = TextWriter()
    private var needsComma = false

    private mutating func begin(_ key: String) {
        if needsComma { writer.raw(",") }
        needsComma = true
        guard !key.isEmpty else { return }
        writer.json(key)
        writer.raw(":")
    }

    mutating func add(_ key: String, _ value: String) {
        begin(key)
        writer.json(value)
    }

    mutating func add(_ key: String, _ value: Int) {
        begin(key)
        writer.number(value)
    }

    /// Null where there is none.
    mutating func add(_ key: String, _ value: Int?) {
        begin(key)
        if let value { writer.number(value) } else { writer.raw("null") }
    }

    mutating func add(_ key: String, _ value: Bool) {
        begin(key)
        writer.raw(value ? "true" : "false")
    }

    /// With six digits behind the point; null where there is none.
    mutating func add(_ key: String, _ value: Double?) {
        begin(key)
        if let value { writer.number(value, places: 6) } else { writer.raw("null") }
    }

    mutating func object(_ key: String = "", _ body: (inout JSONWriter) -> Void) { nest(key, "{", "}", body) }
    mutating func array(_ key: String, _ body: (inout JSONWriter) -> Void) { nest(key, "[", "]", body) }

    private mutating func nest(_ key: String, _ open: String, _ close: String, _ body: (inout JSONWriter) -> Void) {
        begin(key)
        writer.raw(open)
        needsComma = false
        body(&self)
        writer.raw(close)
        needsComma = true
    }

    mutating func counts(_ key: String, _ items: [(String, Int)]) {
        object(key) { for (name, count) in items { $0.add(name, count) } }
    }

    mutating func line() { writer.raw("\n") }
}
