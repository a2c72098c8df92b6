// Round-robin: each server in turn, as often as its weight says, evenly spread. It never looks at load.

public struct WeightedRoundRobin: BalancingPolicy {
    private var turns: Turns
    private var order: Tournament<UInt64>
    private var shares: [Int]

    public init(_ servers: [Server]) {
        turns = Turns(count: servers.count)
        order = Tournament(count: servers.count)
        shares = Array(repeating: 1, count: servers.count)
    }

    public mutating func set(_ server: Int, _ candidate: Candidate?) {
        if let candidate { shares[server] = candidate.share }
        order.set(server, candidate == nil ? nil : turns.due(server))
    }

    public mutating func pick(_ request: Pick) -> Int? {
        guard let server = order.first(excluding: request.exclusions) else { return nil }
        if turns.take(server, share: shares[server]) {
            for index in shares.indices where order[index] != nil { order.set(index, turns.due(index)) }
        }
        order.set(server, turns.due(server))
        return server
    }
}
