// How much memory a configuration can lead to, at most: the sum of what is bounded. It measures nothing.
public import Configuration
import EventLoop

/// The most memory that ballast will need under one configuration, whatever its clients and servers send.
public struct MemoryCeiling: Sendable {
    /// Bytes.
    public let total: Int
    /// Bytes for each client connection at work, at most: a block on its way in each direction of both connections, a
    /// request head that is kept for a retry, and the objects around them.
    public static let perConnection = 5 * Wire.blockSize + (20 << 10)
    /// What TLS needs of it for one connection: OpenSSL's objects, and a record in each direction.
    static let perSession = (16 << 10) + 2 * (17 << 10)
    /// The program, its logs, its page; and what each worker keeps at hand.
    private static let base = 48 << 20
    private static let perWorker = 8 << 20
    /// A server with its counters in every worker; and a connection that is kept to it.
    private static let perServer = 24 << 10
    private static let perKeptConnection = 1 << 10

    /// - Parameters:
    ///   - servers: of all backends, resolved.
    ///   - workers: how many there are.
    public init(_ settings: Settings, servers: [Int], workers: Int) {
        var total = Self.base + workers * Self.perWorker + settings.replayMemory
        if settings.backends.contains(where: \.compresses) { total += settings.compressMemory }
        // Trailers are kept, in both directions, until all of them are there.
        var perConnection = Self.perConnection + 2 * settings.trailersLimit
        if settings.allListeners.contains(where: \.isSecure) { perConnection += Self.perSession }
        if settings.backends.contains(where: { $0.servers.contains(where: \.isSecure) }) {
            perConnection += Self.perSession
        }
        total += (settings.maxConnections + Shared.statsConnections) * perConnection
        for (backend, count) in zip(settings.backends, servers) {
            // Each was at work for a client of its own before.
            let kept = min(backend.poolSize * workers, settings.maxConnections) * count
            total += count * Self.perServer * workers + kept * Self.perKeptConnection
        }
        self.total = total
    }

    /// Bytes in the unit that people use.
    public static func text(_ bytes: Int) -> String {
        let tenths = bytes >= 1 << 30 ? (bytes * 10) >> 30 : (bytes * 10) >> 20
        return "\(tenths / 10).\(tenths % 10) \(bytes >= 1 << 30 ? "GiB" : "MiB")"
    }
}
