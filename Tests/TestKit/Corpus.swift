// Corpus files: rows of bytes with their lawful outcome, one row a case.
import Foundation

/// One row.
public struct CorpusRow: Sendable {
    public let id: String
    public let section: String
    public let outcome: String
    public let bytes: [UInt8]
}

public enum Corpus {
    /// Reads the rows of `name` in the folder `Corpus` beside `file`.
    public static func rows(_ name: String, beside file: String) -> [CorpusRow] {
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent()
        let url = folder.appendingPathComponent("Corpus").appendingPathComponent(name)
        guard let text = try? String(contentsOf: url, encoding: .utf8) else { return [] }
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            let parts = line.split(separator: "\t", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
            precondition(parts.count == 4, "not a row: \(line)")
            let outcome = String(decoding: unescape(Array(parts[2].utf8)), as: UTF8.self)
            return CorpusRow(id: parts[0], section: parts[1], outcome: outcome, bytes: unescape(Array(parts[3].utf8)))
        }
    }

    /// `\r \n \t \\ \xNN` and `\{text*times}`.
    static func unescape(_ text: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        var index = 0
        while index < text.count {
            guard text[index] == UInt8(ascii: "\\"), index + 1 < text.count else {
                bytes.append(text[index])
                index += 1
                continue
            }
            index += 2
            switch text[index - 1] {
            case UInt8(ascii: "r"): bytes.append(0x0d)
            case UInt8(ascii: "n"): bytes.append(0x0a)
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "x"):
                bytes.append(UInt8(String(decoding: text[index..<(index + 2)], as: UTF8.self), radix: 16) ?? 0)
                index += 2
            case UInt8(ascii: "{"):
                let star = text[index...].firstIndex(of: UInt8(ascii: "*")) ?? index
                let close = text[star...].firstIndex(of: UInt8(ascii: "}")) ?? star
                let unit = unescape(Array(text[index..<star]))
                let times = Int(String(decoding: text[(star + 1)..<close], as: UTF8.self)) ?? 0
                for _ in 0..<times { bytes += unit }
                index = close + 1
            case let other: bytes.append(other)
            }
        }
        return bytes
    }
}
