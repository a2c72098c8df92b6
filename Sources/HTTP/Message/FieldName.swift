// The field names that ballast itself acts upon, told apart once, while a head is parsed. It never keeps a name's text.

/// A field name ballast acts upon; every other name is `other`. Names compare without case (RFC 9110, 5.1).
public enum FieldName: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    case other
    case acceptRanges, connection, contentLength, date, etag, expect, forwarded, host, http2Settings, idempotencyKey,
        keepAlive, maxForwards
    case proxyAuthenticate, proxyAuthorization, proxyConnection, te, trailer, transferEncoding, upgrade, vary, via
    case xForwardedFor, xForwardedHost, xForwardedProto, xRealIP, xRequestID
    /// Any further name that begins with `X-Forwarded-`: servers believe Port, Prefix, Scheme and others too.
    case xForwardedOther
    /// Any name that begins with `X-Client-Cert-`, with underscores too, which many servers read as hyphens: what a client's
    /// certificate says, which ballast alone tells.
    case xClientCert

    /// The name in the spelling ballast writes; empty for `other`.
    public var text: StaticString {
        switch self {
        case .other: ""
        case .acceptRanges: "Accept-Ranges"
        case .connection: "Connection"
        case .contentLength: "Content-Length"
        case .date: "Date"
        case .etag: "ETag"
        case .expect: "Expect"
        case .forwarded: "Forwarded"
        case .host: "Host"
        case .http2Settings: "HTTP2-Settings"
        case .idempotencyKey: "Idempotency-Key"
        case .keepAlive: "Keep-Alive"
        case .maxForwards: "Max-Forwards"
        case .proxyAuthenticate: "Proxy-Authenticate"
        case .proxyAuthorization: "Proxy-Authorization"
        case .proxyConnection: "Proxy-Connection"
        case .te: "TE"
        case .trailer: "Trailer"
        case .transferEncoding: "Transfer-Encoding"
        case .upgrade: "Upgrade"
        case .vary: "Vary"
        case .via: "Via"
        case .xForwardedFor: "X-Forwarded-For"
        case .xForwardedHost: "X-Forwarded-Host"
        case .xForwardedProto: "X-Forwarded-Proto"
        case .xRealIP: "X-Real-IP"
        case .xRequestID: "X-Request-ID"
        case .xForwardedOther: "X-Forwarded-"
        case .xClientCert: "X-Client-Cert-"
        }
    }

    /// Names the bytes of `range`. Constant work: length and first letter leave one candidate.
    static func classify(_ bytes: Span<UInt8>, _ range: ByteRange) -> FieldName {
        let first = bytes[range.start] | 0x20
        let name = candidate(length: range.count, first: first)
        if name != .other, ByteScan.equal(bytes, range, ignoringCaseOf: name.text) { return name }
        guard first == UInt8(ascii: "x"), range.count >= 12 else { return .other }
        let count = FieldName.xForwardedOther.text.utf8CodeUnitCount
        let prefix = ByteRange(start: range.start, count: count)
        if ByteScan.equal(bytes, prefix, ignoringCaseOf: FieldName.xForwardedOther.text) { return .xForwardedOther }
        return isClientCertificate(bytes, range) ? .xClientCert : .other
    }

    private static let clientCertificate = Array("x-client-cert-".utf8)

    private static func isClientCertificate(_ bytes: Span<UInt8>, _ range: ByteRange) -> Bool {
        guard range.count >= clientCertificate.count, bytes[range.start + 2] | 0x20 == UInt8(ascii: "c") else {
            return false
        }
        for (offset, wanted) in clientCertificate.enumerated() {
            let byte = ByteScan.lowercased(bytes[range.start + offset])
            guard byte == wanted || byte == UInt8(ascii: "_") && wanted == UInt8(ascii: "-") else { return false }
        }
        return true
    }

    private static func candidate(length: Int, first: UInt8) -> FieldName {
        switch (length, first) {
        case (2, UInt8(ascii: "t")): .te
        case (3, UInt8(ascii: "v")): .via
        case (4, UInt8(ascii: "h")): .host
        case (4, UInt8(ascii: "d")): .date
        case (4, UInt8(ascii: "e")): .etag
        case (4, UInt8(ascii: "v")): .vary
        case (13, UInt8(ascii: "a")): .acceptRanges
        case (6, UInt8(ascii: "e")): .expect
        case (7, UInt8(ascii: "u")): .upgrade
        case (7, UInt8(ascii: "t")): .trailer
        case (9, UInt8(ascii: "x")): .xRealIP
        case (9, UInt8(ascii: "f")): .forwarded
        case (10, UInt8(ascii: "c")): .connection
        case (10, UInt8(ascii: "k")): .keepAlive
        case (12, UInt8(ascii: "x")): .xRequestID
        case (12, UInt8(ascii: "m")): .maxForwards
        case (14, UInt8(ascii: "c")): .contentLength
        case (14, UInt8(ascii: "h")): .http2Settings
        case (15, UInt8(ascii: "x")): .xForwardedFor
        case (15, UInt8(ascii: "i")): .idempotencyKey
        case (16, UInt8(ascii: "x")): .xForwardedHost
        case (16, UInt8(ascii: "p")): .proxyConnection
        case (17, UInt8(ascii: "x")): .xForwardedProto
        case (17, UInt8(ascii: "t")): .transferEncoding
        case (18, UInt8(ascii: "p")): .proxyAuthenticate
        case (19, UInt8(ascii: "p")): .proxyAuthorization
        default: .other
        }
    }
}

/// Field names by their bytes, whatever they are: those of the configuration.
public struct FieldNameList: Sendable {
    private let names: [[UInt8]]
    /// Those of them that ballast itself acts upon.
    public let known: FieldNames

    public init(_ names: [String]) {
        self.names = names.map { Array($0.utf8) }
        var known = FieldNames()
        for name in self.names {
            let found = FieldName.classify(name.span, ByteRange(start: 0, count: name.count))
            // One of many is not all of them.
            if found != .xForwardedOther, found != .xClientCert { known.formUnion(FieldNames(found)) }
        }
        known.remove(FieldNames(.other))
        self.known = known
    }

    /// Whether the name at `range` is one of them, without case.
    public func contains(_ bytes: Span<UInt8>, _ range: ByteRange) -> Bool {
        names.contains { name in
            guard name.count == range.count else { return false }
            for index in name.indices
            where ByteScan.lowercased(name[index]) != ByteScan.lowercased(bytes[range.start + index]) { return false }
            return true
        }
    }
}

/// A set of known field names.
public struct FieldNames: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public init(_ names: FieldName...) { rawValue = names.reduce(0) { $0 | 1 << UInt32($1.rawValue) } }
    public func contains(_ name: FieldName) -> Bool { rawValue & (1 << UInt32(name.rawValue)) != 0 }
}
