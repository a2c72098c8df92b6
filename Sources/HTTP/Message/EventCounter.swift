// Counts server-sent events on their way (WHATWG HTML, 9.2.6): blocks of lines that hold data and end with an empty line.
// It holds no byte of them and changes none.

/// Counts the events of one stream that arrives in pieces.
public struct EventCounter: Sendable, BitwiseCopyable {
    /// Events whose end was seen since `take`.
    public private(set) var count = 0
    private var isLineStart = true
    private var hasData = false

    public init() {}

    /// How many there were since the last time.
    public mutating func take() -> Int {
        defer { count = 0 }
        return count
    }

    /// Takes in the next bytes. Lines end with LF or CRLF; nobody is known to end them with CR alone.
    public mutating func scan(_ bytes: Span<UInt8>) {
        var index = 0
        while index < bytes.count {
            if isLineStart {
                switch bytes[index] {
                case 0x0a:
                    // Comments alone are no event: they keep a connection awake.
                    if hasData { count += 1 }
                    hasData = false
                    index += 1
                    continue
                case 0x0d:
                    index += 1
                    continue
                case UInt8(ascii: "d"): hasData = true
                case _: break
                }
                isLineStart = false
            }
            guard let end = ByteScan.firstLineFeed(in: bytes, from: index) else { return }
            index = end + 1
            isLineStart = true
        }
    }
}
