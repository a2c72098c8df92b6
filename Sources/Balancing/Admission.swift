// Who gets which slot: the counts of a backend's servers, the policy over those that can take a request, and the line of
// those that wait. Pure: it takes no lock and reads no clock.

/// The rules of one backend.
public struct BackendRules: Sendable {
    public var health: HealthRule
    public var ejection: EjectionRule
    /// How long a server that came back takes to get its full part; zero is none.
    public var slowStart: Duration
    /// Requests that may wait for a slot.
    public var queue: Int
    /// Retries at a time, in parts of 100 of the running requests; `retryFloor` are always allowed.
    public var retryBudgetPercent: Int
    /// How long a request may wait in line.
    public var patience: Duration
    /// How soon a server that is down can be back: what a client is told when none can serve.
    public var recovery: Duration

    public static let retryFloor = 3
    /// Seconds that a client is told to stay away, at most.
    static let longestRetryAfter = 60

    public init(
        health: HealthRule = HealthRule(), ejection: EjectionRule = EjectionRule(), slowStart: Duration = .zero,
        queue: Int = 1000, retryBudgetPercent: Int = 20, patience: Duration = .seconds(30),
        recovery: Duration = .seconds(6)
    ) {
        self.health = health
        self.ejection = ejection
        self.slowStart = slowStart
        self.queue = queue
        self.retryBudgetPercent = retryBudgetPercent
        self.patience = patience
        self.recovery = recovery
    }
}

/// What became of a request for a slot.
public enum Choice: Sendable, Equatable {
    /// The slot is the request's; give it back by `finished`.
    case slot(Slot)
    /// The request is in line; a `Grant` with this ticket follows, or `leave`.
    case queued(Ticket)
    /// All slots are taken, and the line is full or closed to this request.
    case full
    /// No server can serve now.
    case noServer
    /// Too many retries are running already, and this one does not wait.
    case budgetSpent
}

/// A slot for a waiter. It counts from now on, however long the message travels.
public struct Grant: Sendable, Equatable {
    public let waiter: WaiterID
    public let ticket: Ticket
    public let slot: Slot
}

/// A server's state is another now.
public struct StateChange: Sendable, Equatable {
    public let server: Int
    public let state: ServerState
}

/// What an event leads to besides its own answer; the caller carries it out after the lock.
public struct Aftermath: Sendable, Equatable {
    public var grants: [Grant] = []
    public var changes: [StateChange] = []
    /// Something has begun that ends by time: `tend` is to be called.
    public var isTimed = false
    /// Whether any server can serve now, where that has changed.
    public var canServe: Bool?
    public init() {}
}

struct Admission: Sendable {
    private struct Entry: Sendable {
        var inflight = 0
        var limit = Int.max
        var share = 0
        var tier: Tier?
        var isCandidate = false
    }

    let rules: BackendRules
    private(set) var conditions: [ServerCondition]
    private var entries: [Entry]
    /// By tier; each knows the candidates of its tier only.
    private var policies: [any BalancingPolicy]
    private var usableCounts = InlineArray<3, Int>(repeating: 0)
    private var candidateCounts = InlineArray<3, Int>(repeating: 0)
    private(set) var line = WaitingLine()
    private var drain = DrainRate()
    private var running = 0
    private var retrying = 0
    /// A server has passed a check; until then those without verdict take traffic.
    private var hasPassed = false

    init(_ servers: [Server], policy: any BalancingPolicy, rules: BackendRules) {
        self.rules = rules
        conditions = servers.map {
            ServerCondition(
                server: $0, health: HealthMachine(rules.health), ejection: Ejection(rules.ejection),
                slowStart: SlowStart(rules.slowStart))
        }
        entries = Array(repeating: Entry(), count: servers.count)
        policies = Array(repeating: policy, count: Tier.allCases.count)
        for server in servers.indices { refresh(server, .zero) }
    }

    // MARK: Requests

    /// - Parameters:
    ///   - waiter: who waits if all slots are taken; nil waits for nothing.
    ///   - isRetry: the request has run before, and its retry counts against the budget.
    mutating func choose(_ pick: Pick, waiter: WaiterID?, isRetry: Bool, now: Duration) -> Choice {
        guard let tier = decidingTier(pick.exclusions) else { return .noServer }
        let mayRun = !isRetry || hasBudget
        if mayRun, let server = policies[tier.rawValue].pick(pick) {
            return .slot(take(server, isRetry: isRetry, now: now))
        }
        guard let waiter else { return mayRun ? .full : .budgetSpent }
        guard line.count < rules.queue else { return .full }
        return .queued(line.join(waiter, pick, isRetry: isRetry, now: now))
    }

    /// Whether one more retry may run. Where a server dies with many requests, their retries wait for each other instead of
    /// falling on those that are left all at once.
    private var hasBudget: Bool {
        retrying < max(BackendRules.retryFloor, running * rules.retryBudgetPercent / 100)
    }

    /// A waiter gives up its place; false when its grant is on the way, and the slot is its own to give back.
    mutating func leave(_ ticket: Ticket) -> Bool { line.leave(ticket) != nil }

    mutating func finished(_ slot: Slot, _ result: AttemptResult, now: Duration, _ aftermath: inout Aftermath) {
        let server = slot.server
        entries[server].inflight -= 1
        running -= 1
        if slot.isRetry { retrying -= 1 }
        drain.count(now)
        if slot.isTrial { conditions[server].isTrying = false }
        // While a server is on trial, requests from before say nothing.
        let mayMatter = result == .bad || result == .good && !conditions[server].ejection.isCalm
        if slot.isTrial || mayMatter && conditions[server].ejection.state == .none {
            judge(server, result, now, &aftermath)
        }
        updateCandidate(server)
        serveLine(now, &aftermath)
    }

    /// Lets ejection know how an attempt ended.
    private mutating func judge(
        _ server: Int, _ result: AttemptResult, _ now: Duration, _ aftermath: inout Aftermath
    ) {
        let before = conditions[server].state
        // A copy, because whether it may be ejected depends on all the others.
        var ejection = conditions[server].ejection
        let hasChanged = ejection.record(result, mayEject: { mayEject(server) }, now: now)
        conditions[server].ejection = ejection
        if hasChanged {
            if ejection.state == .none { conditions[server].slowStart.start(now) }
            changed(server, from: before, now, &aftermath)
        } else if ejection.state == .trial {
            refresh(server, now)
        }
    }

    // MARK: What changes servers

    mutating func recordCheck(
        of server: Int, _ verdict: CheckVerdict, _ note: CheckNote, lastByte: Duration, _ aftermath: inout Aftermath
    ) {
        let before = conditions[server].state
        let wasDown = conditions[server].health.state == .down
        conditions[server].lastCheck = note
        let hasChanged = conditions[server].health.record(
            verdict, isWorking: entries[server].inflight > 0, lastByte: lastByte, now: note.at)
        guard hasChanged else { return }
        if wasDown {
            conditions[server].ejection.forget()
            conditions[server].slowStart.start(note.at)
        }
        let isFirstPass = !hasPassed && verdict == .passed
        hasPassed = hasPassed || isFirstPass
        changed(server, from: before, note.at, &aftermath)
        if isFirstPass { for other in entries.indices { refresh(other, note.at) } }
        serveLine(note.at, &aftermath)
    }

    /// Time has passed: ends ejections, goes on with slow starts.
    mutating func tend(_ now: Duration, _ aftermath: inout Aftermath) {
        for server in conditions.indices {
            let before = conditions[server].state
            let isOver = conditions[server].ejection.tend(now)
            let hasGrown = conditions[server].slowStart.tend(now)
            if isOver || hasGrown { changed(server, from: before, now, &aftermath) }
        }
        serveLine(now, &aftermath)
    }

    /// When `tend` is due; nil while nothing changes by itself.
    func nextChange(_ now: Duration) -> Duration? {
        var next: Duration?
        for condition in conditions {
            if let time = condition.nextChange(now) { next = min(next ?? time, time) }
        }
        return next
    }

    private mutating func changed(
        _ server: Int, from before: ServerState, _ now: Duration, _ aftermath: inout Aftermath
    ) {
        let couldServe = canServe
        refresh(server, now)
        let state = conditions[server].state
        if couldServe != canServe { aftermath.canServe = canServe }
        if state != before { aftermath.changes.append(StateChange(server: server, state: state)) }
        aftermath.isTimed = aftermath.isTimed || conditions[server].nextChange(now) != nil
    }

    private var canServe: Bool { usableCounts[0] + usableCounts[1] + usableCounts[2] > 0 }

    /// Whether one more may be ejected: not above the limit, and never the last that can serve.
    private func mayEject(_ server: Int) -> Bool {
        var ejected = 0
        var all = 0
        for condition in conditions where !condition.server.isDisabled {
            all += 1
            if condition.ejection.state != .none { ejected += 1 }
        }
        guard (ejected + 1) * 100 <= all * rules.ejection.limitPercent else { return false }
        let others = usableCounts[0] + usableCounts[1] - (isUsable(server) ? 1 : 0)
        return others > 0
    }

    private func isUsable(_ server: Int) -> Bool {
        switch entries[server].tier {
        case .primary, .backup: true
        case .lastResort, nil: false
        }
    }

    // MARK: Candidates

    private mutating func refresh(_ server: Int, _ now: Duration) {
        let tier = conditions[server].tier(hasPassed: hasPassed)
        if tier != entries[server].tier {
            if let old = entries[server].tier {
                setCandidate(server, false)
                usableCounts[old.rawValue] -= 1
            }
            if let tier { usableCounts[tier.rawValue] += 1 }
            entries[server].tier = tier
        }
        entries[server].limit = conditions[server].limit(now)
        entries[server].share = conditions[server].share(now)
        updateCandidate(server)
    }

    private mutating func updateCandidate(_ server: Int) {
        setCandidate(server, entries[server].tier != nil && entries[server].inflight < entries[server].limit)
    }

    private mutating func setCandidate(_ server: Int, _ isCandidate: Bool) {
        guard let tier = entries[server].tier, isCandidate || entries[server].isCandidate else { return }
        if isCandidate != entries[server].isCandidate {
            candidateCounts[tier.rawValue] += isCandidate ? 1 : -1
            entries[server].isCandidate = isCandidate
        }
        let entry = entries[server]
        policies[tier.rawValue].set(
            server, isCandidate ? Candidate(inflight: entry.inflight, share: entry.share) : nil)
    }

    /// The first tier with a usable server outside `exclusions`: its servers serve the request, or it waits for one.
    private func decidingTier(_ exclusions: Exclusions) -> Tier? {
        for tier in Tier.allCases {
            var usable = usableCounts[tier.rawValue]
            for position in 0..<exclusions.count where entries[exclusions[position]].tier == tier { usable -= 1 }
            if usable > 0 { return tier }
        }
        return nil
    }

    private func hasCandidate(_ exclusions: Exclusions) -> Bool {
        guard let tier = decidingTier(exclusions) else { return false }
        var candidates = candidateCounts[tier.rawValue]
        for position in 0..<exclusions.count {
            let entry = entries[exclusions[position]]
            if entry.tier == tier, entry.isCandidate { candidates -= 1 }
        }
        return candidates > 0
    }

    private mutating func take(_ server: Int, isRetry: Bool, now: Duration) -> Slot {
        entries[server].inflight += 1
        running += 1
        if isRetry { retrying += 1 }
        let isTrial = conditions[server].ejection.state == .trial && !conditions[server].isTrying
        if isTrial {
            conditions[server].isTrying = true
            refresh(server, now)
        }
        updateCandidate(server)
        return Slot(server: server, isRetry: isRetry, isTrial: isTrial)
    }

    // MARK: The line

    /// Gives free slots to those who wait, in their order, until none can use one: a newcomer never overtakes.
    private mutating func serveLine(_ now: Duration, _ aftermath: inout Aftermath) {
        while !line.isEmpty, candidateCounts[0] + candidateCounts[1] + candidateCounts[2] > 0,
            let place = line.firstIndex(where: { (!$0.isRetry || hasBudget) && hasCandidate($0.pick.exclusions) })
        {
            let pick = line[place].pick
            guard let tier = decidingTier(pick.exclusions), let server = policies[tier.rawValue].pick(pick) else {
                assertionFailure("a policy broke its law: there is a candidate, and it picks none")
                return
            }
            let waiter = line.take(at: place)
            let slot = take(server, isRetry: waiter.isRetry, now: now)
            aftermath.grants.append(Grant(waiter: waiter.id, ticket: waiter.ticket, slot: slot))
        }
    }

    /// In how many whole seconds a refused client should come again.
    mutating func retryAfter(_ now: Duration) -> Int {
        guard canServe else {
            return max(1, Int((rules.recovery / .seconds(1)).rounded(.up)))
        }
        // Where nothing says how fast it goes, as long as this client would have been let wait.
        let seconds = drain.time(for: line.count + 1, now: now) ?? Int((rules.patience / .seconds(1)).rounded(.up))
        return max(1, min(BackendRules.longestRetryAfter, seconds))
    }

    // MARK: For people

    func inflight(_ server: Int) -> Int { entries[server].inflight }

    func limit(_ server: Int) -> Int { entries[server].limit }
}
