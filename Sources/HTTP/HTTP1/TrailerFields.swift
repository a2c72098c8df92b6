// The trailer section on its way to the next hop (RFC 9110, 6.5): which of its fields may pass. The chunk decoder has
// checked their syntax.

/// The fields of a trailer section (RFC 9110, 6.5).
public enum TrailerFields {
    /// Which trailer fields are held back besides those that never pass.
    public struct Rule: Sendable {
        /// Names that the configuration takes away, or sets itself.
        public var others: FieldNameList?
        /// Whether names with underscores pass.
        public var underscores: Bool

        public init(others: FieldNameList? = nil, underscores: Bool = true) {
            self.others = others
            self.underscores = underscores
        }
    }

    /// Fields that frame, route, authenticate, or change how a message is to be read: nobody looks for them behind a body,
    /// and some who merge trailers into the head would believe them (RFC 9110, 6.5.1).
    private static let never: [StaticString] = [
        "Authorization", "Cookie", "Set-Cookie", "WWW-Authenticate", "Content-Type", "Content-Encoding",
        "Content-Range", "Content-Location", "Content-Disposition", "Cache-Control", "Pragma", "Expires", "Age",
        "Location",
        "Retry-After", "Vary", "Warning", "Range", "If-Match", "If-None-Match", "If-Modified-Since",
        "If-Unmodified-Since", "If-Range", "X-Api-Key", "Api-Key", "X-HTTP-Method-Override", "X-Original-URL",
        "X-Rewrite-URL",
    ]

    /// Writes the fields of `section`, whole lines as they came, that may pass. They take at most twice their room.
    public static func write(_ section: Span<UInt8>, _ rule: Rule, to output: inout OutputSpan<UInt8>) {
        var start = 0
        while let feed = ByteScan.firstLineFeed(in: section, from: start) {
            var colon = start
            var hasUnderscore = false
            while section[colon] != UInt8(ascii: ":") {
                if section[colon] == UInt8(ascii: "_") { hasUnderscore = true }
                colon += 1
            }
            let name = ByteRange(start: start, count: colon - start)
            let value = ByteScan.trimmed(section, ByteRange(start: colon + 1, count: feed - 1 - colon - 1))
            start = feed + 1
            guard mayPass(section, name), rule.underscores || !hasUnderscore,
                rule.others?.contains(section, name) != true
            else { continue }
            output.put(section.extracting(name.indices))
            output.put(": ")
            output.put(section.extracting(value.indices))
            output.put("\r\n")
        }
    }

    /// What ballast itself acts upon has its place in the head.
    private static func mayPass(_ bytes: Span<UInt8>, _ name: ByteRange) -> Bool {
        FieldName.classify(bytes, name) == .other
            && !never.contains { ByteScan.equal(bytes, name, ignoringCaseOf: $0) }
    }
}
