// Whose turn it is, by weight: start-time fair queueing (Goyal, Vin, Cheng, 1996) over servers in place of packets.
// It never looks at load.

/// A virtual time at which each server is next due. A server taken at its time is due again one stride later, and the
/// stride is the shorter the larger its share; one that was away does not make up for it.
struct Turns: Sendable {
    /// The stride of weight 1: divisible by every weight up to 16, so that those are exact for ever.
    private static let stride: UInt64 = 720_720 << 20

    private var dues: [UInt64]
    private var now: UInt64 = 0

    init(count: Int) { dues = Array(repeating: 0, count: count) }

    /// When `server` is due: of several, the least is next.
    func due(_ server: Int) -> UInt64 { dues[server] }

    /// `server`, which has this share, takes its turn; true when every due has moved back, which keeps numbers small.
    mutating func take(_ server: Int, share: Int) -> Bool {
        now = max(now, dues[server])
        dues[server] = now + Self.stride / UInt64(max(share, 1)) * UInt64(Candidate.wholeShare)
        guard now > 1 << 61 else { return false }
        for index in dues.indices { dues[index] -= min(dues[index], now) }
        now = 0
        return true
    }
}
