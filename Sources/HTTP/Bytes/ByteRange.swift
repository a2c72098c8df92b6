// A place in somebody else's bytes. It holds none of them.

/// A stretch of the bytes that a head was parsed from; both numbers below 65,536, the largest head there is.
public struct ByteRange: Equatable, Sendable, BitwiseCopyable {
    private let first: UInt16
    private let length: UInt16

    public init(start: Int, count: Int) {
        first = UInt16(start)
        length = UInt16(count)
    }

    public var start: Int { Int(first) }
    public var count: Int { Int(length) }
    public var end: Int { Int(first) + Int(length) }
    public var isEmpty: Bool { length == 0 }
    public var indices: Range<Int> { start..<end }

    public static let empty = ByteRange(start: 0, count: 0)
}
