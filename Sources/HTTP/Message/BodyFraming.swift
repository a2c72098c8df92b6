// How the end of a body is known, decided once from a head. It never looks at body bytes.

/// How a message's body ends (RFC 9112, 6.3).
public enum BodyFraming: Equatable, Sendable {
    case none
    case length(UInt64)
    case chunked
    /// Until the server closes; responses only.
    case untilClose

    /// The framing of a request; the parser has already refused what contradicts itself.
    public init(request head: borrowing MessageHead) {
        if head.isChunked {
            self = .chunked
        } else if let length = head.contentLength, length > 0 {
            self = .length(length)
        } else {
            self = .none
        }
    }

    /// The framing of a response to a request with `method`.
    public init(response head: borrowing MessageHead, to method: Method) {
        let status = head.status
        if method == .head || status < 200 || status == 204 || status == 304 {
            self = .none
        } else if head.isChunked {
            self = .chunked
        } else if let length = head.contentLength {
            self = length == 0 ? .none : .length(length)
        } else {
            self = .untilClose
        }
    }
}
