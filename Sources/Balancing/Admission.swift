// Who gets which slot: the counts of a backend's servers, the policy over those that can take a request, and the line of
// those that wait. Pure: it takes no lock and reads no clock.

struct Admission: Sendable {
    struct Entry: Sendable {
        /// The server's, or that of the last server which stood here.
        var number: Int
        var inflight = 0
        var limit = Int.max
        var share = 0
        var tier: Tier?
        var isCandidate = false
    }

    var rules: BackendRules
    /// By place, like `entries`: servers, those that are leaving, and what is left of those that went.
    var conditions: [ServerCondition] = []
    var entries: [Entry] = []
    /// Places of the servers in the order of the configuration.
    var order: [Int] = []
    /// Servers from the beginning of `order` that have had a verdict.
    var judged = 0
    /// Rosters taken in so far.
    var serial = 0
    /// By tier; each knows the candidates of its tier only.
    var policies: [any BalancingPolicy] = []
    var usableCounts = InlineArray<3, Int>(repeating: 0)
    var candidateCounts = InlineArray<3, Int>(repeating: 0)
    private(set) var line = WaitingLine()
    private var drain = DrainRate()
    private(set) var running = 0
    private var retrying = 0
    /// A server has passed a check; until then those without verdict take traffic.
    var hasPassed = false

    /// Begins without servers; a `Roster` brings them.
    init(rules: BackendRules) { self.rules = rules }

    // MARK: Requests

    /// - Parameters:
    ///   - waiter: who waits if all slots are taken; nil waits for nothing.
    ///   - isRetry: the request has run before, and its retry counts against the budget.
    mutating func choose(_ pick: Pick, waiter: WaiterID?, isRetry: Bool, now: Duration) -> Choice {
        let local = local(pick)
        guard let tier = decidingTier(local.exclusions) else { return .noServer }
        let mayRun = !isRetry || hasBudget
        if mayRun, let server = policies[tier.rawValue].pick(local) {
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
        // Whoever holds a slot keeps the server's place from being given away.
        let server = ServerNumber.place(slot.server)
        entries[server].inflight -= 1
        running -= 1
        if slot.isRetry { retrying -= 1 }
        drain.count(now)
        guard conditions[server].isMember else {
            if entries[server].inflight == 0 { aftermath.departed.append(slot.server) }
            serveLine(now, &aftermath)
            return
        }
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
        of number: Int, _ verdict: CheckVerdict, _ note: CheckNote, lastByte: Duration, _ aftermath: inout Aftermath
    ) {
        // A check may end after its server was removed.
        guard let server = place(number), conditions[server].isMember else { return }
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
        conditions[server].hasPassed = conditions[server].hasPassed || verdict == .passed
        changed(server, from: before, note.at, &aftermath)
        if isFirstPass { for other in entries.indices { refresh(other, note.at) } }
        serveLine(note.at, &aftermath)
    }

    /// Somebody acts by hand; false where there is no such server.
    mutating func act(_ action: ManualAction, on number: Int, now: Duration, _ aftermath: inout Aftermath) -> Bool {
        guard let server = place(number), conditions[server].isMember else { return false }
        let before = conditions[server].state
        conditions[server].take(action, rules)
        changed(server, from: before, now, &aftermath)
        serveLine(now, &aftermath)
        return true
    }

    /// Time has passed: ends ejections, goes on with slow starts.
    mutating func tend(_ now: Duration, _ aftermath: inout Aftermath) {
        for server in order {
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
        for server in order {
            if let time = conditions[server].nextChange(now) { next = min(next ?? time, time) }
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
        if state != before {
            conditions[server].since = now
            aftermath.changes.append(StateChange(server: entries[server].number, state: state))
        }
        aftermath.isTimed = aftermath.isTimed || conditions[server].nextChange(now) != nil
    }

    var canServe: Bool { usableCounts[0] + usableCounts[1] + usableCounts[2] > 0 }

    /// Whether one more may be ejected: not above the limit, and never the last that can serve.
    private func mayEject(_ server: Int) -> Bool {
        var ejected = 0
        var all = 0
        for server in order where !conditions[server].server.isDisabled {
            all += 1
            if conditions[server].ejection.state != .none { ejected += 1 }
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

    mutating func refresh(_ server: Int, _ now: Duration) {
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
        return Slot(server: entries[server].number, isRetry: isRetry, isTrial: isTrial)
    }

    // MARK: The line

    /// Gives free slots to those who wait, in their order, until none can use one: a newcomer never overtakes.
    mutating func serveLine(_ now: Duration, _ aftermath: inout Aftermath) {
        while !line.isEmpty, candidateCounts[0] + candidateCounts[1] + candidateCounts[2] > 0,
            let place = line.firstIndex(where: { (!$0.isRetry || hasBudget) && hasCandidate(local($0.pick).exclusions) }
            )
        {
            let pick = local(line[place].pick)
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
