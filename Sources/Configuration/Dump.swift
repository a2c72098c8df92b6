// The effective settings as text, each with where it came from. It never shows a secret.

extension EffectiveSettings {
    /// What `--dump` prints: a configuration that says all of it.
    public var dump: String {
        var text = ""
        for section in sections {
            switch section.place {
            case .global: break
            case .backend:
                text +=
                    section.isWritten
                    ? "\n[backend \(SettingsLoader.quoted(section.name))]\n" : "\n# the backend 'default'\n"
            case .stats: text += "\n[stats]\n"
            case .metrics: text += "\n[metrics]\n"
            case .tls:
                text += section.name.isEmpty ? "\n[tls]\n" : "\n[tls \(SettingsLoader.quoted(section.name))]\n"
            }
            for value in section.values { text += Self.line(value) }
        }
        return text
    }

    private static func line(_ value: Value) -> String {
        let setting = "\(value.key) = \(value.text)"
        let gap = String(repeating: " ", count: max(2, 44 - setting.utf8.count))
        return "\(setting)\(gap)# \(value.origin)\n"
    }
}

extension SettingsLoader {
    /// A word as the dialect needs it.
    static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty && !word.utf8.contains { $0 <= 0x20 || $0 == 0x7f || "\"',#;${}[]".utf8.contains($0) }
        if isPlain { return word }
        var text = ""
        // By scalars: a quote with an accent over it is still a quote.
        for scalar in word.unicodeScalars {
            switch scalar {
            case "\"", "\\": text += "\\\(scalar)"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            // What would begin a variable stands in literal quotes, which may follow others in one word.
            case "$": text += "\"'$'\""
            case _: text.unicodeScalars.append(scalar)
            }
        }
        return "\"\(text)\""
    }
}
