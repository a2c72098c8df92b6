// IP hash: the same server for the same client address, by consistent hashing (Karger et al., 1997). It never looks at
// load; a client whose server cannot serve goes to the next on the ring, and comes back.

/// Each server stands at fixed points of a ring, more of them the larger its weight; a client's hash leads to the point
/// behind it. A server that comes or goes moves only the clients of its own points.
public struct IPHash: BalancingPolicy {
    private struct Point: Sendable {
        var hash: UInt64
        var server: Int32
    }

    /// Points of weight 1. With 160 the busiest of ten servers gets about a fifth more than the mean.
    private static let pointsPerWeight = 160

    private let ring: [Point]
    private let wholeShares: [Int]
    private let names: [UInt64]
    private var shares: [Int]
    private var candidateCount = 0

    public init(_ servers: [Server]) {
        var ring: [Point] = []
        let names = servers.map { FixedHash.of($0.name.utf8) }
        // Weights of 100 and 200 need no more points than those of 1 and 2.
        let unit = max(1, servers.reduce(0) { Self.greatestDivisor($0, $1.weight) })
        for (index, server) in servers.enumerated() {
            for point in 0..<(Self.pointsPerWeight * server.weight / unit) {
                ring.append(Point(hash: FixedHash.mixed(names[index] &+ UInt64(point)), server: Int32(index)))
            }
        }
        self.names = names
        ring.sort { $0.hash != $1.hash ? $0.hash < $1.hash : $0.server < $1.server }
        self.ring = ring
        wholeShares = servers.map { max(1, $0.weight * Candidate.wholeShare) }
        shares = Array(repeating: 0, count: servers.count)
    }

    public mutating func set(_ server: Int, _ candidate: Candidate?) {
        let share = candidate?.share ?? 0
        candidateCount += (share > 0 ? 1 : 0) - (shares[server] > 0 ? 1 : 0)
        shares[server] = share
    }

    public mutating func pick(_ request: Pick) -> Int? {
        var left = candidateCount
        for position in 0..<request.exclusions.count where isCandidate(request.exclusions[position]) { left -= 1 }
        guard left > 0 else { return nil }
        return walk(request)
    }

    private static func greatestDivisor(_ left: Int, _ right: Int) -> Int {
        right == 0 ? left : greatestDivisor(right, left % right)
    }

    private func isCandidate(_ server: Int) -> Bool { server < shares.count && shares[server] > 0 }

    /// The first candidate from the client's point on. One that starts slowly takes its share of its clients, always the
    /// same ones first, and leaves the others to those behind it; where a few in a row do, the first takes the client.
    private func walk(_ request: Pick) -> Int? {
        var low = 0
        var high = ring.count
        while low < high {
            let middle = (low + high) / 2
            if ring[middle].hash < request.affinity { low = middle + 1 } else { high = middle }
        }
        var first: Int?
        var candidates = 0
        for step in 0..<ring.count {
            if candidates == 8 { break }
            let server = Int(ring[(low + step) % ring.count].server)
            guard shares[server] > 0, !request.exclusions.contains(server) else { continue }
            if takes(server, request.affinity) { return server }
            first = first ?? server
            candidates += 1
        }
        return first
    }

    private func takes(_ server: Int, _ affinity: UInt64) -> Bool {
        guard shares[server] < wholeShares[server] else { return true }
        return FixedHash.mixed(affinity ^ names[server]) % UInt64(wholeShares[server]) < UInt64(shares[server])
    }
}
