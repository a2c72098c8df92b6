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
    }

    private struct Visit {
        let client: Client
        let at: Duration
    }

    private var entries: [Client: Entry] = [:]
    /// Who came lately, oldest first: what an address that has gone did is forgotten after a second.
    private var visits: [Visit] = []
    private var firstVisit = 0

    public init() {}

    /// Addresses that something is known of.
    public var count: Int { entries.count }

    /// Whether `client` may have one connection more; if so, it has, until `leave`.
    public mutating func admit(_ client: Client, _ limits: Limits, now: Duration) -> Verdict {
        forget(before: now - .seconds(1))
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
            visits.append(Visit(client: client, at: now))
        }
        entry.connections += 1
        entries[client] = entry
        return .admitted
    }

    /// A connection that was admitted is no more.
    public mutating func leave(_ client: Client, now: Duration) {
        guard var entry = entries[client] else { return }
        entry.connections -= 1
        if isForgettable(entry, now: now) {
            entries[client] = nil
        } else {
            entries[client] = entry
            if entry.connections == 0 { visits.append(Visit(client: client, at: entry.at)) }
        }
    }

    /// A bucket that nobody took from for a second is full again.
    private func isForgettable(_ entry: Entry, now: Duration) -> Bool {
        entry.connections <= 0 && now - entry.at > .seconds(1)
    }

    /// Forgets a few of those whose last visit is old: as many as come, so that no call takes long.
    private mutating func forget(before time: Duration) {
        for _ in 0..<4 {
            guard firstVisit < visits.count, visits[firstVisit].at < time else { break }
            let client = visits[firstVisit].client
            firstVisit += 1
            guard let entry = entries[client], entry.connections == 0 else { continue }
            if isForgettable(entry, now: time + .seconds(1)) {
                entries[client] = nil
            } else {
                visits.append(Visit(client: client, at: entry.at))
            }
        }
        // Half of the list is over: the rest moves to its front.
        if firstVisit > 512, firstVisit * 2 > visits.count {
            visits.removeFirst(firstVisit)
            firstVisit = 0
        }
    }
}
