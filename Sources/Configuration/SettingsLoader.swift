// A configuration file to settings, or to every mistake that is in it. It asks the outside world only through the
// closures it was given.
import Addresses
import Balancing

/// What loading came to.
public enum LoadOutcome: Sendable {
    case loaded(Settings)
    /// At least one error, in the order of files and lines, at most `SettingsError.limit`.
    case refused([SettingsError])
}

/// Loads a configuration.
public struct SettingsLoader {
    private let sources: ConfigurationSources
    private var errors: [SettingsError] = []
    private var settings = Settings()
    /// What every backend starts from: backend keys written before the first section.
    private var template = BackendSettings(name: "default")
    private var sections: [Section] = []
    private var openFiles: [String] = []
    private var readFiles: [String] = []

    /// Files that may include one another, the first one counted.
    private static let includeDepth = 8

    private struct Section {
        let name: String
        let position: Position
        let source: String
        var settings: [Setting] = []
    }

    public init(sources: ConfigurationSources) { self.sources = sources }

    /// Loads the file called `file`, which `sources` can read.
    public mutating func load(_ file: String) -> LoadOutcome {
        readFile(file, for: nil)
        applyBackends()
        checkWhole(file)
        return outcome
    }

    /// Settings for `ballast -l LISTEN SERVER...`: no file, the same checks.
    public mutating func load(listen: [String], servers: [String]) -> LoadOutcome {
        let position = Position(file: "command line", line: 0, column: 0)
        func setting(_ key: String, _ text: String) -> Setting {
            Setting(key: key, words: [Word(text: text, column: 0, width: 0)], position: position, source: "")
        }
        for text in listen { applyGlobal(setting("listen", text)) }
        for text in servers { applyGlobal(setting("servers", text)) }
        applyBackends()
        checkWhole("command line")
        return outcome
    }

    private var outcome: LoadOutcome {
        guard !errors.isEmpty else { return .loaded(settings) }
        // In the order of files as they were read, then of lines.
        let order = errors.enumerated().sorted { left, right in
            let files = (fileOrder(left.element), fileOrder(right.element))
            if files.0 != files.1 { return files.0 < files.1 }
            let lines = (left.element.position.line, right.element.position.line)
            return lines.0 != lines.1 ? lines.0 < lines.1 : left.offset < right.offset
        }
        return .refused(Array(order.map(\.element).prefix(SettingsError.limit)))
    }

    private func fileOrder(_ error: SettingsError) -> Int {
        readFiles.firstIndex(of: error.position.file) ?? readFiles.count
    }

    // MARK: Files

    private mutating func readFile(_ path: String, for include: Setting?) {
        guard !openFiles.contains(path) else {
            errors.append(
                include?.error("'\(path)' includes itself", word: include?.words.first)
                    ?? SettingsError(Position(file: path, line: 0, column: 0), "the file includes itself"))
            return
        }
        let bytes: [UInt8]
        do {
            bytes = try sources.read(path)
        } catch {
            errors.append(
                include?.error("cannot read '\(path)': \(error)", word: include?.words.first)
                    ?? SettingsError(Position(file: path, line: 0, column: 0), "cannot read the file: \(error)"))
            return
        }
        openFiles.append(path)
        readFiles.append(path)
        defer { openFiles.removeLast() }
        var reader = INIReader(file: path, sources: sources)
        reader.read(bytes)
        errors += reader.errors
        var seen: [String: Int] = [:]
        var current: Int?
        var isInUnknown = false
        for line in reader.lines {
            switch line {
            case .section(let kind, let name, let position, let source):
                seen = [:]
                current = begin(kind, name, position, source)
                isInUnknown = current == nil
            case .brokenSection:
                isInUnknown = true
            case .setting(let setting):
                // One wrong section is one mistake: what stands in it is not judged.
                if isInUnknown { continue }
                take(setting, section: current, &seen)
            }
        }
    }

    private mutating func begin(_ kind: String, _ name: String?, _ position: Position, _ source: String) -> Int? {
        func fail(_ message: String) {
            errors.append(SettingsError(position, message, source: source, width: source.utf8.count))
        }
        guard kind == "backend" else {
            fail("unknown section [\(kind)]" + Suggestion.text(for: kind, among: Schema.sections))
            return nil
        }
        guard let name, !name.isEmpty else {
            fail("a backend needs a name: [backend NAME]")
            return nil
        }
        if let earlier = sections.first(where: { $0.name == name }) {
            fail("[backend \(name)] stands twice; it begins at \(earlier.position) already")
            return nil
        }
        sections.append(Section(name: name, position: position, source: source))
        return sections.count - 1
    }

    private mutating func take(_ setting: Setting, section: Int?, _ seen: inout [String: Int]) {
        let place = section.map { "[backend \(sections[$0].name)]" } ?? "the global part"
        guard let key = Schema.key(setting.key) else {
            let names = Schema.keys.filter { $0.mayStand(inBackend: section != nil) }.map(\.name)
            let hint = Suggestion.text(for: setting.key, among: names)
            errors.append(setting.error("unknown key '\(setting.key)' in \(place)\(hint)"))
            return
        }
        if let line = seen[key.name], !key.repeats {
            errors.append(setting.error("'\(key.name)' stands twice in \(place); line \(line) sets it already"))
            return
        }
        seen[key.name] = setting.position.line
        switch (key.scope, section) {
        case (.include, nil): include(setting)
        case (.global, nil), (.backend, nil): applyGlobal(setting)
        case (.backend, .some(let index)): sections[index].settings.append(setting)
        case (.global, .some), (.include, .some):
            errors.append(setting.error("'\(key.name)' is global; move it before the first section"))
        }
    }

    private mutating func include(_ setting: Setting) {
        for word in setting.words {
            let path = resolve(word.text, beside: setting.position.file)
            guard openFiles.count < Self.includeDepth else {
                errors.append(
                    setting.error("files include one another more than \(Self.includeDepth) deep", word: word))
                return
            }
            guard path.contains("*") else {
                readFile(path, for: setting)
                continue
            }
            let slash = path.lastIndex(of: "/")
            let folder = slash.map { String(path[..<$0]) } ?? "."
            let pattern = slash.map { String(path[path.index(after: $0)...]) } ?? path
            guard !folder.contains("*") else {
                errors.append(setting.error("'*' may stand in the last part of a path only", word: word))
                continue
            }
            for name in (try? sources.names(folder)) ?? [] where Self.matches(name, pattern) {
                readFile(slash == nil ? name : "\(folder)/\(name)", for: setting)
            }
        }
    }

    private func resolve(_ path: String, beside file: String) -> String {
        guard !path.hasPrefix("/"), let slash = file.lastIndex(of: "/") else { return path }
        return String(file[...slash]) + path
    }

    /// Whether `name` matches a pattern in which `*` stands for any bytes; names that begin with a dot are hidden.
    static func matches(_ name: String, _ pattern: String) -> Bool {
        guard !name.hasPrefix(".") || pattern.hasPrefix(".") else { return false }
        let parts = pattern.split(separator: "*", omittingEmptySubsequences: false)
        guard let first = parts.first, let last = parts.last, name.hasPrefix(first) else { return false }
        guard parts.count > 1 else { return name == pattern }
        guard name.utf8.count >= first.utf8.count + last.utf8.count, name.hasSuffix(last) else { return false }
        var rest = name.dropFirst(first.count).dropLast(last.count)
        for part in parts.dropFirst().dropLast() {
            while !rest.hasPrefix(part), !rest.isEmpty { rest = rest.dropFirst() }
            guard rest.hasPrefix(part) else { return false }
            rest = rest.dropFirst(part.count)
        }
        return true
    }

    // MARK: Applying

    private mutating func applyGlobal(_ setting: Setting) {
        guard let key = Schema.key(setting.key) else { return }
        do throws(Mistake) {
            switch key.scope {
            case .global(let target): try target.apply(setting, to: &settings)
            case .backend(let target): try target.apply(setting, to: &template)
            case .include: break
            }
        } catch {
            errors.append(setting.error(error))
        }
    }

    private mutating func applyBackends() {
        guard !sections.isEmpty else {
            settings.backends = [template]
            return
        }
        if let server = template.servers.first {
            errors.append(
                SettingsError(
                    server.position, "a global 'server' and a [backend] exclude each other; move it into the section"))
        }
        for section in sections {
            var backend = template
            backend.name = section.name
            backend.servers = []
            for setting in section.settings {
                guard case .backend(let target)? = Schema.key(setting.key)?.scope else { continue }
                do throws(Mistake) { try target.apply(setting, to: &backend) } catch {
                    errors.append(setting.error(error))
                }
            }
            settings.backends.append(backend)
        }
        if sections.count > 1 {
            errors.append(
                SettingsError(
                    sections[1].position, "this version serves one backend; routing among several is not supported",
                    source: sections[1].source, width: sections[1].source.utf8.count))
        }
    }

    /// What only the whole can show.
    private mutating func checkWhole(_ file: String) {
        // A missing piece may be one that could not be read: say so only when nothing else is wrong.
        guard errors.isEmpty else { return }
        let nowhere = Position(file: file, line: 0, column: 0)
        if settings.listeners.isEmpty {
            errors.append(SettingsError(nowhere, "nothing to listen on; write for example: listen = :8080"))
        }
        for backend in settings.backends {
            if backend.servers.isEmpty {
                errors.append(
                    SettingsError(nowhere, "no servers; write for example: servers = 10.0.0.11:8000 10.0.0.12:8000"))
            }
            checkServers(backend)
        }
        checkListeners()
    }

    private mutating func checkServers(_ backend: BackendSettings) {
        for (index, server) in backend.servers.enumerated() {
            guard let name = server.name else {
                // One entry for each address of a host is what `server` with a name is for.
                if backend.servers[..<index].contains(where: {
                    $0.name == nil && $0.host == server.host && $0.port == server.port
                }) {
                    errors.append(SettingsError(server.position, "the server \(server.authority) stands twice"))
                }
                continue
            }
            if backend.servers[..<index].contains(where: { $0.name == name }) {
                errors.append(SettingsError(server.position, "two servers are called '\(name)'"))
            }
        }
    }

    private mutating func checkListeners() {
        for (index, listener) in settings.listeners.enumerated() where listener.port != 0 {
            let twin = settings.listeners[..<index].first {
                // "All of this machine" holds every single address of it as well.
                $0.port == listener.port
                    && ($0.address == listener.address || $0.address == nil || listener.address == nil)
            }
            guard let twin else { continue }
            errors.append(
                SettingsError(listener.position, "\(listener.text) and \(twin.text) at \(twin.position) are the same port of the same address"))
        }
    }
}

extension Key {
    fileprivate func mayStand(inBackend: Bool) -> Bool {
        if case .backend = scope { return true }
        return !inBackend
    }
}
