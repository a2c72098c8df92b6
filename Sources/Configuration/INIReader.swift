// The dialect: bytes to sections and settings with positions. It knows no key by name and reads no file itself.

/// What the reader may ask of the outside world.
public struct ConfigurationSources: Sendable {
    /// The bytes of a file; throws what `"\(error)"` explains.
    public var read: @Sendable (_ path: String) throws -> [UInt8]
    /// The names in a folder, sorted bytewise.
    public var names: @Sendable (_ folder: String) throws -> [String]
    public var environment: @Sendable (_ name: String) -> String?
    /// Descriptors that the process may open; nil where that is not known.
    public var descriptorLimit: Int?

    public init(
        read: @escaping @Sendable (String) throws -> [UInt8], names: @escaping @Sendable (String) throws -> [String],
        environment: @escaping @Sendable (String) -> String?, descriptorLimit: Int? = nil
    ) {
        self.read = read
        self.names = names
        self.environment = environment
        self.descriptorLimit = descriptorLimit
    }
}

/// One word of a value, its quotes removed and its variables expanded.
struct Word: Equatable, Sendable {
    var text: String
    var column: Int
    var width: Int
    /// Some of it came from a `${file:...}`: it is never shown.
    var isSecret = false
}

/// `key = words`.
struct Setting {
    var key: String
    var words: [Word]
    var position: Position
    /// The line, for errors.
    var source: String
    /// From the command line: it replaces what files say.
    var isOverride = false

    func error(_ message: String, word: Word? = nil) -> SettingsError {
        guard let word else { return SettingsError(position, message, source: source, width: key.utf8.count) }
        var place = position
        place.column = word.column
        return SettingsError(place, message, source: source, width: word.width)
    }

    /// The only word of a value that has one.
    var single: String {
        get throws(Mistake) {
            guard words.count == 1 else { throw Mistake("'\(key)' takes one value", word: 1) }
            return words[0].text
        }
    }

    func error(_ mistake: Mistake) -> SettingsError {
        if mistake.isSecret { return SettingsError(position, mistake.message) }
        return error(mistake.message, word: words.indices.contains(mistake.word) ? words[mistake.word] : nil)
    }
}

/// One line of a file that says something.
enum INILine {
    case section(kind: String, name: String?, position: Position, source: String)
    /// A section whose line is a mistake, already told.
    case brokenSection
    case setting(Setting)
}

/// Reads one file's lines.
struct INIReader {
    let file: String
    let sources: ConfigurationSources
    private(set) var lines: [INILine] = []
    private(set) var errors: [SettingsError] = []

    init(file: String, sources: ConfigurationSources) {
        self.file = file
        self.sources = sources
    }

    /// Reads `bytes`; every mistake goes to `errors`.
    mutating func read(_ bytes: [UInt8]) {
        var rest = bytes[...]
        if rest.starts(with: [0xef, 0xbb, 0xbf]) { rest = rest.dropFirst(3) }
        var number = 0
        for raw in rest.split(separator: 0x0a, omittingEmptySubsequences: false) {
            number += 1
            var line = Array(raw)
            if line.last == 0x0d { line.removeLast() }
            if let column = line.firstIndex(of: 0) {
                fail(number, column + 1, "a NUL byte is not text; was the file saved as UTF-16?", "")
                continue
            }
            guard let source = String(validating: line, as: UTF8.self) else {
                fail(number, 1, "the line is not valid UTF-8", "")
                continue
            }
            readLine(line, number, source)
        }
    }

    private mutating func fail(_ line: Int, _ column: Int, _ message: String, _ source: String, width: Int = 1) {
        errors.append(
            SettingsError(Position(file: file, line: line, column: column), message, source: source, width: width))
    }

    private mutating func readLine(_ line: [UInt8], _ number: Int, _ source: String) {
        guard let start = line.firstIndex(where: { !Self.isBlank($0) }) else { return }
        switch line[start] {
        case UInt8(ascii: "#"), UInt8(ascii: ";"): return
        case UInt8(ascii: "["): readSection(line, start, number, source)
        case _: readSetting(line, start, number, source)
        }
    }

    private mutating func readSection(_ line: [UInt8], _ start: Int, _ number: Int, _ source: String) {
        var scanner = WordScanner(line, from: start + 1, end: UInt8(ascii: "]"))
        let position = Position(file: file, line: number, column: start + 1)
        do {
            var words: [Word] = []
            while let word = try scanner.next(expand: { _ in throw Mistake("a section's name has no variables") }) {
                words.append(word)
            }
            guard scanner.hasReachedEnd else { throw Mistake("the section has no closing ']'") }
            guard scanner.restIsComment else { throw Mistake("nothing may follow a section's ']'") }
            guard let kind = words.first?.text else { throw Mistake("the section has no name") }
            if let colon = kind.firstIndex(of: ":") {
                let name = kind[kind.index(after: colon)...]
                throw Mistake("write [\(kind[..<colon]) \(name)], with a blank")
            }
            guard words.count <= 2 else { throw Mistake("a name with blanks needs quotes: [\(kind) \"my name\"]") }
            lines.append(.section(kind: kind, name: words.dropFirst().first?.text, position: position, source: source))
        } catch {
            let message = (error as? Mistake)?.message ?? "\(error)"
            fail(number, start + 1, message, source, width: line.count - start)
            lines.append(.brokenSection)
        }
    }

    private mutating func readSetting(_ line: [UInt8], _ start: Int, _ number: Int, _ source: String) {
        let keyEnd = line[start...].firstIndex { Self.isBlank($0) || $0 == UInt8(ascii: "=") } ?? line.count
        let key = String(decoding: line[start..<keyEnd], as: UTF8.self)
        guard let equals = line[keyEnd...].firstIndex(where: { !Self.isBlank($0) }), line[equals] == UInt8(ascii: "="),
            !key.isEmpty
        else {
            fail(number, start + 1, "expected 'key = value'", source, width: max(1, keyEnd - start))
            return
        }
        guard key.utf8.allSatisfy(Self.isKeyByte) else {
            let lower = key.lowercased()
            let hint = lower != key && lower.utf8.allSatisfy(Self.isKeyByte) ? "; write '\(lower)'" : ""
            fail(
                number, start + 1, "'\(key)' is not a key: keys are a-z, 0-9 and '-'\(hint)", source,
                width: key.utf8.count)
            return
        }
        var scanner = WordScanner(line, from: equals + 1, end: nil)
        var words: [Word] = []
        do {
            while let word = try scanner.next(expand: expand) { words.append(word) }
        } catch {
            let message = (error as? Mistake)?.message ?? "\(error)"
            fail(number, scanner.wordStart + 1, message, source, width: max(1, scanner.position - scanner.wordStart))
            return
        }
        let setting = Setting(
            key: String(key.map { $0 == "_" ? "-" : $0 }), words: words,
            position: Position(file: file, line: number, column: start + 1), source: source)
        guard !words.isEmpty else {
            errors.append(setting.error("'\(key)' has no value"))
            return
        }
        lines.append(.setting(setting))
    }

    /// `${NAME}`, `${NAME:-default}` and `${file:/path}`, given what stands between the braces.
    private func expand(_ inside: String) throws -> String {
        if inside.hasPrefix("file:") {
            let path = String(inside.dropFirst(5))
            do {
                let text = String(decoding: try sources.read(path), as: UTF8.self)
                return String(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
            } catch {
                throw Mistake("cannot read '\(path)': \(error)")
            }
        }
        var name = inside[...]
        var fallback: Substring?
        if let mark = inside.firstRange(of: ":-") {
            name = inside[..<mark.lowerBound]
            fallback = inside[mark.upperBound...]
        }
        guard !name.isEmpty, name.utf8.allSatisfy(Self.isVariableByte) else {
            throw Mistake("'${\(inside)}' is not a variable; a literal '$' may stand alone")
        }
        if let value = sources.environment(String(name)) { return value }
        guard let fallback else {
            throw Mistake("the variable '\(name)' is not set; set it or write ${\(name):-default}")
        }
        return String(fallback)
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    private static func isKeyByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7a, 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "_"): true
        case _: false
        }
    }

    private static func isVariableByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7a, 0x41...0x5a, 0x30...0x39, UInt8(ascii: "_"): true
        case _: false
        }
    }
}

extension String {
    /// The first place of `text`; the standard library has none without Foundation.
    fileprivate func firstRange(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
