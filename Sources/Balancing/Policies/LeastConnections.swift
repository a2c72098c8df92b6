// Least connections: the server with the fewest requests in flight. It never remembers finished requests.

/// Gives a request to the usable server with the fewest in flight; equals take turns, so that an idle backend is used
/// evenly.
public struct LeastConnections: BalancingPolicy {
    /// Where the next search begins, which decides between equals.
    private var next = 0

    public init() {}

    public mutating func pick(from roster: Roster, excluding exclusions: Exclusions) -> Int? {
        var best: Int?
        var least = Int.max
        for step in 0..<roster.count {
            let server = (next + step) % roster.count
            let inflight = roster.entries[server].inflight
            if inflight < least, roster.canTake(server, excluding: exclusions) {
                best = server
                least = inflight
                if inflight == 0 { break }
            }
        }
        if let best { next = best + 1 }
        return best
    }
}
