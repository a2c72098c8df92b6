// How many connections each client address has, and how fast it makes new ones. It knows no socket and reads no clock; it
// is looked up by address and never walked through.

/// Limits for each client address. What it holds is bounded by the connections there are and by those of the last second.
public struct ConnectionGate: Sendable {
    /// Of one address; 0 is no limit.
    public struct Limits: Equatable, Sendable {
        /// Connections at a time.
        public var connections: Int
        /// New connections a second, with as many at once.
        public var rate: Int

        public init(connections: Int = 0, rate: Int = 0) {
            self.connections = connections
            self.rate = rate
        }

        public var isNone: Bool { connections == 0 && rate == 0 }
    }

    public enum Verdict: Equatable, Sendable {
        case admitted
        /// Its address has as many as it may have.
        case tooMany
        /// Its address makes them faster than it may.
        case tooFast
    }

    /// Who counts as one client: an address of IPv4, a /64 of IPv6.
    public struct Client: Hashable, Sendable {
        let bits: UInt128

        public init(_ address: IPAddress) { bits = address.isIPv4 ? address.bits : (address.bits >> 64) << 64 }
    }

    private struct Entry {
        var connections = 0
        /// Connections that it may make now, in parts.
        var tokens: Double
        var at: Duration
        /// It stands in the list of those that are looked at once they have gone.
        var isListed = false
    }

    private var entries: [Client: Entry] = [:]
    /// Addresses without a connection, each once, the first to be looked at first: what one did is forgotten in a second.
    private var gone: [Client] = []
    private var firstGone = 0

    public init() {}

    /// Addresses that something is known of.
    public var count: Int { entries.count }
    /// Places that are taken for them.
    public var listCount: Int { gone.count }

    /// Whether `client` may have one connection more; if so, it has, until `leave`.
    public mutating func admit(_ client: Client, _ limits: Limits, now: Duration) -> Verdict {
        forget(now: now)
        let rate = Double(limits.rate)
        var entry = entries[client] ?? Entry(tokens: rate, at: now)
        if limits.connections > 0, entry.connections >= limits.connections { return .tooMany }
        if limits.rate > 0 {
            entry.tokens = min(rate, entry.tokens + rate * ((now - entry.at) / .seconds(1)))
            entry.at = now
            guard entry.tokens >= 1 else {
                entries[client] = entry
                return .tooFast
            }
            entry.tokens -= 1
        }
        entry.connections += 1
        entries[client] = entry
        return .admitted
    }

    /// A connection that was admitted is no more.
    public mutating func leave(_ client: Client) {
        guard var entry = entries[client] else { return }
        entry.connections -= 1
        if entry.connections == 0, !entry.isListed {
            entry.isListed = true
            gone.append(client)
        }
        entries[client] = entry
    }

    /// Looks at a few of those that had gone: more than come, so that the list shrinks, and so few that no call takes long.
    private mutating func forget(now: Duration) {
        for _ in 0..<2 where firstGone < gone.count {
            let client = gone[firstGone]
            firstGone += 1
            guard var entry = entries[client] else { continue }
            if entry.connections == 0, now - entry.at > .seconds(1) {
                // Its second is full again: it is as if it had never come.
                entries[client] = nil
            } else if entry.connections == 0 {
                gone.append(client)
            } else {
                entry.isListed = false
                entries[client] = entry
            }
        }
        // Half of the list is over: the rest moves to its front.
        if firstGone > 512, firstGone * 2 > gone.count {
            gone.removeFirst(firstGone)
            firstGone = 0
        }
    }
}
