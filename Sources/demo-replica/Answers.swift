// What a demo replica says: JSON texts made from a request's few facts. It reads no more of a request than it uses.

/// The texts of answers.
enum Answers {
    private static let words = [
        "Ballast", " keeps", " a", " ship", " steady", ":", " weight", " low", " in", " the", " hull", ",", " shared",
        " out", " so", " that", " no", " side", " carries", " more", " than", " it", " can", ".",
    ]

    static func word(_ index: Int) -> String { words[index % words.count] }

    static func models(_ name: String) -> String {
        "{\"object\":\"list\",\"data\":[{\"id\":\"demo\",\"object\":\"model\",\"created\":1700000000,"
            + "\"owned_by\":\"\(name)\"}]}\n"
    }

    static func prediction(_ name: String, received: Int) -> String {
        "{\"replica\":\"\(name)\",\"received\":\(received),\"prediction\":0.875}\n"
    }

    static func completion(_ name: String, tokens: Int) -> String {
        let text = (0..<tokens).map(word).joined()
        return "{\"id\":\"chatcmpl-\(name)\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"demo\","
            + "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\(text)\"},"
            + "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":\(tokens),"
            + "\"total_tokens\":\(tokens + 1)},\"system_fingerprint\":\"\(name)\"}\n"
    }

    /// One server-sent event. `sentAt` lets a client on the same machine measure how long the event travelled.
    static func event(_ name: String, token: Int, of tokens: Int, sentAt: Duration) -> String {
        let isLast = token == tokens - 1
        let nanoseconds = sentAt / .nanoseconds(1)
        return "data: {\"id\":\"chatcmpl-\(name)\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
            + "\"model\":\"demo\",\"sent_ns\":\(Int(nanoseconds)),\"choices\":[{\"index\":0,"
            + "\"delta\":{\"content\":\"\(word(token))\"},\"finish_reason\":\(isLast ? "\"stop\"" : "null")}]}\n\n"
    }

    static let lastEvent = "data: [DONE]\n\n"

    /// Whether a JSON object's text says `"key": true` anywhere.
    static func isTrue(_ key: String, in body: [UInt8]) -> Bool {
        value(of: key, in: body)?.starts(with: "true".utf8) ?? false
    }

    /// The whole number that a JSON object's text gives to `key`, wherever it stands.
    static func number(_ key: String, in body: [UInt8]) -> Int? {
        guard let value = value(of: key, in: body) else { return nil }
        let digits = value.prefix { $0 >= 0x30 && $0 <= 0x39 }.prefix(9)
        return digits.isEmpty ? nil : digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }

    private static func value(of key: String, in body: [UInt8]) -> ArraySlice<UInt8>? {
        let pattern = Array("\"\(key)\"".utf8)
        guard body.count > pattern.count else { return nil }
        for start in 0..<(body.count - pattern.count) where body[start...].starts(with: pattern) {
            let rest = body[(start + pattern.count)...].drop { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d }
            guard rest.first == UInt8(ascii: ":") else { continue }
            return rest.dropFirst().drop { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d }
        }
        return nil
    }
}
