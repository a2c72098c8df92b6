// A backend's one lock: policy, counts and health of its servers, shared by all workers. It is held to choose and to
// finish, never across a system call.
import Synchronization

/// A group of servers that stand in for each other.
public final class Backend: Sendable {
    public let name: String
    public let servers: [Server]

    private struct State {
        var roster: Roster
        var policy: any BalancingPolicy
        var health: [HealthMachine]
        /// Whether any server ever passed a check; until then those still starting take traffic.
        var hasPassed = false

        mutating func refreshUsable() {
            for index in health.indices {
                switch health[index].state {
                case .up: roster.entries[index].isUsable = true
                case .starting: roster.entries[index].isUsable = !hasPassed
                case .down: roster.entries[index].isUsable = false
                }
            }
        }
    }

    private let state: Mutex<State>

    /// - Parameter health: the machine that every server starts with.
    public init(name: String, servers: [Server], policy: any BalancingPolicy, health: HealthMachine) {
        self.name = name
        self.servers = servers
        var initial = State(
            roster: Roster(count: servers.count), policy: policy,
            health: Array(repeating: health, count: servers.count))
        initial.refreshUsable()
        state = Mutex(initial)
    }

    /// Chooses a server for a request and counts the request there from this moment on; nil when none can take it.
    /// Every choice is paired with one `finished`.
    public func choose(excluding exclusions: Exclusions) -> Int? {
        state.withLock { state in
            guard let server = state.policy.pick(from: state.roster, excluding: exclusions) else { return nil }
            state.roster.entries[server].inflight += 1
            return server
        }
    }

    /// The attempt on `server` ended, however.
    public func finished(_ server: Int) {
        state.withLock { $0.roster.entries[server].inflight -= 1 }
    }

    /// Takes in a check's result; the new state when it changed.
    public func recordCheck(of server: Int, passed: Bool) -> HealthState? {
        state.withLock { state in
            state.hasPassed = state.hasPassed || passed
            let changed = state.health[server].record(passed: passed)
            state.refreshUsable()
            return changed ? state.health[server].state : nil
        }
    }

    /// Requests in flight, by server.
    public var inflight: [Int] { state.withLock { $0.roster.entries.map(\.inflight) } }

    /// Health, by server.
    public var health: [HealthState] { state.withLock { $0.health.map(\.state) } }

    /// Whether every server has had its first check's verdict.
    public var isReady: Bool { state.withLock { $0.health.allSatisfy { $0.state != .starting } } }
}
