// Servers that one request must not be given to again: those it already failed on.

/// Holds a fixed few, because a request makes a fixed few attempts.
public struct Exclusions: Sendable {
    /// Attempts that one request makes at most.
    public static let capacity = 8

    private var indexes = InlineArray<8, Int>(repeating: -1)
    public private(set) var count = 0

    public init() {}

    public var isEmpty: Bool { count == 0 }
    public var isFull: Bool { count == Self.capacity }

    /// The server at `position`, below `count`.
    subscript(position: Int) -> Int { indexes[position] }

    public func contains(_ server: Int) -> Bool {
        for position in 0..<count where indexes[position] == server { return true }
        return false
    }

    /// Adds `server`; without effect when it is there already or the set is full.
    public mutating func insert(_ server: Int) {
        guard !isFull, !contains(server) else { return }
        indexes[count] = server
        count += 1
    }
}
