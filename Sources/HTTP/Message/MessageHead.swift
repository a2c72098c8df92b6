// A parsed message head: offsets into the caller's bytes and the facts that framing and forwarding need.
// It holds no byte of the message and never allocates.

/// One field line: where its name and its trimmed value stand, and which known name it is.
public struct FieldSlot: Sendable, BitwiseCopyable {
    public internal(set) var name: ByteRange = .empty
    public internal(set) var value: ByteRange = .empty
    public internal(set) var known: FieldName = .other
    /// Whether the name contains an underscore, which many servers confuse with a hyphen.
    public internal(set) var hasUnderscore = false
}

/// The options of Connection fields (RFC 9110, 7.6.1).
public struct ConnectionOptions: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let close = ConnectionOptions(rawValue: 1)
    public static let keepAlive = ConnectionOptions(rawValue: 2)
    public static let upgrade = ConnectionOptions(rawValue: 4)
    /// Other names stand there: fields so named do not pass.
    public static let others = ConnectionOptions(rawValue: 8)
}

/// The methods that ballast treats differently; the rest pass as `other` (RFC 9110, 9).
public enum Method: Sendable {
    case get, head, post, put, delete, options, patch, other

    /// RFC 9110, 9.2.2: repeating the request has the same intended effect. Unknown methods count as not idempotent.
    public var isIdempotent: Bool {
        switch self {
        case .get, .head, .put, .delete, .options: true
        case .post, .patch, .other: false
        }
    }
}

/// HTTP/1's two minor versions; a higher minor is served as 1.1 (RFC 9110, 2.5).
public enum Version: Sendable { case http10, http11 }

/// The most field lines any head may have: what `fields` has room for.
public let maximumFields = 256

/// The head of a request or a response. The ranges refer to the bytes it was parsed from; keep the two together.
/// Not copyable: it is large, and a copy would outlive those bytes.
public struct MessageHead: ~Copyable, Sendable {
    /// Bytes of the whole head, start line to the empty line.
    public internal(set) var byteCount = 0
    public internal(set) var version = Version.http11

    // Request line
    public internal(set) var method = Method.other
    public internal(set) var methodName = ByteRange.empty
    /// Path and query as they were sent; in absolute-form without scheme and authority. Empty there stands for "/".
    public internal(set) var target = ByteRange.empty
    /// The authority of an absolute-form target; it replaces Host (RFC 9112, 3.2.2).
    public internal(set) var authority = ByteRange.empty
    public internal(set) var host = ByteRange.empty
    /// The absolute-form target is an `https` one.
    public internal(set) var hasSecureScheme = false

    // Status line
    public internal(set) var status = 0
    public internal(set) var reason = ByteRange.empty

    // Facts from fields
    public internal(set) var contentLength: UInt64?
    public internal(set) var isChunked = false
    public internal(set) var connection: ConnectionOptions = []
    public internal(set) var expectsContinue = false
    /// The client takes trailers (`TE: trailers`; RFC 9110, 10.1.4).
    public internal(set) var acceptsTrailers = false
    /// The response is a stream of server-sent events.
    public var isEventStream: Bool { hasEventType && !isEncoded }
    var hasEventType = false
    /// Its bytes are those of a content coding.
    var isEncoded = false
    public internal(set) var present: FieldNames = []
    /// Seconds of a response's `Keep-Alive: timeout=`, when it says so.
    public internal(set) var keepAliveSeconds: Int?
    /// How many further hops an OPTIONS request may take (RFC 9110, 7.6.2); nil where it does not say.
    public internal(set) var maxForwards: UInt64?
    /// What has an answer of its own is told when the whole head is known: a folded line, which nothing may overrule, shows
    /// only with the next one (RFC 9112, 5.2).
    var hasUnknownCoding = false
    var hasUnknownExpectation = false
    /// Elements of all Connection fields, empty ones included.
    var optionCount = 0

    public internal(set) var fieldCount = 0
    var slots = InlineArray<256, FieldSlot>(repeating: FieldSlot())

    public init() {}

    /// The field line at `index`, below `fieldCount`.
    public func field(_ index: Int) -> FieldSlot { slots[index] }

    /// Whose server the request is for: the absolute-form's authority, else Host.
    public var effectiveHost: ByteRange { authority.isEmpty ? host : authority }

    /// Forgets the last message; the slots past `fieldCount` are left as they were.
    mutating func reset() {
        byteCount = 0
        version = .http11
        method = .other
        methodName = .empty
        target = .empty
        authority = .empty
        host = .empty
        hasSecureScheme = false
        status = 0
        reason = .empty
        contentLength = nil
        isChunked = false
        connection = []
        expectsContinue = false
        acceptsTrailers = false
        hasEventType = false
        isEncoded = false
        present = []
        keepAliveSeconds = nil
        maxForwards = nil
        hasUnknownCoding = false
        hasUnknownExpectation = false
        optionCount = 0
        fieldCount = 0
    }
}
