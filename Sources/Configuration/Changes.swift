// What is different between two configurations, in a few lines for the log. It compares what is said, not how it is
// written, and shows no secret.
import Balancing

extension EffectiveSettings {
    /// Items of one line; the rest is counted.
    private static let longest = 20

    /// One line for each section that changes: `predict: + gpu4, - gpu2, maxconn 10 → 12`.
    /// - Parameter except: keys whose change is told elsewhere.
    public func changes(to new: EffectiveSettings, except: [String] = []) -> [String] {
        var lines: [String] = []
        for section in sections where new.section(of: section) == nil {
            lines.append("- \(section.fullTitle)")
        }
        for section in new.sections {
            guard let before = self.section(of: section) else {
                let names = section.place == .backend ? new.servers(of: section.name).map(\.name) : []
                let list = names.isEmpty ? "" : ": \(Self.cut(names).joined(separator: " "))"
                lines.append("+ \(section.fullTitle)\(list)")
                continue
            }
            let keys = before.changes(to: section).filter { !except.contains($0.key) }
            var items = keys.map(\.text)
            if section.place == .backend {
                let maxconn = keys.first { $0.key == "maxconn" }?.text
                items = serverChanges(to: new, of: section.name, asTold: maxconn) + items
            }
            if !items.isEmpty { lines.append("\(section.title): \(Self.cut(items).joined(separator: ", "))") }
        }
        return lines
    }

    private func section(of other: Section) -> Section? {
        sections.first { $0.place == other.place && $0.name == other.name }
    }

    private static func cut(_ items: [String]) -> [String] {
        items.count <= longest ? items : items.prefix(longest) + ["and \(items.count - longest) more"]
    }

    /// - Parameter asTold: a change of the backend's maxconn, which needs no saying again for each server.
    private func serverChanges(to new: EffectiveSettings, of backend: String, asTold: String?) -> [String] {
        let old = Dictionary(servers(of: backend).map { ($0.name, $0) }) { first, _ in first }
        let now = new.servers(of: backend)
        let names = Set(now.map(\.name))
        var items = now.filter { old[$0.name] == nil }.map { "+ \($0.name)" }
        items += servers(of: backend).filter { !names.contains($0.name) }.map { "- \($0.name)" }
        for server in now {
            guard let before = old[server.name], before != server else { continue }
            items += Self.changes(from: before, to: server).filter { $0 != asTold }.map { "\(server.name) \($0)" }
        }
        return items
    }

    private static func changes(from old: Server, to new: Server) -> [String] {
        var items: [String] = []
        if old.endpoint != new.endpoint { items.append("\(old.endpoint) → \(new.endpoint)") }
        if old.weight != new.weight { items.append("weight \(old.weight) → \(new.weight)") }
        if old.maxconn != new.maxconn { items.append("maxconn \(old.maxconn) → \(new.maxconn)") }
        if old.isBackup != new.isBackup { items.append(new.isBackup ? "backup" : "not backup") }
        if old.isDisabled != new.isDisabled { items.append(new.isDisabled ? "disabled" : "enabled") }
        return items
    }
}

extension EffectiveSettings.Section {
    fileprivate var title: String {
        switch place {
        case .global: "global"
        case .backend: name
        case .stats: "stats"
        case .metrics: "metrics"
        case .tls: name.isEmpty ? "tls" : "tls \(name)"
        }
    }

    fileprivate var fullTitle: String { place == .backend ? "backend \(name)" : title }

    /// Changes by key; servers are left out.
    fileprivate func changes(to new: EffectiveSettings.Section) -> [(key: String, text: String)] {
        Schema.keys(in: place).filter { !["server", "servers"].contains($0.name) }.flatMap { key in
            let before = values.filter { $0.key == key.name }
            let now = new.values.filter { $0.key == key.name }
            // Where the same was said of every word it is the same, wherever it was said.
            guard before.map(\.meaning) != now.map(\.meaning) else { return [(key: String, text: String)]() }
            guard key.repeats else {
                let text = "\(key.name) \(before.first?.text ?? "none") → \(now.first?.text ?? "none")"
                return [(key.name, text)]
            }
            let gone = before.filter { old in !now.contains { $0.meaning == old.meaning } }
            let come = now.filter { new in !before.contains { $0.meaning == new.meaning } }
            return come.map { (key.name, "+ \(key.name) \($0.text)") }
                + gone.map { (key.name, "- \(key.name) \($0.text)") }
        }
    }
}

extension EffectiveSettings.Value {
    fileprivate var meaning: [String] { words.map(\.text) }
}
