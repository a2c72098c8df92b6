// The smallest of a fixed number of keys, kept while keys come, change and go. It knows nothing of servers' state.

/// A winner tree: the index with the smallest key, the lowest index among equals, in constant time; a change is
/// logarithmic.
struct Tournament<Key: Comparable & Sendable>: Sendable {
    private var keys: [Key?]
    /// The winner below each inner node; the root is at 1, leaf `i` stands at `leafCount + i`. -1 is nobody.
    private var winners: [Int32]
    private let leafCount: Int

    init(count: Int) {
        var leaves = 1
        while leaves < count { leaves *= 2 }
        leafCount = leaves
        keys = Array(repeating: nil, count: count)
        winners = Array(repeating: -1, count: 2 * leaves)
    }

    subscript(index: Int) -> Key? { keys[index] }

    /// Sets the key of `index`; nil takes it out of the contest.
    mutating func set(_ index: Int, _ key: Key?) {
        keys[index] = key
        var node = leafCount + index
        winners[node] = key == nil ? -1 : Int32(index)
        while node > 1 {
            node /= 2
            winners[node] = winner(winners[2 * node], winners[2 * node + 1])
        }
    }

    private func winner(_ left: Int32, _ right: Int32) -> Int32 {
        guard left >= 0, let leftKey = keys[Int(left)] else { return right }
        guard right >= 0, let rightKey = keys[Int(right)] else { return left }
        return rightKey < leftKey ? right : left
    }

    /// The winner outside `exclusions`.
    mutating func first(excluding exclusions: Exclusions) -> Int? {
        if exclusions.isEmpty { return winners[1] < 0 ? nil : Int(winners[1]) }
        // Few are excluded, and seldom: they leave the contest for the moment.
        var held = InlineArray<8, Key?>(repeating: nil)
        for position in 0..<exclusions.count where exclusions[position] < keys.count {
            held[position] = keys[exclusions[position]]
            set(exclusions[position], nil)
        }
        let first = winners[1]
        for position in 0..<exclusions.count where exclusions[position] < keys.count {
            set(exclusions[position], held[position])
        }
        return first < 0 ? nil : Int(first)
    }
}
