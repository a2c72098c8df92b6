// Everything that decides whether a server may be given requests, and how many: health, ejection, slow start, and what
// the configuration says. It never counts requests.

/// A server's state in one word, for people.
public enum ServerState: Sendable, Equatable, CaseIterable {
    case up, starting, busy, ejected, draining, down, disabled

    public var word: String {
        switch self {
        case .up: "up"
        case .starting: "starting"
        case .busy: "busy"
        case .ejected: "ejected"
        case .draining: "draining"
        case .down: "down"
        case .disabled: "disabled"
        }
    }
}

/// Servers of a later tier serve only while no server of an earlier one can.
enum Tier: Int, Sendable, CaseIterable {
    case primary, backup
    /// Busy and ejected servers, and new ones without a verdict: better than none.
    case lastResort
}

struct ServerCondition: Sendable {
    /// As it is used: what the configuration says, and what was set by hand over it.
    private(set) var server: Server
    private(set) var configured: Server
    private(set) var manual = ManualSetting()
    /// Since when its state is this one, where it has changed.
    var since: Duration?
    var health: HealthMachine
    var ejection: Ejection
    var slowStart: SlowStart
    var lastCheck: CheckNote?
    /// It has passed a check.
    var hasPassed = false
    /// The configuration still names it; else it finishes what it has.
    var isMember = true
    /// The one request that tries it, after an ejection, is on its way.
    var isTrying = false

    var state: ServerState {
        guard isMember else { return .draining }
        if server.isDisabled { return .disabled }
        switch health.state {
        case .down: return .down
        case .busy: return .busy
        case .starting: return server.weight == 0 ? .draining : .starting
        case .up:
            if server.weight == 0 { return .draining }
            return ejection.state == .none ? .up : .ejected
        }
    }

    init(_ server: Server, _ rules: BackendRules) {
        self.server = server
        configured = server
        health = HealthMachine(rules.health)
        ejection = Ejection(rules.ejection)
        slowStart = SlowStart(rules.slowStart)
    }

    /// Goes on under other rules, with other options.
    mutating func take(_ server: Server, _ rules: BackendRules) {
        configured = server
        health.take(rules.health)
        ejection.rule = rules.ejection
        slowStart.take(rules.slowStart)
        apply(rules)
    }

    /// Takes in what somebody does by hand.
    mutating func take(_ action: ManualAction, _ rules: BackendRules) {
        action.change(&manual, of: configured)
        apply(rules)
    }

    private mutating func apply(_ rules: BackendRules) {
        let wasDisabled = server.isDisabled
        server = manual.applied(to: configured)
        // It was not checked meanwhile: nothing is known of it.
        if wasDisabled, !server.isDisabled { health = HealthMachine(rules.health) }
    }

    /// Where it may serve now; nil for nowhere.
    /// - Parameter hasPassed: a server of the backend has passed a check, so that those without verdict wait for theirs.
    func tier(hasPassed: Bool) -> Tier? {
        guard isMember, !server.isDisabled, server.weight > 0 else { return nil }
        switch health.state {
        case .down: return nil
        case .busy: return .lastResort
        case .starting where hasPassed: return .lastResort
        case .starting, .up: break
        }
        switch ejection.state {
        case .ejected: return .lastResort
        // One request tries it; until that has ended it gets no other, unless nobody else is left.
        case .trial where isTrying: return .lastResort
        case .none, .trial: return server.isBackup ? .backup : .primary
        }
    }

    /// Requests at once.
    func limit(_ now: Duration) -> Int {
        server.maxconn == 0 ? .max : slowStart.part(of: server.maxconn, now)
    }

    /// When it changes by itself; nil while it does not.
    func nextChange(_ now: Duration) -> Duration? {
        guard let end = ejection.nextChange else { return slowStart.nextChange(now) }
        return min(end, slowStart.nextChange(now) ?? end)
    }

    func share(_ now: Duration) -> Int { slowStart.part(of: server.weight * Candidate.wholeShare, now) }
}

/// The last check of a server, for people.
public struct CheckNote: Sendable, Equatable {
    public var hasPassed: Bool
    /// What it found in a few words.
    public var text: String
    public var took: Duration
    public var at: Duration

    public init(hasPassed: Bool, text: String, took: Duration, at: Duration) {
        self.hasPassed = hasPassed
        self.text = text
        self.took = took
        self.at = at
    }
}
