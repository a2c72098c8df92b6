// The servers of one backend with what a policy needs to know of each now. It decides nothing.

/// Servers that one request must not be given to again: those it already failed on. Holds a fixed few, because a
/// request makes a fixed few attempts.
public struct Exclusions: Sendable {
    /// Attempts that one request makes at most.
    public static let capacity = 8

    private var indexes = InlineArray<8, Int>(repeating: -1)
    public private(set) var count = 0

    public init() {}

    public var isFull: Bool { count == Self.capacity }

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

/// The servers of a backend by index, each with its load and whether it may be chosen.
public struct Roster: Sendable {
    public struct Entry: Sendable {
        /// Requests that were given to the server and have not ended; one that is still connecting counts.
        public internal(set) var inflight = 0
        /// Health lets the server take requests.
        public internal(set) var isUsable = true
    }

    public internal(set) var entries: [Entry]

    public init(count: Int) { entries = Array(repeating: Entry(), count: count) }

    public var count: Int { entries.count }

    /// Whether a request with these exclusions may go to `server`.
    public func canTake(_ server: Int, excluding exclusions: Exclusions) -> Bool {
        entries[server].isUsable && !exclusions.contains(server)
    }
}
