// What a peer can do wrong on the wire, each with the answer it gets. It never carries the peer's bytes.

/// A violation of RFC 9110 or RFC 9112 found in a message, and the status that answers it when a client made it.
/// The same violation in a response is always answered with 502.
public enum ProtocolError: Error, CaseIterable, Sendable {
    case malformedRequestLine, tooManyEmptyLines, malformedTarget, misdirected, ambiguousPath, targetTooLong,
        malformedVersion, unsupportedVersion
    case methodNotAllowed, methodTooLong, tunnelNotSupported
    case malformedField, foldedField, headTooLarge, tooManyFields
    case missingHost, malformedHost, unknownExpectation
    case malformedContentLength, contentLengthWithTransferEncoding
    case malformedTransferEncoding, unknownTransferCoding, transferEncodingInOldVersion
    case malformedChunk, chunkLineTooLong, chunkExtensionsTooLong, trailersTooLarge, bodyTooLarge
    case malformedStatusLine, unexpectedSwitch, tooManyInterimResponses
    /// Of a connection, not of a message.
    case malformedProxyHeader, unexpectedProxyHeader
    /// Of a connection with TLS, or without.
    case plainHTTP, unexpectedTLS, otherHost

    /// Status of the answer to a client (`configuration`: answers of ballast's own).
    public var status: Int {
        switch self {
        case .targetTooLong: 414
        case .headTooLarge, .tooManyFields: 431
        case .unsupportedVersion: 505
        case .methodNotAllowed: 405
        case .bodyTooLarge: 413
        case .misdirected, .otherHost: 421
        case .methodTooLong, .tunnelNotSupported, .unknownTransferCoding: 501
        case .unknownExpectation: 417
        case .malformedRequestLine, .tooManyEmptyLines, .malformedTarget, .ambiguousPath, .malformedVersion,
            .malformedField, .foldedField,
            .missingHost,
            .malformedHost, .malformedContentLength, .contentLengthWithTransferEncoding, .malformedTransferEncoding,
            .transferEncodingInOldVersion, .malformedChunk, .chunkLineTooLong, .chunkExtensionsTooLong,
            .trailersTooLarge:
            400
        case .malformedProxyHeader, .unexpectedProxyHeader, .plainHTTP, .unexpectedTLS: 400
        case .malformedStatusLine, .unexpectedSwitch, .tooManyInterimResponses: 502
        }
    }

    /// One plain clause for answers and logs, naming the rule.
    public var explanation: StaticString {
        switch self {
        case .malformedRequestLine: "the request line is not 'method target version' (RFC 9112, 3)"
        case .tooManyEmptyLines: "more empty lines than empty-lines-limit stand before the request (RFC 9112, 2.2)"
        case .misdirected: "an https target came over a connection that is not secured (RFC 9110, 7.4)"
        case .malformedTarget: "the request target is not valid (RFC 9112, 3.2)"
        case .ambiguousPath:
            "the path has dot segments, or an encoded dot, slash or backslash, so its route is not certain"
        case .targetTooLong: "the request target is longer than target-limit"
        case .malformedVersion: "the HTTP version is not valid (RFC 9112, 2.3)"
        case .unsupportedVersion: "only HTTP/1.0 and HTTP/1.1 are served here"
        case .methodNotAllowed: "TRACE is not allowed here"
        case .methodTooLong: "the method is longer than any that is known (RFC 9112, 3)"
        case .tunnelNotSupported: "CONNECT is not supported here"
        case .malformedField: "a field line is not valid (RFC 9112, 5)"
        case .foldedField: "a field line is folded (RFC 9112, 5.2)"
        case .headTooLarge: "the head is larger than head-limit"
        case .tooManyFields: "the head has more fields, or options of Connection, than fields-limit"
        case .missingHost: "HTTP/1.1 requires one Host field (RFC 9112, 3.2)"
        case .malformedHost: "the Host field is not valid or stands twice (RFC 9112, 3.2)"
        case .unknownExpectation: "the only known expectation is 100-continue (RFC 9110, 10.1.1)"
        case .malformedContentLength: "Content-Length is not one decimal number (RFC 9112, 6.3)"
        case .contentLengthWithTransferEncoding: "Content-Length and Transfer-Encoding stand together (RFC 9112, 6.1)"
        case .malformedTransferEncoding: "Transfer-Encoding is not exactly one 'chunked' (RFC 9112, 6.1)"
        case .unknownTransferCoding: "the transfer coding is not known here; only chunked is (RFC 9112, 6.1)"
        case .transferEncodingInOldVersion: "Transfer-Encoding stands in an HTTP/1.0 message (RFC 9112, 6.1)"
        case .malformedChunk: "a chunk is not valid (RFC 9112, 7.1)"
        case .chunkLineTooLong: "a chunk's size line is longer than chunk-line-limit"
        case .chunkExtensionsTooLong: "the chunk extensions are longer than chunk-extensions-limit"
        case .trailersTooLarge: "the trailer section is larger than trailers-limit"
        case .bodyTooLarge: "the body is larger than body-limit"
        case .malformedStatusLine: "the status line is not valid (RFC 9112, 4)"
        case .unexpectedSwitch: "101 came without a request to upgrade, or for another protocol (RFC 9110, 15.2.2)"
        case .malformedProxyHeader: "a well-formed header of the PROXY protocol is expected first"
        case .unexpectedProxyHeader:
            "no header of the PROXY protocol is expected here: 'listen' needs proxy-protocol, and trusted-proxies the peer"
        case .plainHTTP: "this port speaks HTTPS; write https:// (RFC 9110, 4.2.2)"
        case .unexpectedTLS: "this port does not speak TLS; write http://, or 'tls' behind its 'listen'"
        case .otherHost: "who the client is was asked for another host than this one; connect anew (RFC 9110, 7.4)"
        case .tooManyInterimResponses: "too many interim responses"
        }
    }
}
