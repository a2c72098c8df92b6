// Files that lead to further files: reading and including, each once, never in a circle.

extension SettingsLoader {
    /// Files that may include one another, the first one counted.
    private static let includeDepth = 8

    mutating func readFile(_ path: String, for include: Setting?) {
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
        defer { openFiles.removeLast() }
        var reader = INIReader(file: path, sources: sources)
        reader.read(bytes)
        errors += reader.errors
        take(reader.lines, of: path)
    }

    mutating func include(_ setting: Setting) {
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
}
