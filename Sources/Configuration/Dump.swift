// The effective settings as text, each with where it came from. It never shows a secret.

extension SettingsLoader {
    /// Every key of every section with its value, for people and for comparing two configurations.
    public var dump: String {
        var text = ""
        let global = sections[0]
        for key in Schema.globalKeys { text += lines(key, global.settings, fallback: []) }
        if !sections.contains(where: { $0.place == .backend }) {
            text += "\n# the backend 'default'\n"
            for key in Schema.backendKeys where key.name != "listen" {
                text += lines(key, global.settings, fallback: [])
            }
        }
        for section in sections where section.place == .backend {
            text += "\n[backend \(Self.quoted(section.name ?? ""))]\n"
            for key in Schema.backendKeys {
                text += lines(key, section.settings, fallback: key.name == "listen" ? [] : global.settings)
            }
        }
        text += "\n[stats]\n"
        let stats = sections.first { $0.place == .stats }
        if !settings.stats.isWritten, settings.stats.listeners.isEmpty {
            text += Self.line("listen", "off", "default, but its port is taken above")
        } else {
            for key in Schema.statsKeys { text += lines(key, stats?.settings ?? [], fallback: []) }
        }
        return text
    }

    private func lines(_ key: Key, _ own: [Setting], fallback: [Setting]) -> String {
        var found = own.filter { $0.key == key.name }
        if found.isEmpty { found = fallback.filter { $0.key == key.name } }
        if found.isEmpty {
            guard let value = key.defaultText else { return "" }
            return Self.line(key.name, value, "default")
        }
        return found.map { setting in
            let words = setting.words.map { $0.isSecret ? "***" : Self.quoted($0.text) }
            let origin = setting.position
            let place = origin.line > 0 ? "\(origin.file):\(origin.line)" : origin.file
            return Self.line(key.name, words.joined(separator: " "), place)
        }.joined()
    }

    private static func line(_ key: String, _ value: String, _ origin: String) -> String {
        let setting = "\(key) = \(value)"
        let gap = String(repeating: " ", count: max(2, 44 - setting.utf8.count))
        return "\(setting)\(gap)# \(origin)\n"
    }

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
