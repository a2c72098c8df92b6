// How a worker goes over to another plan: requests that begin from now on go by it; what the plan leaves to be closed and
// begun follows in small pieces, turn by turn, so that no stream waits for it. It never fails.
import Balancing
import Configuration
import EventLoop
import Metrics

/// What a worker has still to do for a plan.
struct AdoptionProgress {
    let adoption: Adoption
    /// Servers that the plan does not name.
    var dropped: [WorkerServer] = []
    /// The member that the prober looks at next.
    var backend = 0
    var member = 0
    var probesBegun = 0
}

extension Worker {
    /// Servers looked at, and connections closed, in one turn: a close takes the system longer than most other calls.
    private static let serversAtOnce = 256
    private static let closesAtOnce = 32

    func begin(_ adoption: Adoption) {
        let began = network.monotonicTime
        var progress = AdoptionProgress(adoption: adoption)
        if !adoption.plan.traffic.trustsAs(plan.traffic) {
            for client in clients.all { client.identify(adoption.plan.traffic) }
        }
        plan = adoption.plan
        progress.dropped = adoptBackends()
        adopt(plan.security)
        adoptListeners(adoption.opened)
        live.adopt(self)
        // Drivers without a request hold the rules of their last one.
        for driver in drivers.all where driver.client == nil { driver.plan = plan.backends[0] }
        adopting = progress
        adoption.note(hold: network.monotonicTime - began)
    }

    /// Returns the servers that are not in the plan any more.
    private func adoptBackends() -> [WorkerServer] {
        let before = backends
        backends = plan.backends.map { plan in
            let backend = before.first { $0.shared === plan.shared } ?? WorkerBackend(plan, worker: index)
            backend.plan = plan
            return backend
        }
        var dropped: [WorkerServer] = []
        for backend in before where !backends.contains(where: { $0 === backend }) {
            dropped += backend.drop(allBut: [])
        }
        for (position, backend) in backends.enumerated() { dropped += backend.drop(allBut: plan.servers[position]) }
        return dropped
    }

    private func adoptListeners(_ opened: [OpenedListener]) {
        for listener in listeners.all {
            listener.adopt(plan.traffic, self)
            if let wanted = plan.listeners.first(where: { $0.shared === listener.shared }) {
                listener.settings = wanted.settings
                listener.backend = backend(of: wanted.role)
                listener.access = wanted.access
            } else if let other = plan.listeners.first(where: { $0.covers(listener.endpoint, of: listener.shared) }) {
                listener.join(other, backend: backend(of: other.role), worker: index)
            } else {
                listener.retire(self)
            }
        }
        for socket in opened {
            guard let wanted = plan.listeners.first(where: { $0.shared === socket.shared }) else { continue }
            listen(socket, as: wanted)
        }
    }

    /// Does one piece of what is left, and ends the turn.
    func endTurnAdopting() {
        guard var progress = adopting else { return }
        let began = network.monotonicTime
        let isDone = closeDropped(&progress) && updateProber(&progress)
        network.endTurn()
        progress.adoption.note(hold: network.monotonicTime - began)
        adopting = isDone ? nil : progress
        if isDone { progress.adoption.finish() }
    }

    /// True when nothing of dropped servers is left.
    private func closeDropped(_ progress: inout AdoptionProgress) -> Bool {
        var closed = 0
        var looked = 0
        while let server = progress.dropped.last {
            if looked == Self.serversAtOnce { return false }
            looked += 1
            if let probe = server.probe { prober?.stop(probe) }
            while let connection = server.idle.lease() {
                connection.close(self)
                closed += 1
                if closed == Self.closesAtOnce { return false }
            }
            progress.dropped.removeLast()
        }
        return true
    }

    /// True when the prober knows every member.
    private func updateProber(_ progress: inout AdoptionProgress) -> Bool {
        guard let prober else { return true }
        var looked = 0
        while progress.backend < backends.count {
            let members = plan.servers[progress.backend]
            while progress.member < members.count {
                if looked == Self.serversAtOnce { return false }
                looked += 1
                let hasBegun = prober.update(
                    members[progress.member], of: backends[progress.backend], number: progress.probesBegun)
                if hasBegun { progress.probesBegun += 1 }
                progress.member += 1
            }
            progress.backend += 1
            progress.member = 0
        }
        return true
    }
}
