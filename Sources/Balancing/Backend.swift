// A backend's one lock: who has which slot, who waits, how the servers are; shared by all workers. It is held to choose
// and to finish, never across a system call.
import Synchronization

/// A slot of a server that one request holds.
public struct Slot: Sendable, Equatable {
    public let server: Int
    /// The request ran before: this slot counts against the retry budget.
    public let isRetry: Bool
    /// The request tries a server after its ejection.
    public let isTrial: Bool

    public init(server: Int, isRetry: Bool = false, isTrial: Bool = false) {
        self.server = server
        self.isRetry = isRetry
        self.isTrial = isTrial
    }
}

/// A group of servers that stand in for each other.
public final class Backend: Sendable {
    public let name: String
    public let servers: [Server]
    private let admission: Mutex<Admission>

    public init(name: String, servers: [Server], policy: any BalancingPolicy, rules: BackendRules = BackendRules()) {
        self.name = name
        self.servers = servers
        admission = Mutex(Admission(servers, policy: policy, rules: rules))
    }

    /// Asks for a slot. One that is given counts from this moment on, and is given back by one `finished`.
    /// - Parameters:
    ///   - waiter: who waits when all slots are taken; nil waits for nothing.
    ///   - isRetry: the request has run before; it is held against the retry budget.
    public func choose(_ pick: Pick, waiter: WaiterID?, isRetry: Bool, now: Duration) -> Choice {
        admission.withLock { $0.choose(pick, waiter: waiter, isRetry: isRetry, now: now) }
    }

    /// Leaves the line; false when the grant is on its way: it must be taken, or given back by `finished`.
    public func leave(_ ticket: Ticket) -> Bool { admission.withLock { $0.leave(ticket) } }

    /// The attempt in `slot` ended, however. The slot goes to the first in line that can use it.
    public func finished(_ slot: Slot, _ result: AttemptResult, now: Duration) -> Aftermath {
        var aftermath = Aftermath()
        admission.withLock { $0.finished(slot, result, now: now, &aftermath) }
        return aftermath
    }

    /// Takes in a check's result.
    /// - Parameter lastByte: when the server last sent anything for a request.
    public func recordCheck(
        of server: Int, _ verdict: CheckVerdict, _ note: CheckNote, lastByte: Duration
    ) -> Aftermath {
        var aftermath = Aftermath()
        admission.withLock { $0.recordCheck(of: server, verdict, note, lastByte: lastByte, &aftermath) }
        return aftermath
    }

    /// Lets time take effect: ejections end, slow starts go on.
    /// - Returns: what follows, and when to call again; nil while nothing changes by itself.
    public func tend(now: Duration) -> (aftermath: Aftermath, next: Duration?) {
        var aftermath = Aftermath()
        let next = admission.withLock { admission -> Duration? in
            admission.tend(now, &aftermath)
            // `next` says when.
            aftermath.isTimed = false
            return admission.nextChange(now)
        }
        return (aftermath, next)
    }

    /// In how many whole seconds a refused client should come again, from how fast requests finish.
    public func retryAfter(now: Duration) -> Int { admission.withLock { $0.retryAfter(now) } }

    /// One server as it is now.
    public struct ServerReport: Sendable {
        public let server: Server
        public let state: ServerState
        /// Its checks pass.
        public let isHealthy: Bool
        public let inflight: Int
        /// Requests at once now; nil is no limit. Less than `maxconn` while it starts slowly.
        public let limit: Int?
        public let lastCheck: CheckNote?
    }

    /// The backend as it is at one moment.
    public struct Report: Sendable {
        public let servers: [ServerReport]
        public let waiting: Int
        /// Since when the first in line waits.
        public let waitingSince: Duration?
    }

    public var report: Report {
        admission.withLock { admission in
            let servers = admission.conditions.enumerated().map { index, condition in
                let limit = admission.limit(index)
                return ServerReport(
                    server: condition.server, state: condition.state,
                    isHealthy: condition.health.state == .up && !condition.server.isDisabled,
                    inflight: admission.inflight(index),
                    limit: limit == .max ? nil : limit, lastCheck: condition.lastCheck)
            }
            return Report(
                servers: servers, waiting: admission.line.count, waitingSince: admission.line.first?.since)
        }
    }

    /// Requests in flight, by server.
    public var inflight: [Int] { report.servers.map(\.inflight) }

    /// Whether every server has had its first check's verdict.
    public var isReady: Bool {
        admission.withLock { !$0.conditions.contains { $0.health.state == .starting && !$0.server.isDisabled } }
    }
}
