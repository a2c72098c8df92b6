// Counting. Each worker writes its own counters without locks; readers add them up. Nothing here ever resets.
import Synchronization

/// What is counted. Names and labels are the metric table's affair; this is one integer each.
public enum Counter: Int, CaseIterable, Sendable {
    case connections, acceptErrors
    case requests, responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    case retries, staleConnections, replyDrained
    case failedConnect, failedConnectTimeout, failedReset, failedBadResponse
    case failedFirstByteTimeout, failedIdleTimeout, failedHeadTimeout, failedBodyTimeout, failedWriteTimeout
    case failedNoServer, failedBadRequest, failedTruncated, failedShutdown
    case clientLeftConnecting, clientLeftUploading, clientLeftWaiting, clientLeftStreaming
    case healthChecksPassed, healthChecksFailed

    /// The counter of final responses with `status`'s class.
    public static func responses(status: Int) -> Counter {
        switch status / 100 {
        case 1: .responses1xx
        case 2: .responses2xx
        case 3: .responses3xx
        case 4: .responses4xx
        case _: .responses5xx
        }
    }
}

/// One worker's counters. Written by that worker alone, read by anybody: relaxed loads and stores suffice.
public final class Counters: Sendable {
    private let values = InlineArray<40, Atomic<Int>> { _ in Atomic(0) }

    public init() { precondition(Counter.allCases.count <= 40) }

    public func add(_ counter: Counter, _ amount: Int = 1) {
        let value = values[counter.rawValue].load(ordering: .relaxed)
        values[counter.rawValue].store(value &+ amount, ordering: .relaxed)
    }

    public subscript(counter: Counter) -> Int { values[counter.rawValue].load(ordering: .relaxed) }
}

/// All workers' counters added up at one moment.
public struct Snapshot: Sendable {
    private var sums = [Int](repeating: 0, count: Counter.allCases.count)

    public init(_ counters: some Sequence<Counters>) {
        for worker in counters {
            for counter in Counter.allCases { sums[counter.rawValue] += worker[counter] }
        }
    }

    public subscript(counter: Counter) -> Int { sums[counter.rawValue] }

    /// Every failure of a request, added up.
    public var failures: Int {
        [
            Counter.failedConnect, .failedConnectTimeout, .failedReset, .failedBadResponse, .failedFirstByteTimeout,
            .failedIdleTimeout, .failedHeadTimeout, .failedBodyTimeout, .failedWriteTimeout, .failedNoServer,
            .failedBadRequest, .failedShutdown,
        ].reduce(0) { $0 + self[$1] }
    }

    public var clientsLeft: Int {
        [Counter.clientLeftConnecting, .clientLeftUploading, .clientLeftWaiting, .clientLeftStreaming]
            .reduce(0) { $0 + self[$1] }
    }

    /// One line for the log, said when ballast ends.
    public var summary: String {
        "\(self[.requests]) requests on \(self[.connections]) connections: "
            + "\(self[.responses2xx]) 2xx, \(self[.responses3xx]) 3xx, \(self[.responses4xx]) 4xx, "
            + "\(self[.responses5xx]) 5xx, \(failures) failed, \(self[.retries]) retried, \(clientsLeft) clients left"
    }
}
