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

/// Loads a configuration, once.
public struct SettingsLoader {
    let sources: ConfigurationSources
    var errors: [SettingsError] = []
    var warnings: [SettingsError] = []
    var settings = Settings()
    var openFiles: [String] = []
    /// Stands for the whole configuration in messages about what is missing.
    var whole = Position(file: "command line", line: 0, column: 0)
    private var readFiles: [String] = []
    private var overrides: [String] = []
    /// What every backend starts from: backend keys written before the first section.
    private var template = BackendSettings(name: "default")
    /// The part before the first section, then the sections as they stand.
    private(set) var sections = [Section(place: .global, name: nil, position: .nowhere, source: "")]

    struct Section {
        let place: Schema.Place
        let name: String?
        let position: Position
        let source: String
        var settings: [Setting] = []

        /// As messages call it.
        var text: String {
            switch place {
            case .global: "the global part"
            case .backend: "[backend \(name ?? "")]"
            case .stats: "[stats]"
            case .metrics: "[metrics]"
            case .tls: name.map { "[tls \($0)]" } ?? "[tls]"
            }
        }
    }

    public init(sources: ConfigurationSources) { self.sources = sources }

    /// Overrides one setting of what is loaded later: `KEY=VALUE`, `BACKEND.KEY=VALUE` or `stats.KEY=VALUE`.
    public mutating func define(_ text: String) { overrides.append(text) }

    /// Loads the file called `file`, which `sources` can read.
    public mutating func load(_ file: String) -> LoadOutcome {
        whole.file = file
        readFile(file, for: nil)
        return finish()
    }

    /// Settings for `ballast -l LISTEN SERVER...`: no file, the same checks.
    public mutating func load(listen: [String], servers: [String]) -> LoadOutcome {
        let position = whole
        func setting(_ key: String, _ text: String) -> Setting {
            Setting(key: key, words: [Word(text: text, column: 0, width: 0)], position: position, source: "")
        }
        sections[0].settings = listen.map { setting("listen", $0) } + servers.map { setting("servers", $0) }
        return finish()
    }

    /// `pid-file`, as far as the configuration could be read.
    public var pidFile: String? { settings.pidFile }

    /// Things that are allowed but probably not meant.
    public var warningText: String { warnings.map(\.text).joined() }

    private mutating func finish() -> LoadOutcome {
        for text in overrides { override(text) }
        applyAll()
        checkWhole()
        guard !errors.isEmpty else { return .loaded(settings) }
        // In the order of files as they were read, then of lines.
        let order = errors.enumerated().sorted { left, right in
            let files = (fileOrder(left.element), fileOrder(right.element))
            if files.0 != files.1 { return files.0 < files.1 }
            let lines = (left.element.position.line, right.element.position.line)
            return lines.0 != lines.1 ? lines.0 < lines.1 : left.offset < right.offset
        }
        var told = Array(order.map(\.element).prefix(SettingsError.limit))
        if order.count > told.count {
            told.append(SettingsError(whole, "and \(order.count - told.count) more"))
        }
        return .refused(told)
    }

    private func fileOrder(_ error: SettingsError) -> Int {
        readFiles.firstIndex(of: error.position.file) ?? readFiles.count
    }

    // MARK: Lines

    /// Takes in the lines of one file.
    mutating func take(_ lines: [INILine], of file: String) {
        readFiles.append(file)
        var seen: [String: Int] = [:]
        var current: Int? = 0
        for line in lines {
            switch line {
            case .section(let kind, let name, let position, let source):
                seen = [:]
                current = begin(kind, name, position, source)
            case .brokenSection:
                current = nil
            case .setting(let setting):
                // One wrong section is one mistake: what stands in it is not judged.
                if let current { take(setting, section: current, &seen) }
            }
        }
    }

    private mutating func begin(_ kind: String, _ name: String?, _ position: Position, _ source: String) -> Int? {
        func fail(_ message: String) {
            errors.append(SettingsError(position, message, source: source, width: source.utf8.count))
        }
        var place = Schema.Place.backend
        switch kind {
        case "backend":
            guard let name, !name.isEmpty else {
                fail("a backend needs a name: [backend NAME]")
                return nil
            }
            guard Values.isName(name) else {
                fail("a backend's name is 1 to 128 characters of printable ASCII")
                return nil
            }
        case "stats", "metrics":
            guard name == nil else {
                fail("[\(kind)] has no name")
                return nil
            }
            place = kind == "stats" ? .stats : .metrics
        case "tls":
            guard name.map(Values.isName) ?? true else {
                fail("a [tls]'s name is 1 to 128 characters of printable ASCII")
                return nil
            }
            place = .tls
        case _:
            let hint = Suggestion.text(for: kind, among: Schema.sections)
            let sections =
                kind == "global" || kind == "defaults"
                ? "; its keys stand before the first section"
                : "; there are [backend NAME], [tls], [stats] and [metrics]"
            fail("unknown section [\(kind)]" + (hint.isEmpty ? sections : hint))
            return nil
        }
        let section = Section(place: place, name: name, position: position, source: source)
        if let earlier = sections.first(where: { $0.place == place && $0.name == name }) {
            fail("\(section.text) stands twice; it begins at \(earlier.position) already")
            return nil
        }
        sections.append(section)
        return sections.count - 1
    }

    private mutating func take(_ setting: Setting, section index: Int, _ seen: inout [String: Int]) {
        let section = sections[index]
        guard let key = Schema.key(setting.key, in: section.place) else {
            if let advice = Schema.advice(for: setting.key, not: section.place) {
                errors.append(setting.error("'\(setting.key)' \(advice)"))
                return
            }
            let hint = Suggestion.text(for: setting.key, among: Schema.keys(in: section.place).map(\.name))
            errors.append(setting.error("unknown key '\(setting.key)' in \(section.text)\(hint)"))
            return
        }
        if let line = seen[key.name], !key.repeats {
            errors.append(setting.error("'\(key.name)' stands twice in \(section.text); line \(line) sets it already"))
            return
        }
        seen[key.name] = setting.position.line
        if case .include = key.scope { include(setting) } else { sections[index].settings.append(setting) }
    }

    // MARK: Overrides

    /// Puts the settings of `-D TEXT` in the place of those that the files have.
    private mutating func override(_ text: String) {
        var reader = INIReader(file: "-D", sources: sources)
        guard let equals = text.firstIndex(of: "=") else {
            errors.append(SettingsError(whole, "-D \(Self.shown(text)): write KEY=VALUE or BACKEND.KEY=VALUE"))
            return
        }
        let path = text[..<equals]
        let dot = path.lastIndex(of: ".")
        let name = dot.map { String(path[..<$0]) }
        let key = dot.map { path[path.index(after: $0)...] } ?? path
        guard
            let index = sections.firstIndex(where: {
                $0.isCalled(name) || hasNoBackend && name == "default" && $0.place == .global
            })
                ?? addStats(name)
        else {
            errors.append(SettingsError(whole, "-D \(Self.shown(text)): there is no [backend \(name ?? "")]"))
            return
        }
        reader.read(Array("\(key) =\(text[text.index(after: equals)...])".utf8))
        errors += reader.errors
        guard case .setting(var setting)? = reader.lines.first else { return }
        setting.position = Position(file: "-D \(Self.shown(text))", line: 0, column: 0)
        setting.isOverride = true
        // Of a repeating key several -D add up; of any other the last one holds.
        let adds = Schema.key(setting.key, in: sections[index].place)?.repeats == true
        sections[index].settings.removeAll { $0.key == setting.key && !($0.isOverride && adds) }
        var seen: [String: Int] = [:]
        take(setting, section: index, &seen)
    }

    /// Of `-D TEXT`, without what may be a secret.
    private static func shown(_ text: String) -> String {
        guard SettingsError.mayHoldSecret(text) else { return text }
        let name = text.prefix { $0.isLetter || $0.isNumber || "-_. ".contains($0) }
        return name.utf8.count == text.utf8.count ? text : name + "=***"
    }

    private var hasNoBackend: Bool { !sections.contains { $0.place == .backend } }

    private mutating func addStats(_ name: String?) -> Int? {
        guard name == "stats" else { return nil }
        sections.append(Section(place: .stats, name: nil, position: .nowhere, source: ""))
        return sections.count - 1
    }

    // MARK: Applying

    private mutating func applyAll() {
        for setting in sections[0].settings { applyGlobal(setting) }
        for section in sections where section.place == .stats || section.place == .metrics {
            let own = section.place == .stats ? \Settings.stats : \Settings.metrics
            for setting in section.settings {
                guard case .stats(let target)? = Schema.key(setting.key, in: section.place)?.scope else { continue }
                attempt(setting) { loader, setting throws(Mistake) in
                    try target.apply(setting, to: &loader.settings[keyPath: own])
                }
            }
        }
        for section in sections where section.place == .tls { applyTLS(section) }
        guard !hasNoBackend else {
            settings.backends = [template]
            return
        }
        if let server = template.servers.first {
            fail(server.position, "a global 'server' and a [backend] exclude each other; move it into the section")
        }
        for section in sections where section.place == .backend { applyBackend(section) }
    }

    private mutating func attempt(
        _ setting: Setting, _ body: (inout SettingsLoader, Setting) throws(Mistake) -> Void
    ) {
        do throws(Mistake) { try body(&self, setting) } catch { errors.append(setting.error(error)) }
    }

    private mutating func applyGlobal(_ setting: Setting) {
        guard let key = Schema.key(setting.key, in: .global) else { return }
        attempt(setting) { loader, setting throws(Mistake) in
            switch key.scope {
            case .global(let target): try target.apply(setting, to: &loader.settings)
            case .backend(let target): try target.apply(setting, to: &loader.template)
            case .stats, .tls, .include: break
            }
        }
    }

    private mutating func applyTLS(_ section: Section) {
        var tls = TLSSettings(name: section.name, position: section.position)
        for setting in section.settings {
            guard case .tls(let target)? = Schema.key(setting.key, in: .tls)?.scope else { continue }
            do throws(Mistake) { try target.apply(setting, to: &tls) } catch { errors.append(setting.error(error)) }
        }
        settings.tls.append(tls)
    }

    private mutating func applyBackend(_ section: Section) {
        var backend = template
        backend.name = section.name ?? ""
        backend.servers = []
        // What a section says of a repeating key stands in the place of the default, not beside it.
        func says(_ key: String) -> Bool { section.settings.contains { $0.key == key } }
        if says("path") { backend.paths = [] }
        if says("host") { backend.hosts = [] }
        if says("strip-prefix") { backend.stripPrefixes = [] }
        if says("set-request-header") { backend.requestFields.sets = [] }
        if says("set-response-header") { backend.responseFields.sets = [] }
        if says("remove-request-header") { backend.requestFields.removes = [] }
        if says("remove-response-header") { backend.responseFields.removes = [] }
        for setting in section.settings {
            guard case .backend(let target)? = Schema.key(setting.key, in: .backend)?.scope else { continue }
            do throws(Mistake) { try target.apply(setting, to: &backend) } catch {
                errors.append(setting.error(error))
            }
        }
        settings.backends.append(backend)
    }
}

extension SettingsLoader.Section {
    fileprivate func isCalled(_ name: String?) -> Bool {
        switch place {
        case .global: name == nil
        case .backend: name == self.name
        case .stats: name == "stats"
        case .metrics: name == "metrics"
        case .tls: name == (self.name.map { "tls \($0)" } ?? "tls")
        }
    }
}
