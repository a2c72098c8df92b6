// What a configuration may name as a reason to retry or to eject. It never decides either.

/// HTTP statuses, 100 to 599.
public struct StatusSet: Sendable, Equatable {
    private var bits = InlineArray<8, UInt64>(repeating: 0)

    public init() {}

    public init(_ ranges: ClosedRange<Int>...) { for range in ranges { insert(range) } }

    /// Adds the statuses of `range` that are statuses.
    public mutating func insert(_ range: ClosedRange<Int>) {
        for status in range where (100...599).contains(status) {
            bits[(status - 100) / 64] |= 1 << UInt64((status - 100) % 64)
        }
    }

    public func contains(_ status: Int) -> Bool {
        guard (100...599).contains(status) else { return false }
        return bits[(status - 100) / 64] >> UInt64((status - 100) % 64) & 1 == 1
    }

    public static func == (left: StatusSet, right: StatusSet) -> Bool {
        (0..<8).allSatisfy { left.bits[$0] == right.bits[$0] }
    }
}

/// Kinds of failure, and statuses.
public struct Causes: Sendable, Equatable {
    /// No connection: refused, unreachable, or not in time.
    public var connect: Bool
    /// The connection ended before the response was complete.
    public var reset: Bool
    /// No byte of a response in time, or silence inside it.
    public var timeout: Bool
    public var statuses: StatusSet

    public init(connect: Bool = false, reset: Bool = false, timeout: Bool = false, statuses: StatusSet = StatusSet()) {
        self.connect = connect
        self.reset = reset
        self.timeout = timeout
        self.statuses = statuses
    }
}

/// Which requests may run twice.
public enum Replay: String, Sendable, CaseIterable {
    /// Those whose method is idempotent (RFC 9110, 9.2.2).
    case idempotent
    /// Those, and what carries an Idempotency-Key.
    case keyed
    /// All.
    case always
}
