// Whether a response leaves compressed: by what the client takes (RFC 9110, 12.5.3), what the configuration allows, and what
// the response is. It compresses nothing.
import Configuration
import HTTP

/// What a backend says of compression.
struct CompressionRules: Sendable {
    /// Media types in lower case; of those that end with an asterisk what stands before it.
    let types: [(name: [UInt8], isPrefix: Bool)]
    let minimumSize: Int
    let level: Int
    /// Responses that set cookies too: what stands beside a secret can tell it by its size (BREACH).
    let hasCookies: Bool

    init?(_ settings: BackendSettings) {
        guard settings.compresses else { return nil }
        types = settings.compressTypes.map { type in
            let isPrefix = type.hasSuffix("*")
            return (Array(type.utf8.dropLast(isPrefix ? 1 : 0)), isPrefix)
        }
        minimumSize = settings.compressMinimum
        level = settings.compressLevel
        hasCookies = settings.compressesCookies
    }
}

enum ContentCoding {
    /// How a response may leave. `wasGzip` is said of one that was compressed when the client got it.
    enum Verdict { case asItIs, variesOnly, gzip, wasGzip }

    static func verdict(
        _ response: borrowing MessageHead, _ bytes: Span<UInt8>, to request: borrowing MessageHead,
        _ requestBytes: Span<UInt8>, _ rules: CompressionRules
    ) -> Verdict {
        if response.status == 304 {
            return wasWeakened(response, bytes, request, requestBytes) ? .wasGzip : .asItIs
        }
        guard mayBeEncoded(response.status), !response.isEventStream else { return .asItIs }
        if let length = response.contentLength, length < UInt64(rules.minimumSize) { return .asItIs }
        var isWanted = false
        for index in 0..<response.fieldCount {
            switch judge(response.field(index), bytes, rules) {
            case .unknown: break
            case .wanted: isWanted = true
            case .never: return .asItIs
            }
        }
        guard isWanted else { return .asItIs }
        let hasBody = BodyFraming(response: response, to: request.method) != .none
        return hasBody && acceptsGzip(request, requestBytes) ? .gzip : .variesOnly
    }

    /// A part of a representation is no part of its compressed form; what has none, or leads elsewhere, needs none.
    private static func mayBeEncoded(_ status: Int) -> Bool {
        switch status {
        case 204, 205, 206: false
        case 200...299, 400...599: true
        case _: false
        }
    }

    /// The client asks about the weak form of the very tag that this says is still right (RFC 9110, 13.1.2).
    private static func wasWeakened(
        _ response: borrowing MessageHead, _ bytes: Span<UInt8>, _ request: borrowing MessageHead,
        _ requestBytes: Span<UInt8>
    ) -> Bool {
        guard response.present.contains(.etag) else { return false }
        var wasWeakened = false
        for index in 0..<response.fieldCount where response.field(index).known == .etag {
            let tag = response.field(index).value
            for other in 0..<request.fieldCount {
                let field = request.field(other)
                guard field.name.count == 13,
                    ByteScan.equal(requestBytes, field.name, ignoringCaseOf: "If-None-Match")
                else { continue }
                ByteScan.forEachElement(requestBytes, field.value) { element in
                    guard element.count == tag.count + 2, requestBytes[element.start] == UInt8(ascii: "W"),
                        requestBytes[element.start + 1] == UInt8(ascii: "/")
                    else { return }
                    let isSame = tag.indices.allSatisfy {
                        bytes[$0] == requestBytes[element.start + 2 + $0 - tag.start]
                    }
                    wasWeakened = wasWeakened || isSame
                }
            }
        }
        return wasWeakened
    }

    private enum Opinion { case unknown, wanted, never }

    private static func judge(_ field: FieldSlot, _ bytes: Span<UInt8>, _ rules: CompressionRules) -> Opinion {
        func isCalled(_ name: StaticString) -> Bool { ByteScan.equal(bytes, field.name, ignoringCaseOf: name) }
        switch field.name.count {
        case 12 where isCalled("Content-Type"): return isListed(field.value, bytes, rules) ? .wanted : .never
        case 16 where isCalled("Content-Encoding"): return .never
        case 13 where isCalled("Content-Range"): return .never
        case 13 where isCalled("Cache-Control"): return forbidsChanges(field.value, bytes) ? .never : .unknown
        case 10 where isCalled("Set-Cookie"): return rules.hasCookies ? .unknown : .never
        // What was computed over the bytes would be wrong over others (RFC 9530).
        case 14 where isCalled("Content-Digest"), 11 where isCalled("Repr-Digest"), 6 where isCalled("Digest"),
            11 where isCalled("Content-MD5"):
            return .never
        case _: return .unknown
        }
    }

    private static func isListed(_ value: ByteRange, _ bytes: Span<UInt8>, _ rules: CompressionRules) -> Bool {
        let type = Quality.word(bytes, value)
        for (name, isPrefix) in rules.types {
            guard isPrefix ? type.count >= name.count : type.count == name.count else { continue }
            if name.indices.allSatisfy({ ByteScan.lowercased(bytes[type.start + $0]) == name[$0] }) { return true }
        }
        return false
    }

    private static func forbidsChanges(_ value: ByteRange, _ bytes: Span<UInt8>) -> Bool {
        var forbids = false
        ByteScan.forEachElement(bytes, value) {
            if ByteScan.equal(bytes, $0, ignoringCaseOf: "no-transform") { forbids = true }
        }
        return forbids
    }

    /// Whether the client takes gzip at least as gladly as what is not compressed.
    static func acceptsGzip(_ request: borrowing MessageHead, _ bytes: Span<UInt8>) -> Bool {
        // HTTP/1.0 has no chunks, and the length is not known.
        guard request.version == .http11 else { return false }
        var (gzip, any, identity) = (Int?.none, Int?.none, Int?.none)
        for index in 0..<request.fieldCount {
            let field = request.field(index)
            // Nor does it want anything changed (RFC 9111, 5.2.1.6).
            if field.name.count == 13, ByteScan.equal(bytes, field.name, ignoringCaseOf: "Cache-Control"),
                forbidsChanges(field.value, bytes)
            {
                return false
            }
            guard field.name.count == 15, ByteScan.equal(bytes, field.name, ignoringCaseOf: "Accept-Encoding") else {
                continue
            }
            ByteScan.forEachElement(bytes, field.value) { element in
                let coding = Quality.word(bytes, element)
                let quality = Quality.of(element, after: coding, bytes)
                if ByteScan.equal(bytes, coding, ignoringCaseOf: "gzip")
                    || ByteScan.equal(bytes, coding, ignoringCaseOf: "x-gzip")
                {
                    gzip = max(gzip ?? 0, quality)
                } else if ByteScan.equal(bytes, coding, ignoringCaseOf: "*") {
                    any = quality
                } else if ByteScan.equal(bytes, coding, ignoringCaseOf: "identity") {
                    identity = quality
                }
            }
        }
        guard let quality = gzip ?? any, quality > 0 else { return false }
        return quality >= identity ?? 0
    }
}

/// Words with parameters, as Accept and its kin have them (RFC 9110, 12.4.2).
enum Quality {
    /// `value` up to its parameters.
    static func word(_ bytes: Span<UInt8>, _ value: ByteRange) -> ByteRange {
        var end = value.start
        while end < value.end, bytes[end] != UInt8(ascii: ";") { end += 1 }
        return ByteScan.trimmed(bytes, ByteRange(start: value.start, count: end - value.start))
    }

    /// `;q=0.5` behind a word, in thousandths; 1000 where there is none, or none that is valid.
    static func of(_ element: ByteRange, after word: ByteRange, _ bytes: Span<UInt8>) -> Int {
        var index = word.end
        while index + 2 < element.end {
            let isStart = bytes[index] == UInt8(ascii: ";") || ByteScan.isBlank(bytes[index])
            guard isStart, bytes[index + 1] | 0x20 == UInt8(ascii: "q"), bytes[index + 2] == UInt8(ascii: "=") else {
                index += 1
                continue
            }
            var value = 0
            var scale = 1000
            for position in (index + 3)..<element.end {
                let digit = bytes[position] &- 0x30
                if bytes[position] == UInt8(ascii: ".") { continue }
                guard digit < 10, scale > 0 else { break }
                value += Int(digit) * scale
                scale /= 10
            }
            return min(value, 1000)
        }
        return 1000
    }
}
