// Every setting in effect with where it came from: what `--dump` shows, and what two configurations are compared by.
public import Balancing

/// A configuration's settings as text. Secrets are in it only to be compared; they are never shown.
public struct EffectiveSettings: Sendable {
    struct Value: Sendable {
        let key: String
        let words: [Word]
        /// A file and line, or `default`.
        let origin: String

        /// The words as the dialect needs them.
        var text: String { words.map(shown).joined(separator: " ") }

        private func shown(_ word: Word) -> String {
            // Of who may look, the name is no secret.
            if key == "auth", let colon = word.text.firstIndex(of: ":") {
                return SettingsLoader.quoted("\(word.text[..<colon])") + ":***"
            }
            return word.isSecret ? "***" : SettingsLoader.quoted(word.text)
        }
    }

    struct Section: Sendable {
        let place: Schema.Place
        /// A backend's.
        let name: String
        /// It has a line of its own in the configuration.
        var isWritten = true
        var values: [Value]

        /// As its line says it in a configuration; empty for the part before the first.
        var line: String {
            switch place {
            case .global: ""
            case .backend: "backend \(name)"
            case .stats: "stats"
            case .metrics: "metrics"
            case .tls: name.isEmpty ? "tls" : "tls \(name)"
            }
        }
    }

    var sections: [Section]
    /// Each backend's servers, once their names are resolved.
    var servers: [(backend: String, servers: [Server])] = []

    /// Every setting as it is shown, in order.
    public var told: [(section: String, key: String, value: String, origin: String)] {
        sections.flatMap { section in
            section.values.map { (section.line, $0.key, $0.text, $0.origin) }
        }
    }

    /// The resolved servers of a backend; none where there is no such backend.
    public func servers(of backend: String) -> [Server] { servers.first { $0.backend == backend }?.servers ?? [] }

    /// The same with `servers` of each of `settings`' backends.
    public func with(servers: [[Server]], of settings: Settings) -> EffectiveSettings {
        var complete = self
        complete.servers = zip(settings.backends, servers).map { ($0.name, $1) }
        return complete
    }
}

extension SettingsLoader {
    /// Every key of every section with its value; of what was loaded.
    public var effective: EffectiveSettings {
        let global = sections[0]
        var found = [EffectiveSettings.Section(place: .global, name: "", values: [])]
        for key in Schema.globalKeys { found[0].values += values(key, global.settings, fallback: []) }
        if !sections.contains(where: { $0.place == .backend }) {
            var only = EffectiveSettings.Section(place: .backend, name: "default", isWritten: false, values: [])
            for key in Schema.backendKeys where key.name != "listen" {
                only.values += values(key, global.settings, fallback: [])
            }
            found.append(only)
        }
        for section in sections where section.place == .tls {
            var told = EffectiveSettings.Section(place: .tls, name: section.name ?? "", values: [])
            for key in Schema.tlsKeys { told.values += values(key, section.settings, fallback: []) }
            found.append(told)
        }
        for section in sections where section.place == .backend {
            var told = EffectiveSettings.Section(place: .backend, name: section.name ?? "", values: [])
            for key in Schema.backendKeys {
                told.values += values(key, section.settings, fallback: key.name == "listen" ? [] : global.settings)
            }
            found.append(told)
        }
        var stats = EffectiveSettings.Section(place: .stats, name: "", values: [])
        if !settings.stats.isWritten, settings.stats.listeners.isEmpty {
            let off = Word(text: "off", column: 0, width: 0)
            stats.values = [.init(key: "listen", words: [off], origin: "default, but its port is taken above")]
        } else {
            let own = sections.first { $0.place == .stats }?.settings ?? []
            for key in Schema.statsKeys { stats.values += values(key, own, fallback: []) }
        }
        found.append(stats)
        if let section = sections.first(where: { $0.place == .metrics }) {
            var told = EffectiveSettings.Section(place: .metrics, name: "", values: [])
            for key in Schema.metricsKeys { told.values += values(key, section.settings, fallback: []) }
            found.append(told)
        }
        return EffectiveSettings(sections: found)
    }

    private func values(_ key: Key, _ own: [Setting], fallback: [Setting]) -> [EffectiveSettings.Value] {
        var found = own.filter { $0.key == key.name }
        if found.isEmpty { found = fallback.filter { $0.key == key.name } }
        if found.isEmpty {
            guard let value = key.defaultText else { return [] }
            // A default may be several words, and is none of them quoted.
            let words = value.split(separator: " ").map { Word(text: String($0), column: 0, width: 0) }
            return [.init(key: key.name, words: words, origin: "default")]
        }
        return found.map { setting in
            let origin = setting.position
            return .init(
                key: key.name, words: setting.words,
                origin: origin.line > 0 ? "\(origin.file):\(origin.line)" : origin.file)
        }
    }
}
