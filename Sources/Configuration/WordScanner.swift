// Splits a value into words: quotes, escapes, comments and variables. A variable's value never adds a word or a comment.

/// Reads the words of one line.
struct WordScanner {
    private let line: [UInt8]
    private let end: UInt8?
    private(set) var position: Int
    /// Where the word begins that was read last, or failed.
    private(set) var wordStart = 0
    private(set) var hasReachedEnd = false
    private var isSecret = false

    /// - Parameter end: a byte that ends the words, outside quotes.
    init(_ line: [UInt8], from position: Int, end: UInt8?) {
        self.line = line
        self.position = position
        self.end = end
    }

    /// The next word, or nil at a comment or the end.
    mutating func next(expand: (String) throws -> String) throws -> Word? {
        while position < line.count, isSeparator(line[position]) { position += 1 }
        wordStart = position
        guard position < line.count else { return nil }
        if line[position] == end {
            position += 1
            hasReachedEnd = true
            return nil
        }
        if isComment(at: position) {
            position = line.count
            return nil
        }
        var text: [UInt8] = []
        isSecret = false
        while position < line.count, !isSeparator(line[position]), line[position] != end {
            try readPart(into: &text, expand)
        }
        return Word(
            text: String(decoding: text, as: UTF8.self), column: wordStart + 1, width: position - wordStart,
            isSecret: isSecret)
    }

    /// Whether nothing but a comment follows.
    var restIsComment: Bool {
        guard let next = line[position...].firstIndex(where: { !INIReader.isBlank($0) }) else { return true }
        return next > position && isMark(line[next])
    }

    private mutating func readPart(into text: inout [UInt8], _ expand: (String) throws -> String) throws {
        switch line[position] {
        case UInt8(ascii: "\""): try readQuoted(into: &text, expand)
        case UInt8(ascii: "'"): try readLiteral(into: &text)
        case UInt8(ascii: "$") where isVariable: text += try readVariable(expand)
        case let byte:
            text.append(byte)
            position += 1
        }
    }

    private mutating func readQuoted(into text: inout [UInt8], _ expand: (String) throws -> String) throws {
        position += 1
        while position < line.count, line[position] != UInt8(ascii: "\"") {
            if line[position] == UInt8(ascii: "\\") {
                position += 1
                guard position < line.count, let escaped = Self.escapes[line[position]] else {
                    throw Mistake(
                        "in double quotes the escapes are \\\" \\\\ \\n \\t; use single quotes for a literal text")
                }
                text.append(escaped)
                position += 1
            } else if isVariable {
                text += try readVariable(expand)
            } else {
                text.append(line[position])
                position += 1
            }
        }
        guard position < line.count else { throw Mistake("the double quote is not closed") }
        position += 1
    }

    private static let escapes: [UInt8: UInt8] = [
        UInt8(ascii: "\""): UInt8(ascii: "\""), UInt8(ascii: "\\"): UInt8(ascii: "\\"), UInt8(ascii: "n"): 0x0a,
        UInt8(ascii: "t"): 0x09,
    ]

    private mutating func readLiteral(into text: inout [UInt8]) throws {
        guard let close = line[(position + 1)...].firstIndex(of: UInt8(ascii: "'")) else {
            position = line.count
            throw Mistake("the single quote is not closed")
        }
        text += line[(position + 1)..<close]
        position = close + 1
    }

    private var isVariable: Bool {
        line[position] == UInt8(ascii: "$") && position + 1 < line.count && line[position + 1] == UInt8(ascii: "{")
    }

    private mutating func readVariable(_ expand: (String) throws -> String) throws -> [UInt8] {
        guard let close = line[position...].firstIndex(of: UInt8(ascii: "}")) else {
            position = line.count
            throw Mistake("'${' has no closing '}'")
        }
        let inside = String(decoding: line[(position + 2)..<close], as: UTF8.self)
        position = close + 1
        if inside.hasPrefix("file:") { isSecret = true }
        return Array(try expand(inside).utf8)
    }

    private func isSeparator(_ byte: UInt8) -> Bool { INIReader.isBlank(byte) || byte == UInt8(ascii: ",") }
    private func isMark(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "#") || byte == UInt8(ascii: ";") }

    /// A comment starts after a blank, so that `a#b` is plain text.
    private func isComment(at index: Int) -> Bool {
        isMark(line[index]) && (index == 0 || INIReader.isBlank(line[index - 1]))
    }
}
