// Which fields a message carries to the next hop, and what ballast adds: RFC 9110, 7.6 as this project reads it.
// It never decides framing by itself and never writes a byte past the head.
public import HTTP

/// What a server is told about the client, the same for every request of a connection.
public struct ClientIdentity: Sendable {
    /// The peer's address in text.
    public let address: [UInt8]
    /// The peer's own `X-Forwarded-*` and `X-Real-IP` are believed.
    public let isTrusted: Bool

    public init(address: [UInt8], isTrusted: Bool) {
        self.address = address
        self.isTrusted = isTrusted
    }
}

/// The backend's wishes about fields.
public struct FieldSettings: Sendable {
    /// The name in `Via`; empty for no field.
    public var via: [UInt8]
    /// Whether field names with underscores pass.
    public var passesUnderscores: Bool

    public init(via: [UInt8], passesUnderscores: Bool) {
        self.via = via
        self.passesUnderscores = passesUnderscores
    }
}

/// Builds the heads that leave.
public enum Forwarding {
    /// Bytes that `request` and `response` may add to a head beyond what the original's fields take.
    public static let addition = 2048

    /// Writes the head of the request for a server.
    /// - Parameters:
    ///   - server: stands in for Host where an HTTP/1.0 client sent none.
    ///   - requestID: see `RequestID`.
    public static func request(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, framing: BodyFraming, client: ClientIdentity,
        server: [UInt8], requestID: Span<UInt8>, settings: FieldSettings, to output: inout OutputSpan<UInt8>
    ) {
        HeadWriter.requestLine(head, bytes, to: &output)
        let host = head.effectiveHost
        HeadWriter.field(.host, host.isEmpty ? server.span : bytes.extracting(host.indices), to: &output)
        var replaced = FieldNames(.host, .xForwardedFor, .xRequestID, .expect)
        if head.maxForwards != nil { replaced.formUnion(FieldNames(.maxForwards)) }
        if !client.isTrusted {
            replaced.formUnion(FieldNames(.xForwardedHost, .xForwardedProto, .xForwardedOther, .xRealIP, .forwarded))
        }
        HeadWriter.fields(head, bytes, except: replaced, underscores: settings.passesUnderscores, to: &output)
        forwardedFor(head, bytes, client, to: &output)
        let known = client.isTrusted ? head.present : []
        if !known.contains(.xForwardedProto) {
            output.put(head.hasSecureScheme ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n")
        }
        if !known.contains(.xForwardedHost), !host.isEmpty {
            HeadWriter.field(.xForwardedHost, bytes.extracting(host.indices), to: &output)
        }
        if !known.contains(.xRealIP) { HeadWriter.field(.xRealIP, client.address.span, to: &output) }
        HeadWriter.field(.xRequestID, requestID, to: &output)
        if !settings.via.isEmpty {
            output.put(head.version == .http11 ? "Via: 1.1 " : "Via: 1.0 ")
            output.put(settings.via.span)
            output.put("\r\n")
        }
        HeadWriter.maxForwards(head, to: &output)
        // An expectation without a body, or from HTTP/1.0, means nothing (RFC 9110, 10.1.1).
        if head.expectsContinue, framing != .none, head.version == .http11 { output.put("Expect: 100-continue\r\n") }
        HeadWriter.framing(framing, to: &output)
        // A length of 0 that was said is said again: some servers insist on it for POST.
        if framing == .none, head.contentLength != nil { HeadWriter.contentLength(0, to: &output) }
        output.put("\r\n")
    }

    /// One line with the chain so far, where it may be believed, and the peer.
    private static func forwardedFor(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, _ client: ClientIdentity,
        to output: inout OutputSpan<UInt8>
    ) {
        output.put("X-Forwarded-For: ")
        if client.isTrusted, head.present.contains(.xForwardedFor) {
            for index in 0..<head.fieldCount {
                let field = head.field(index)
                guard field.known == .xForwardedFor, !field.value.isEmpty else { continue }
                output.put(bytes.extracting(field.value.indices))
                output.put(", ")
            }
        }
        output.put(client.address.span)
        output.put("\r\n")
    }

    /// What the client is told about its connection.
    public enum Connection: Sendable { case keep, keepExplicitly, close }

    /// Writes the head of the final response for the client.
    /// - Parameter date: an IMF-fixdate (RFC 9110, 5.6.7) for responses without one.
    public static func response(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, framing: BodyFraming, requestID: Span<UInt8>,
        date: Span<UInt8>, connection: Connection, to output: inout OutputSpan<UInt8>
    ) {
        HeadWriter.statusLine(head, bytes, to: &output)
        HeadWriter.fields(head, bytes, except: FieldNames(.xRequestID), underscores: true, to: &output)
        if !head.present.contains(.date) { HeadWriter.field(.date, date, to: &output) }
        HeadWriter.field(.xRequestID, requestID, to: &output)
        HeadWriter.framing(framing, to: &output)
        if framing == .none, let length = head.contentLength, head.status != 204 {
            // No body follows, but the length is part of the answer to HEAD and of 304, and 0 ends the rest.
            HeadWriter.contentLength(length, to: &output)
        }
        self.connection(connection, to: &output)
        output.put("\r\n")
    }

    /// Writes an interim response (RFC 9110, 15.2): its fields, and nothing of ballast's own.
    public static func interim(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, to output: inout OutputSpan<UInt8>
    ) {
        HeadWriter.statusLine(head, bytes, to: &output)
        HeadWriter.fields(head, bytes, except: [], underscores: true, to: &output)
        output.put("\r\n")
    }

    public static func connection(_ connection: Connection, to output: inout OutputSpan<UInt8>) {
        switch connection {
        case .keep: break
        case .keepExplicitly: output.put("Connection: keep-alive\r\n")
        case .close: output.put("Connection: close\r\n")
        }
    }
}
