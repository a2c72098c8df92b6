// Writing heads and chunk framing. Everything that leaves is built here from parsed values; nothing is passed through.
// A span that is full at the end is an overflow: writers never trap, and `OutputSpan.isFull` tells.

/// Writes HTTP/1.1 heads piece by piece into the caller's buffer (RFC 9112, 2.1).
public enum HeadWriter {
    /// `method target HTTP/1.1`; an empty target stands for `/`.
    /// - Parameter prefix: bytes that are taken off the target's beginning.
    public static func requestLine(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, without prefix: Int = 0, to output: inout OutputSpan<UInt8>
    ) {
        output.put(bytes.extracting(head.methodName.indices))
        output.put(0x20)
        let target = ByteRange(start: head.target.start + prefix, count: head.target.count - prefix)
        // An absolute-form target may lack its path: "/" then; OPTIONS asks about the server itself (RFC 9112, 3.2.4).
        if target.isEmpty {
            output.put(head.method == .options && prefix == 0 ? "*" : "/")
        } else if bytes[target.start] == UInt8(ascii: "?") {
            output.put(UInt8(ascii: "/"))
            output.put(bytes.extracting(target.indices))
        } else {
            output.put(bytes.extracting(target.indices))
        }
        output.put(" HTTP/1.1\r\n")
    }

    /// `HTTP/1.1 status reason`, with the server's reason phrase.
    public static func statusLine(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, to output: inout OutputSpan<UInt8>
    ) {
        output.put("HTTP/1.1 ")
        output.put(UInt64(head.status))
        output.put(0x20)
        output.put(bytes.extracting(head.reason.indices))
        output.put("\r\n")
    }

    /// Every field of `head` that goes on to the next hop, except those in `dropped`: neither those that speak of this
    /// connection, nor those that Connection names, nor framing (RFC 9110, 7.6.1).
    /// - Parameters:
    ///   - others: further names that do not pass.
    ///   - hasTrailers: a trailer section may follow, and Trailer says what stands in it (RFC 9110, 6.6.2).
    public static func fields(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, except dropped: FieldNames,
        others: FieldNameList? = nil, underscores: Bool, hasTrailers: Bool = false,
        to output: inout OutputSpan<UInt8>
    ) {
        let never = dropped.union(hasTrailers ? connectionFieldsButTrailer : connectionFields)
        guard others == nil, !head.connection.contains(.others) else {
            return unnamedFields(head, bytes, except: never, others, underscores: underscores, to: &output)
        }
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            if never.contains(field.known) || field.hasUnderscore && !underscores { continue }
            put(field, bytes, to: &output)
        }
    }

    /// The same, without the fields that Connection or the configuration names. By itself, because most heads name none and
    /// the names take room.
    @inline(never)
    private static func unnamedFields(
        _ head: borrowing MessageHead, _ bytes: Span<UInt8>, except never: FieldNames, _ others: FieldNameList?,
        underscores: Bool, to output: inout OutputSpan<UInt8>
    ) {
        let named = ConnectionNames(head, bytes)
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            if never.contains(field.known) || field.hasUnderscore && !underscores { continue }
            if !protected.contains(field.known), named.contains(field.name, head, bytes) { continue }
            if let others, others.contains(bytes, field.name) { continue }
            put(field, bytes, to: &output)
        }
    }

    /// Writes one field line of `head` as it is.
    public static func put(_ field: FieldSlot, _ bytes: Span<UInt8>, to output: inout OutputSpan<UInt8>) {
        output.put(bytes.extracting(field.name.indices))
        output.put(": ")
        output.put(bytes.extracting(field.value.indices))
        output.put("\r\n")
    }

    public static func field(_ name: FieldName, _ value: Span<UInt8>, to output: inout OutputSpan<UInt8>) {
        output.put(name.text)
        output.put(": ")
        output.put(value)
        output.put("\r\n")
    }

    /// The next hop may hand the request on one time less (RFC 9110, 7.6.2).
    public static func maxForwards(_ head: borrowing MessageHead, to output: inout OutputSpan<UInt8>) {
        guard let count = head.maxForwards, count > 0 else { return }
        output.put("Max-Forwards: ")
        output.put(count - 1)
        output.put("\r\n")
    }

    /// The one framing field of the message that leaves, if it needs one.
    public static func framing(_ framing: BodyFraming, to output: inout OutputSpan<UInt8>) {
        switch framing {
        case .length(let length): contentLength(length, to: &output)
        case .chunked: output.put("Transfer-Encoding: chunked\r\n")
        case .none, .untilClose: break
        }
    }

    public static func contentLength(_ length: UInt64, to output: inout OutputSpan<UInt8>) {
        output.put("Content-Length: ")
        output.put(length)
        output.put("\r\n")
    }

    /// Bytes that the framing around one chunk takes at most: sixteen digits and two line ends.
    public static let chunkOverhead = 20

    /// One chunk; the caller has made room for `data` and `chunkOverhead`.
    public static func chunk(_ data: Span<UInt8>, to output: inout OutputSpan<UInt8>) {
        output.put(UInt64(data.count), radix: 16)
        output.put("\r\n")
        output.put(data)
        output.put("\r\n")
    }

    public static let lastChunk: StaticString = "0\r\n\r\n"
    /// The same before a trailer section.
    public static let lastSize: StaticString = "0\r\n"

    /// Fields that belong to one connection or one framing, and are made anew for the next.
    private static let connectionFields = FieldNames(
        .connection, .keepAlive, .proxyConnection, .te, .trailer, .transferEncoding, .upgrade, .http2Settings,
        .contentLength, .proxyAuthenticate, .proxyAuthorization)
    private static let connectionFieldsButTrailer = connectionFields.subtracting(FieldNames(.trailer))

    /// Names that no Connection field may take away: losing them would change what the message means.
    private static let protected = FieldNames(
        .host, .xForwardedFor, .xForwardedHost, .xForwardedProto, .xForwardedOther, .xRealIP, .date)
}

/// The names in all Connection fields of a head, by their hashes: names of strangers' choice are many and alike, and each
/// field is looked for among all of them.
private struct ConnectionNames {
    private var hashes = InlineArray<256, UInt64>(repeating: 0)
    private var count = 0

    init(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) {
        for index in 0..<head.fieldCount where head.field(index).known == .connection {
            ByteScan.forEachElement(bytes, head.field(index).value) { note($0, bytes) }
        }
    }

    private mutating func note(_ element: ByteRange, _ bytes: Span<UInt8>) {
        // The parsers let no more of them pass than there may be fields.
        guard !element.isEmpty, count < maximumFields else { return }
        hashes[count] = Self.hash(bytes, element)
        count += 1
    }

    func contains(_ name: ByteRange, _ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> Bool {
        let hash = Self.hash(bytes, name)
        for index in 0..<count where hashes[index] == hash { return isNamed(name, head, bytes) }
        return false
    }

    private func isNamed(_ name: ByteRange, _ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> Bool {
        var isNamed = false
        for index in 0..<head.fieldCount where head.field(index).known == .connection && !isNamed {
            ByteScan.forEachElement(bytes, head.field(index).value) { element in
                isNamed = isNamed || ByteScan.equal(bytes, name, ignoringCaseOf: element)
            }
        }
        return isNamed
    }

    /// FNV-1a without case.
    private static func hash(_ bytes: Span<UInt8>, _ range: ByteRange) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for index in range.indices {
            hash = (hash ^ UInt64(ByteScan.lowercased(bytes[index]))) &* 0x100_0000_01b3
        }
        return hash
    }
}
