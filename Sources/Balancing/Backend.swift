// A backend's one lock: who has which slot, who waits, how the servers are; shared by all workers. It is held to choose
// and to finish, never across a system call.
import Addresses
import Synchronization

/// A slot of a server that one request holds.
public struct Slot: Sendable, Equatable {
    /// The server's number.
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

/// A group of servers that stand in for each other. It lives on while its servers and rules change.
public final class Backend: Sendable {
    public let name: String
    private let admission: Mutex<Admission>

    /// A backend without servers: `adopt` brings them.
    public init(name: String) {
        self.name = name
        admission = Mutex(Admission(rules: BackendRules()))
    }

    // MARK: Its servers

    /// Numbers `servers` and makes the policy over them, ready to be adopted. Takes its time beside the lock; one caller
    /// at a time, and nothing is adopted in between.
    /// - Parameter policy: makes a policy over servers by place; places without one of these servers have weight 0.
    public func prepare(
        _ servers: [Server], rules: BackendRules, policy: ([Server]) -> any BalancingPolicy
    ) -> Roster {
        let (tenancies, serial) = admission.withLock { ($0.tenancies, $0.serial) }
        let numbers = Roster.places(for: servers, in: tenancies, serial: serial)
        return Roster(numbers: numbers, of: servers, placeCount: tenancies.count, rules: rules, policy: policy)
    }

    /// Goes on with these servers under these rules. Servers known by name and endpoint keep their counts and state, and
    /// running requests count against new limits; those not named any more finish what they have.
    public func adopt(_ roster: Roster, now: Duration) -> Aftermath {
        var aftermath = Aftermath()
        roster.exchange { content in
            admission.withLock { $0.adopt(roster, &content, now: now, &aftermath) }
        }
        return aftermath
    }

    /// Places that servers stand in, those that finish what they have included.
    public var placeCount: Int { admission.withLock { $0.conditions.count } }

    // MARK: Its slots

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
    /// - Parameters:
    ///   - server: its number; a server that has gone is passed over.
    ///   - lastByte: when the server last sent anything for a request.
    public func recordCheck(
        of server: Int, _ verdict: CheckVerdict, _ note: CheckNote, lastByte: Duration
    ) -> Aftermath {
        var aftermath = Aftermath()
        admission.withLock { $0.recordCheck(of: server, verdict, note, lastByte: lastByte, &aftermath) }
        return aftermath
    }

    /// Does by hand what an operator asks for.
    /// - Parameter server: its number.
    /// - Returns: what follows; nil where there is no such server any more.
    public func act(_ action: ManualAction, on server: Int, now: Duration) -> Aftermath? {
        var aftermath = Aftermath()
        let isKnown = admission.withLock { $0.act(action, on: server, now: now, &aftermath) }
        return isKnown ? aftermath : nil
    }

    /// Whether a server, by its number, is not to be checked: it is disabled, or gone.
    public func isDisabled(_ server: Int) -> Bool {
        admission.withLock { admission in
            admission.place(server).map { admission.conditions[$0].server.isDisabled } ?? true
        }
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
        public let number: Int
        /// The configuration names it; else it finishes what it has.
        public let isMember: Bool
        public let server: Server
        public let state: ServerState
        /// Since when that is its state; nil where it never was another.
        public let since: Duration?
        public let manual: ManualSetting
        /// Its weight, whether it is drained or not.
        public let weight: Int
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
            let servers = admission.told.map { place in
                let condition = admission.conditions[place]
                let limit = admission.limit(place)
                return ServerReport(
                    number: admission.entries[place].number, isMember: condition.isMember, server: condition.server,
                    state: condition.state, since: condition.since, manual: condition.manual,
                    weight: condition.manual.weight ?? condition.configured.weight,
                    isHealthy: condition.health.state == .up && !condition.server.isDisabled,
                    inflight: admission.inflight(place),
                    limit: limit == .max ? nil : limit, lastCheck: condition.lastCheck)
            }
            return Report(
                servers: servers, waiting: admission.line.count, waitingSince: admission.line.first?.since)
        }
    }

    /// How it does, in numbers.
    public struct Summary: Sendable, Equatable {
        public var up = 0
        public var servers = 0
        public var running = 0
        public var waiting = 0

        public init() {}

        public static func += (left: inout Summary, right: Summary) {
            left.up += right.up
            left.servers += right.servers
            left.running += right.running
            left.waiting += right.waiting
        }
    }

    public var summary: Summary { admission.withLock { $0.summary } }

    /// Requests in flight, by server.
    public var inflight: [Int] { report.servers.map(\.inflight) }

    /// Whether every server has had its first check's verdict.
    public var isReady: Bool { admission.withLock { $0.isReady() } }
}
