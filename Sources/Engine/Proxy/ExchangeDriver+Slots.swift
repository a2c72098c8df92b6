// The driver's slots: asked for, waited for, exchanged and given back, each exactly once.
import Balancing
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

extension ExchangeDriver {
    // MARK: Asking

    private func ask(without exclusions: Exclusions, waits: Bool, isRetry: Bool) -> Choice {
        let pick = Pick(exclusions: exclusions, affinity: effectiveClient?.affinity ?? 0, random: worker.draw())
        let waiter = waits ? WaiterID(worker: worker.index, slot: token.slot) : nil
        return plan.shared.backend.choose(pick, waiter: waiter, isRetry: isRetry, now: worker.now)
    }

    /// Asks for a slot, and waits in line for one.
    /// - Parameters:
    ///   - reason: what a repeated attempt is counted as.
    ///   - former: the server of the attempt that is repeated.
    func choose(isRetry: Bool, reason: RequestCounter?, after former: WorkerServer?) -> Exchange.Event? {
        guard backend != nil else { return .noServer(.noServer) }
        let choice = ask(without: machine.exclusions, waits: true, isRetry: isRetry)
        switch choice {
        case .slot, .queued:
            guard let reason else { break }
            metrics.counters.add(reason)
            former?.metrics.counters.add(.retried)
        case .full, .noServer, .budgetSpent: break
        }
        return take(choice)
    }

    /// Looks for another server than the one at work; the attempt under way is given up only if there is one.
    func chooseInstead() -> Exchange.Event? {
        guard let old = slot, let server = machine.server else { return .noServer(.noServer) }
        let hasAnswered = machine.isReconsideringResponse
        var exclusions = machine.exclusions
        exclusions.insert(server)
        let choice = ask(without: exclusions, waits: !hasAnswered, isRetry: true)
        switch choice {
        case .slot, .queued: leave(old, hasAnswered: hasAnswered)
        case .full, .noServer, .budgetSpent: break
        }
        return take(choice)
    }

    private func take(_ choice: Choice) -> Exchange.Event {
        switch choice {
        case .slot(let slot):
            return took(slot)
        case .queued(let ticket):
            self.ticket = ticket
            times.queued = worker.now
            return .queued
        case .full: return .noServer(.queueFull)
        case .noServer, .budgetSpent: return .noServer(.noServer)
        }
    }

    private func took(_ slot: Slot) -> Exchange.Event {
        self.slot = slot
        slotServer = backend?.server(slot.server)
        return .chosen(server: slot.server)
    }

    /// Gives the attempt in `old` up for another one.
    private func leave(_ old: Slot, hasAnswered: Bool) {
        guard let backend else { return }
        metrics.counters.add(hasAnswered ? .retriesStatus : .retriesDown)
        slotServer?.metrics.counters.add(.retried)
        if hasAnswered { slotServer?.metrics.counters.add(.responses(status: responseHead.status)) }
        leaveAttempt()
        slot = nil
        slotServer = nil
        worker.finish(
            old, of: backend.shared, hasAnswered ? plan.settings.ejectOn.result(status: responseHead.status) : .neutral)
    }

    /// Takes a slot that was waited for; false when this is not, or no longer, its waiter.
    func takesGrant(_ grant: Grant, of backend: SharedBackend) -> Bool {
        guard ticket == grant.ticket, self.backend?.shared === backend else { return false }
        ticket = nil
        noteQueueEnd()
        tell(took(grant.slot))
        return true
    }

    private func noteQueueEnd() {
        guard let since = times.queued else { return }
        times.queued = nil
        times.waited = (times.waited ?? .zero) + (worker.now - since)
        metrics.queue.observe(worker.now - since)
    }

    // MARK: Giving back

    /// Whether it is at work at this server, or on its way there.
    func isAt(_ backend: SharedBackend, _ server: Int) -> Bool {
        slot?.server == server && self.backend?.shared === backend
    }

    func serverIsDown() { tell(.serverIsDown) }

    /// Closes what there is of a connection, because another attempt follows. What the client sends meanwhile is nobody's
    /// lateness, until somebody takes it.
    func leaveAttempt() {
        closeServer()
        requestFlow = .blocked
        pace.stopAwaitingBody(now: worker.now)
        client?.setAlarm(nil)
    }

    /// What a failed attempt says about its server: nothing, where the fault was not its own.
    func verdict(_ failure: Failure) -> AttemptResult {
        hasOwnFault || isStale(failure) ? .neutral : plan.settings.ejectOn.result(failure)
    }

    private func isStale(_ failure: Failure) -> Bool { failure == .reset && machine.wasStale }

    /// Counts a failed attempt against the server that holds it.
    /// - Parameter isLast: the client is told of it. Then it is the server's failure even where a kept connection may have been
    ///   closed for its age: what a client lost has to be seen somewhere.
    func count(_ failure: Failure, isLast: Bool = false) {
        // A failed attempt that ends its request as well is told twice, the second time without a server.
        if !failure.isServersFault || slotServer != nil, let limit = LimitCounter(failure) {
            worker.metrics.limits.add(limit)
        }
        guard failure.isServersFault, !hasOwnFault else { return }
        guard let counters = slotServer?.metrics.counters else { return }
        if isStale(failure) { counters.add(.staleConnections) }
        if isLast || !isStale(failure) { counters.add(ServerCounter(failure)) }
    }

    /// Gives the slot back, or the place in line, and closes what there is of a connection.
    func releaseServer(_ result: AttemptResult) {
        closeServer()
        if let ticket {
            self.ticket = nil
            // Where it is granted meanwhile, the grant finds nobody and passes on.
            _ = plan.shared.backend.leave(ticket)
            noteQueueEnd()
        }
        releaseSlot(result)
    }

    private func releaseSlot(_ result: AttemptResult) {
        guard let slot, let backend else { return }
        self.slot = nil
        slotServer = nil
        worker.finish(slot, of: backend.shared, result)
    }
}
