// Which fields a message carries to the next hop, and what ballast adds: RFC 9110, 7.6 as this project reads it.
// It never decides framing by itself and never writes a byte past the head.
public import HTTP

/// The backend's wishes about fields.
public struct FieldSettings: Sendable {
    /// The name in `Via`; empty for no field.
    public var via: [UInt8]
    /// Whether field names with underscores pass.
    public var passesUnderscores: Bool
    /// Whether requests get a Forwarded field (RFC 7239).
    public var writesForwarded: Bool

    public init(via: [UInt8], passesUnderscores: Bool, writesForwarded: Bool = false) {
        self.via = via
        self.passesUnderscores = passesUnderscores
        self.writesForwarded = writesForwarded
    }
}

/// Builds the heads that leave.
public enum Forwarding {
    /// Bytes that `response` may add to a head beyond what the original's fields take; `request` as many, and the lines of a
    /// client's certificate.
    public static let addition = 2048

    /// What is special about one request's head; of most nothing is, and they have none.
    public final class RequestChanges {
        /// The client that a trusted peer speaks for.
        public var client: [UInt8]?
        /// The one protocol that the server may switch to; empty for none.
        public var upgrade = ByteRange.empty
        /// Bytes at the target's beginning that the server does not get to see.
        public var prefix = 0
        /// The field lines that tell of its client's certificate.
        public var certificate: [UInt8] = []
        /// What the configuration says of the fields, and what their values speak of.
        public var edits: FieldEdits?
        public var values: FieldValues?

        public init() {}
    }

    /// Writes the head of the request for a server.
    /// - Parameters:
    ///   - client: the connection's peer.
    ///   - server: stands in for Host where an HTTP/1.0 client sent none.
    ///   - requestID: see `RequestID`.
    public static func request(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, framing: BodyFraming, client: ClientIdentity,
        server: [UInt8], requestID: Span<UInt8>, settings: FieldSettings, changes: RequestChanges?,
        to output: inout OutputSpan<UInt8>
    ) {
        HeadWriter.requestLine(head, bytes, without: changes?.prefix ?? 0, to: &output)
        let host = head.effectiveHost
        if changes?.edits?.setsHost != true {
            HeadWriter.field(.host, host.isEmpty ? server.span : bytes.extracting(host.indices), to: &output)
        }
        // What a client's certificate says is known here alone: proxies pass on what their clients invent.
        var replaced = FieldNames(.host, .xForwardedFor, .xRequestID, .expect, .xClientCert)
        if head.maxForwards != nil { replaced.formUnion(FieldNames(.maxForwards)) }
        if !client.isTrusted {
            replaced.formUnion(
                FieldNames(.xForwardedHost, .xForwardedProto, .xForwardedOther, .xRealIP, .forwarded))
        } else if settings.writesForwarded {
            replaced.formUnion(FieldNames(.forwarded))
        }
        HeadWriter.fields(
            head, bytes, except: replaced, others: changes?.edits?.dropped, underscores: settings.passesUnderscores,
            hasTrailers: framing == .chunked, to: &output)
        let unwanted = changes?.edits?.dropped.known ?? []
        if !unwanted.contains(.xForwardedFor) { forwardedFor(head, bytes, client, to: &output) }
        let known = client.isTrusted ? head.present.union(unwanted) : unwanted
        if !known.contains(.xForwardedProto) {
            let isSecure = head.hasSecureScheme || client.isSecure
            output.put(isSecure ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n")
        }
        if !known.contains(.xForwardedHost), !host.isEmpty {
            HeadWriter.field(.xForwardedHost, bytes.extracting(host.indices), to: &output)
        }
        if !known.contains(.xRealIP) {
            if let address = changes?.client {
                HeadWriter.field(.xRealIP, address.span, to: &output)
            } else if !client.address.isEmpty {
                HeadWriter.field(.xRealIP, client.address.span, to: &output)
            }
        }
        if !unwanted.contains(.xRequestID) { HeadWriter.field(.xRequestID, requestID, to: &output) }
        if !settings.via.isEmpty, !unwanted.contains(.via) {
            output.put(head.version == .http11 ? "Via: 1.1 " : "Via: 1.0 ")
            output.put(settings.via.span)
            output.put("\r\n")
        }
        if !unwanted.contains(.maxForwards) { HeadWriter.maxForwards(head, to: &output) }
        if settings.writesForwarded, !unwanted.contains(.forwarded) { forwarded(head, bytes, client, to: &output) }
        if let changes { special(head, bytes, changes, to: &output) }
        // HTTP/1.0 knows no chunks, so no trailers either.
        if head.acceptsTrailers, head.version == .http11, changes?.upgrade.isEmpty != false {
            output.put("Connection: TE\r\nTE: trailers\r\n")
        }
        // An expectation without a body, or from HTTP/1.0, means nothing (RFC 9110, 10.1.1).
        if head.expectsContinue, framing != .none, head.version == .http11 { output.put("Expect: 100-continue\r\n") }
        HeadWriter.framing(framing, to: &output)
        // A length of 0 that was said is said again: some servers insist on it for POST.
        if framing == .none, head.contentLength != nil { HeadWriter.contentLength(0, to: &output) }
        output.put("\r\n")
    }

    /// One line with the chain so far, where it may be believed, and the peer. A UNIX socket's peer has no address.
    private static func forwardedFor(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, _ client: ClientIdentity,
        to output: inout OutputSpan<UInt8>
    ) {
        guard client.isTrusted, head.present.contains(.xForwardedFor) else {
            if !client.address.isEmpty { HeadWriter.field(.xForwardedFor, client.address.span, to: &output) }
            return
        }
        output.put("X-Forwarded-For: ")
        let hasSome = chain(.xForwardedFor, head, bytes, to: &output)
        if hasSome, !client.address.isEmpty { output.put(", ") }
        output.put(client.address.span)
        output.put("\r\n")
    }

    /// Writes the values of all fields called `name` as one list; false where there are none.
    private static func chain(
        _ name: FieldName, _ head: borrowing MessageHead, _ bytes: Span<UInt8>, to output: inout OutputSpan<UInt8>
    ) -> Bool {
        var isFirst = true
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            guard field.known == name, !field.value.isEmpty else { continue }
            if !isFirst { output.put(", ") }
            isFirst = false
            output.put(bytes.extracting(field.value.indices))
        }
        return !isFirst
    }

    /// The same in RFC 7239's form; addresses of IPv6 and hosts are quoted there, because colons are in no token.
    private static func forwarded(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, _ client: ClientIdentity,
        to output: inout OutputSpan<UInt8>
    ) {
        output.put("Forwarded: ")
        if client.isTrusted, chain(.forwarded, head, bytes, to: &output) { output.put(", ") }
        output.put("for=")
        if client.address.isEmpty {
            output.put("unknown")
        } else if client.address.contains(UInt8(ascii: ":")) {
            output.put("\"[")
            output.put(client.address.span)
            output.put("]\"")
        } else {
            output.put(client.address.span)
        }
        let host = head.effectiveHost
        if !host.isEmpty {
            output.put(";host=\"")
            output.put(bytes.extracting(host.indices))
            output.put("\"")
        }
        output.put(head.hasSecureScheme || client.isSecure ? ";proto=https\r\n" : ";proto=http\r\n")
    }

    /// The fields that few requests get.
    private static func special(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, _ changes: RequestChanges,
        to output: inout OutputSpan<UInt8>
    ) {
        if changes.prefix > 0, changes.edits?.writesOwn == true {
            // What servers need to make links that lead back.
            output.put("X-Forwarded-Prefix: ")
            output.put(bytes.extracting(head.target.start..<head.target.start + changes.prefix))
            output.put("\r\n")
        }
        output.put(changes.certificate.span)
        if let edits = changes.edits, let values = changes.values { edits.write(values, to: &output) }
        if !changes.upgrade.isEmpty {
            output.put("Connection: upgrade\r\n")
            HeadWriter.field(.upgrade, bytes.extracting(changes.upgrade.indices), to: &output)
        }
    }

    /// What the client is told about its connection.
    public enum Connection: Sendable { case keep, keepExplicitly, close, upgrade }

    /// What a response gets and loses; most have none.
    public final class ResponseChanges {
        let edits: FieldEdits?
        let values: FieldValues
        let servedBy: [UInt8]?
        /// What is done about the content's coding.
        let coding: Coding

        /// How the content leaves: as it came, as it came though it might have left otherwise, or compressed.
        public enum Coding: Sendable {
            case untouched, negotiated, gzip
            /// It speaks of one that left compressed before.
            case weakened
        }

        /// - Parameter servedBy: for X-Served-By; nil where that is not wanted.
        public init(_ edits: FieldEdits?, _ values: FieldValues, servedBy: [UInt8]?, coding: Coding) {
            self.edits = edits
            self.values = values
            self.servedBy = servedBy
            self.coding = coding
        }
    }

    /// Writes the head of the final response for the client.
    /// - Parameter date: an IMF-fixdate (RFC 9110, 5.6.7) for responses without one.
    public static func response(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, framing: BodyFraming, requestID: Span<UInt8>,
        date: Span<UInt8>, connection: Connection, changes: ResponseChanges?,
        to output: inout OutputSpan<UInt8>
    ) {
        HeadWriter.statusLine(head, bytes, to: &output)
        let others = changes?.edits?.dropped
        HeadWriter.fields(
            head, bytes, except: FieldNames(.xRequestID).union(recoded(changes?.coding ?? .untouched)), others: others,
            underscores: true, hasTrailers: framing == .chunked, to: &output)
        let unwanted = others?.known ?? []
        if !head.present.union(unwanted).contains(.date) { HeadWriter.field(.date, date, to: &output) }
        if !unwanted.contains(.xRequestID) { HeadWriter.field(.xRequestID, requestID, to: &output) }
        if let changes {
            if let servedBy = changes.servedBy {
                output.put("X-Served-By: ")
                output.put(servedBy.span)
                output.put("\r\n")
            }
            changes.edits?.write(changes.values, to: &output)
            if changes.coding != .untouched { recode(head, bytes, changes.coding, unwanted, to: &output) }
        }
        HeadWriter.framing(framing, to: &output)
        if framing == .none, let length = head.contentLength, head.status >= 200, head.status != 204 {
            // No body follows, but the length is part of the answer to HEAD and of 304, and 0 ends the rest.
            HeadWriter.contentLength(length, to: &output)
        }
        self.connection(connection, to: &output)
        // 426 says which protocol is wanted (RFC 9110, 15.5.22).
        if head.status == 426, head.present.contains(.upgrade) { output.put("Connection: upgrade\r\n") }
        if connection == .upgrade || head.status == 426 { switched(head, bytes, to: &output) }
        output.put("\r\n")
    }

    /// Fields that are written anew where the content's coding is chosen here.
    private static func recoded(_ coding: ResponseChanges.Coding) -> FieldNames {
        switch coding {
        case .untouched: []
        case .negotiated: FieldNames(.vary)
        case .gzip: FieldNames(.vary, .etag, .acceptRanges)
        case .weakened: FieldNames(.vary, .etag)
        }
    }

    /// What is another representation says so: its coding, on what it depends (RFC 9110, 12.5.5), and that its validator
    /// stands for what was the same before (8.8.1). It has no ranges of the other's bytes.
    private static func recode(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, _ coding: ResponseChanges.Coding, _ unwanted: FieldNames,
        to output: inout OutputSpan<UInt8>
    ) {
        // Whatever is said of Vary otherwise: a cache that did not know would give it to who cannot read it.
        output.put("Vary: ")
        if !unwanted.contains(.vary), chain(.vary, head, bytes, to: &output) {
            output.put(varies(head, bytes) ? "\r\n" : ", Accept-Encoding\r\n")
        } else {
            output.put("Accept-Encoding\r\n")
        }
        guard coding != .negotiated else { return }
        if coding == .gzip { output.put("Content-Encoding: gzip\r\n") }
        for index in 0..<head.fieldCount where head.field(index).known == .etag && !unwanted.contains(.etag) {
            let value = head.field(index).value
            let isWeak = value.count > 2 && bytes[value.start] == UInt8(ascii: "W")
            output.put(isWeak ? "ETag: " : "ETag: W/")
            output.put(bytes.extracting(value.indices))
            output.put("\r\n")
        }
    }

    /// The response says already that it depends on Accept-Encoding, or on everything.
    private static func varies(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> Bool {
        var varies = false
        for index in 0..<head.fieldCount where head.field(index).known == .vary {
            ByteScan.forEachElement(bytes, head.field(index).value) { element in
                varies =
                    varies || ByteScan.equal(bytes, element, ignoringCaseOf: "Accept-Encoding")
                    || ByteScan.equal(bytes, element, ignoringCaseOf: "*")
            }
        }
        return varies
    }

    /// The protocol that the connection switches to, or should.
    private static func switched(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, to output: inout OutputSpan<UInt8>
    ) {
        for index in 0..<head.fieldCount where head.field(index).known == .upgrade {
            HeadWriter.put(head.field(index), bytes, to: &output)
        }
    }

    /// Writes an interim response (RFC 9110, 15.2): its fields, and nothing of ballast's own.
    /// - Parameter others: fields that do not pass.
    public static func interim(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, others: FieldNameList?,
        to output: inout OutputSpan<UInt8>
    ) {
        HeadWriter.statusLine(head, bytes, to: &output)
        HeadWriter.fields(head, bytes, except: [], others: others, underscores: true, to: &output)
        output.put("\r\n")
    }

    public static func connection(_ connection: Connection, to output: inout OutputSpan<UInt8>) {
        switch connection {
        case .keep: break
        case .keepExplicitly: output.put("Connection: keep-alive\r\n")
        case .close: output.put("Connection: close\r\n")
        case .upgrade: output.put("Connection: upgrade\r\n")
        }
    }
}
