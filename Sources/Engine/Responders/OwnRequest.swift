// A request to ballast's own listener, read out of its head: few come, so it may cost a copy.
import HTTP
import Metrics

/// What is known of one.
struct OwnRequest {
    /// Of a target, and of a field's value; longer ones are cut, and then mean nothing.
    private static let longest = 2048

    let method: Method
    let version: Version
    /// Between the slashes, decoded.
    private(set) var path: [String] = []
    private(set) var query = ""
    let host: String
    private(set) var authorization: String?
    private(set) var origin: String?
    private(set) var fetchSite: String?
    /// It has the field that browsers send for nobody else's page.
    private(set) var hasOwnField = false
    /// A person's browser asks, not a program.
    private(set) var wantsHTML = false
    let exposition: Exposition
    let takesGzip: Bool
    /// Bytes of its body; `max` where it does not say.
    let bodyLength: Int
    let expectsContinue: Bool
    /// A field that decides who may do what stands there twice.
    private(set) var isAmbiguous = false
    /// The connection may stay after the answer.
    var keeps: Bool
    var body: [UInt8] = []

    var isHead: Bool { method == .head }

    init(_ head: borrowing MessageHead, _ bytes: Span<UInt8>, keeps: Bool) {
        method = head.method
        version = head.version
        host = Self.text(head.effectiveHost, bytes)
        takesGzip = ContentCoding.acceptsGzip(head, bytes)
        exposition = Self.exposition(head, bytes)
        switch BodyFraming(request: head) {
        case .none: bodyLength = 0
        case .length(let count): bodyLength = Int(clamping: count)
        case .chunked, .untilClose: bodyLength = .max
        }
        expectsContinue = head.expectsContinue
        self.keeps = keeps
        let target = Self.text(head.target, bytes)
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        // What cannot be decoded is no path that is served.
        path = parts.first.map { $0.split(separator: "/").map { Self.decoded($0) ?? "\u{0}" } } ?? []
        query = parts.count == 2 ? String(parts[1]) : ""
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            func isCalled(_ name: StaticString) -> Bool { ByteScan.equal(bytes, field.name, ignoringCaseOf: name) }
            switch field.name.count {
            case 13 where isCalled("Authorization"):
                isAmbiguous = Self.take(&authorization, Self.text(field.value, bytes)) || isAmbiguous
            case 6 where isCalled("Origin"):
                isAmbiguous = Self.take(&origin, Self.text(field.value, bytes)) || isAmbiguous
            case 14 where isCalled("Sec-Fetch-Site"):
                isAmbiguous = Self.take(&fetchSite, Self.text(field.value, bytes)) || isAmbiguous
            case 9 where isCalled("X-Ballast"): hasOwnField = Self.text(field.value, bytes) == "1"
            case 6 where isCalled("Accept"):
                ByteScan.forEachElement(bytes, field.value) { element in
                    let type = Quality.word(bytes, element)
                    if ByteScan.equal(bytes, type, ignoringCaseOf: "text/html") { wantsHTML = true }
                }
            case _: break
            }
        }
    }

    /// - Returns: whether it had been there before.
    private static func take(_ value: inout String?, _ text: String) -> Bool {
        defer { value = text }
        return value != nil
    }

    /// Prometheus text, unless OpenMetrics is liked at least as well.
    private static func exposition(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> Exposition {
        var open = 0
        var plain = 0
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            guard field.name.count == 6, ByteScan.equal(bytes, field.name, ignoringCaseOf: "Accept") else { continue }
            ByteScan.forEachElement(bytes, field.value) { element in
                let type = Quality.word(bytes, element)
                let quality = Quality.of(element, after: type, bytes)
                if ByteScan.equal(bytes, type, ignoringCaseOf: "application/openmetrics-text") {
                    open = max(open, quality)
                } else if ByteScan.equal(bytes, type, ignoringCaseOf: "text/plain") {
                    plain = max(plain, quality)
                }
            }
        }
        return open > 0 && open >= plain ? .openMetrics : .prometheus
    }

    private static func text(_ range: ByteRange, _ bytes: Span<UInt8>) -> String {
        var copy: [UInt8] = []
        for index in range.indices.prefix(longest) { copy.append(bytes[index]) }
        return String(decoding: copy, as: UTF8.self)
    }

    /// Without its percent-encoding (RFC 3986, 2.1); nil where that is broken.
    private static func decoded(_ text: Substring) -> String? {
        var result: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                return nil
            }
            result.append(high << 4 | low)
        }
        return String(validating: result, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46, 0x61...0x66: (byte | 0x20) - 0x61 + 10
        case _: nil
        }
    }

    /// Of `weight=5`, in the body or the query, the `5`.
    func value(of name: String) -> String? {
        for text in [String(decoding: body, as: UTF8.self), query] {
            for part in text.split(separator: "&") {
                let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                if pair.count == 2, pair[0] == name { return Self.decoded(pair[1]) }
            }
        }
        return nil
    }
}
