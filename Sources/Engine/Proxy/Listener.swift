// One listening socket of one worker: accepts clients, and stops while there is no room for more.
import Addresses
import EventLoop
import Metrics

final class Listener {
    /// Connections accepted in one turn, so that a flood of them does not starve those that are served.
    private static let burst = 16
    /// How long accepting pauses when the system has nothing left for another connection.
    private static let pause = Duration.milliseconds(100)

    let token: Token
    let endpoint: Endpoint
    /// In the plan.
    let number: Int
    let role: ListenerRole
    private let socket: SocketID
    private var isAccepting = true
    private var warnedAt: Duration?
    private var alarm = Alarm()

    init(token: Token, socket: SocketID, endpoint: Endpoint, number: Int, role: ListenerRole) {
        self.token = token
        self.socket = socket
        self.endpoint = endpoint
        self.number = number
        self.role = role
    }

    func handleReady(_ worker: Worker) {
        for _ in 0..<Self.burst {
            if role == .stats, !worker.hasRoomForClient(role) { worker.makeRoomForStats() }
            guard worker.hasRoomForClient(role) else {
                worker.metrics.process.add(.acceptLimit)
                suspend(worker)
                return
            }
            switch worker.network.accept(on: socket) {
            case .accepted(let client, let peer):
                worker.addClient(client, peer: peer, of: self)
            case .none:
                return
            case .failed(let error):
                worker.metrics.process.add(ProcessCounter(error))
                warn(error, worker)
                suspend(worker)
                return
            }
        }
    }

    /// One line for a time of need, not one for each try.
    private func warn(_ error: SystemError, _ worker: Worker) {
        if let warnedAt, worker.now - warnedAt < .seconds(60) { return }
        warnedAt = worker.now
        worker.log.say(.warning, "\(endpoint): cannot accept: \(error); trying again every \(Self.pause)")
    }

    private func suspend(_ worker: Worker) {
        guard isAccepting else { return }
        isAccepting = false
        worker.network.setAccepting(false, on: socket, token: token)
        alarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
    }

    /// Accepts again, if it had stopped: after a while, or because a client has left.
    func resume(_ worker: Worker) {
        guard !isAccepting, worker.hasRoomForClient(role) else { return }
        isAccepting = true
        alarm.set(nil, token: token, in: &worker.timers)
        worker.network.setAccepting(true, on: socket, token: token)
    }

    func expire(_ time: Duration, _ worker: Worker) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        if worker.hasRoomForClient(role) {
            resume(worker)
        } else {
            alarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
        }
    }

    func close(_ worker: Worker) {
        worker.network.close(socket, resetting: false)
        worker.listeners.remove(token)
    }
}

extension ProcessCounter {
    init(_ error: SystemError) {
        switch error.code {
        case SystemError.tooManyFiles: self = .acceptDescriptors
        case SystemError.fileTableFull: self = .acceptTable
        case SystemError.noMemory, SystemError.noBuffers: self = .acceptMemory
        case SystemError.connectionAborted: self = .acceptAborted
        case _: self = .acceptOther
        }
    }
}
