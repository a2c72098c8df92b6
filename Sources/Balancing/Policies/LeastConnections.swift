// Least connections: the server with the fewest requests in flight for its weight. It never remembers finished requests.

/// Gives a request to the candidate with the least load; equals take turns by weight, so that idle servers are used
/// as their weights say.
public struct LeastConnections: BalancingPolicy {
    private struct Key: Comparable, Sendable {
        /// Requests in flight for each share.
        var load: UInt64
        var due: UInt64

        static func < (left: Key, right: Key) -> Bool {
            left.load != right.load ? left.load < right.load : left.due < right.due
        }
    }

    private var turns: Turns
    private var order: Tournament<Key>
    private var candidates: [Candidate]

    public init(_ servers: [Server]) {
        turns = Turns(count: servers.count)
        order = Tournament(count: servers.count)
        candidates = Array(repeating: Candidate(inflight: 0, share: 1), count: servers.count)
    }

    public mutating func set(_ server: Int, _ candidate: Candidate?) {
        guard let candidate else {
            order.set(server, nil)
            return
        }
        candidates[server] = candidate
        order.set(server, key(server))
    }

    private func key(_ server: Int) -> Key {
        let candidate = candidates[server]
        return Key(load: (UInt64(candidate.inflight) << 32) / UInt64(candidate.share), due: turns.due(server))
    }

    public mutating func pick(_ request: Pick) -> Int? {
        guard let server = order.first(excluding: request.exclusions) else { return nil }
        if turns.take(server, share: candidates[server].share) {
            for index in candidates.indices where order[index] != nil { order.set(index, key(index)) }
        }
        // Its key changes when the caller has counted the request.
        return server
    }
}
