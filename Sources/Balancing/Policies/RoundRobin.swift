// Round-robin: each server in turn. It never looks at load.

/// Gives requests to the usable servers in their order in the configuration, one each.
public struct RoundRobin: BalancingPolicy {
    /// Where the next search begins: one past the server that was picked last.
    private var next = 0

    public init() {}

    public mutating func pick(from roster: Roster, excluding exclusions: Exclusions) -> Int? {
        for step in 0..<roster.count {
            let server = (next + step) % roster.count
            if roster.canTake(server, excluding: exclusions) {
                next = server + 1
                return server
            }
        }
        return nil
    }
}
