// Random with two choices (Mitzenmacher: The Power of Two Choices in Randomized Load Balancing, 2001).
// It needs no order of all servers and never sends a crowd to the one that just became idle.

/// Draws two candidates by weight and takes the one with less load for its weight.
public struct TwoChoices: BalancingPolicy {
    private var tree: WeightTree
    private var candidates: [Candidate]

    public init(_ servers: [Server]) {
        tree = WeightTree(count: servers.count)
        candidates = Array(repeating: Candidate(inflight: 0, share: 1), count: servers.count)
    }

    public mutating func set(_ server: Int, _ candidate: Candidate?) {
        if let candidate { candidates[server] = candidate }
        tree.set(server, candidate?.share ?? 0)
    }

    public mutating func pick(_ request: Pick) -> Int? {
        let hidden = tree.hide(request.exclusions)
        defer { tree.show(request.exclusions, hidden) }
        guard let first = draw(FixedHash.mixed(request.random)) else { return nil }
        let weight = tree[first]
        tree.set(first, 0)
        let second = draw(FixedHash.mixed(~request.random))
        tree.set(first, weight)
        guard let second else { return first }
        return isLighter(second, than: first) ? second : first
    }

    private func draw(_ number: UInt64) -> Int? {
        guard tree.total > 0 else { return nil }
        return tree.index(at: Int(number.multipliedFullWidth(by: UInt64(tree.total)).high))
    }

    private func isLighter(_ one: Int, than other: Int) -> Bool {
        let (left, right) = (candidates[one], candidates[other])
        let load = left.inflight.multipliedFullWidth(by: right.share)
        let otherLoad = right.inflight.multipliedFullWidth(by: left.share)
        return load.high != otherLoad.high ? load.high < otherLoad.high : load.low < otherLoad.low
    }
}
