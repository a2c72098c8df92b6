// A change of a backend's servers and rules, under its lock. Servers that stay keep everything they have; those that go
// finish what they have; the line keeps its order.

extension Admission {
    /// Every place with who stands there, or stood there last.
    var tenancies: [Tenancy] {
        conditions.indices.map { place in
            let server = conditions[place].server
            return Tenancy(
                number: entries[place].number, name: server.name, endpoint: server.endpoint,
                secureName: server.secureName,
                isTaken: conditions[place].isMember || entries[place].inflight > 0)
        }
    }

    /// Goes on with the servers and rules of `roster`, which was prepared from this backend's last one.
    /// - Parameter content: the roster's; then what was here before.
    mutating func adopt(
        _ roster: Roster, _ content: inout Roster.Content, now: Duration, _ aftermath: inout Aftermath
    ) {
        let couldServe = canServe
        let isFirst = serial == 0
        serial += 1
        rules = roster.rules
        for place in conditions.indices { keep(place, &content, now) }
        swap(&conditions, &content.places)
        swap(&entries, &content.entries)
        swap(&policies, &content.policies)
        order = roster.numbers.map(ServerNumber.place)
        judged = 0
        hasPassed = order.contains { conditions[$0].hasPassed && conditions[$0].health.state != .starting }
        trim()
        usableCounts = InlineArray(repeating: 0)
        candidateCounts = InlineArray(repeating: 0)
        for place in conditions.indices { refresh(place, now) }
        if couldServe != canServe, !isFirst { aftermath.canServe = canServe }
        aftermath.isTimed = nextChange(now) != nil
        serveLine(now, &aftermath)
    }

    /// Takes over what is known of the server that stands at `place` now.
    private mutating func keep(_ place: Int, _ new: inout Roster.Content, _ now: Duration) {
        let isSame = new.places[place].isMember && new.entries[place].number == entries[place].number
        if isSame, conditions[place].isMember {
            swap(&new.places[place], &conditions[place])
            let before = new.places[place].state
            new.places[place].take(conditions[place].configured, rules)
            if new.places[place].state != before { new.places[place].since = now }
        } else if !new.places[place].isMember {
            swap(&new.places[place], &conditions[place])
            new.places[place].isMember = false
            new.entries[place].number = entries[place].number
        }
        // One that is back before its last request has ended: nobody has looked after it since, but its requests count.
        if isSame || !new.places[place].isMember { new.entries[place].inflight = entries[place].inflight }
    }

    /// Gives up vacant places at the end.
    private mutating func trim() {
        while let last = conditions.last, !last.isMember, entries[conditions.count - 1].inflight == 0 {
            conditions.removeLast()
            entries.removeLast()
        }
    }

    /// The place of the server with this number; nil when it has gone.
    func place(_ number: Int) -> Int? {
        let place = ServerNumber.place(number)
        return place < entries.count && entries[place].number == number ? place : nil
    }

    /// The same request with places instead of numbers, as policies know servers; those that have gone are left out.
    func local(_ pick: Pick) -> Pick {
        guard !pick.exclusions.isEmpty else { return pick }
        var local = pick
        local.exclusions = Exclusions()
        for position in 0..<pick.exclusions.count {
            if let place = place(pick.exclusions[position]) { local.exclusions.insert(place) }
        }
        return local
    }

    var summary: Backend.Summary {
        var summary = Backend.Summary()
        summary.up = order.count { conditions[$0].state == .up }
        summary.servers = order.count
        summary.running = running
        summary.waiting = line.count
        return summary
    }

    /// Servers in the order of the configuration, then those that still finish what they have.
    var told: [Int] {
        order + conditions.indices.filter { !conditions[$0].isMember && entries[$0].inflight > 0 }
    }

    /// Every server has had its first check's verdict, or has none. Asked often while they come in, so those that had it
    /// are not looked at again.
    mutating func isReady() -> Bool {
        while judged < order.count {
            let condition = conditions[order[judged]]
            if condition.health.state == .starting, !condition.server.isDisabled { return false }
            judged += 1
        }
        return true
    }
}
