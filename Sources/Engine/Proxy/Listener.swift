// One listening socket of one worker: accepts clients, and stops while there is no room for more.
import EventLoop
import Metrics

final class Listener {
    /// Connections accepted in one turn, so that a flood of them does not starve those that are served.
    private static let burst = 16
    /// How long accepting pauses when the system has nothing left for another connection.
    private static let pause = Duration.milliseconds(100)

    let token: Token
    /// This worker's.
    let metrics: Counters<ListenerCounter>
    /// What it is over reloads.
    let shared: SharedListener
    /// The one that all its requests go to; nil where routes decide.
    var backend: WorkerBackend?
    private let socket: SocketID
    /// The configuration names it no more: its connections end with their requests.
    private(set) var isDropped = false
    private var isAccepting = true
    private var warnedAt: Duration?
    private var alarm = Alarm()

    init(token: Token, socket: SocketID, shared: SharedListener, worker: Int, backend: WorkerBackend?) {
        self.token = token
        self.socket = socket
        self.shared = shared
        self.backend = backend
        metrics = shared.metrics[worker]
    }

    /// It serves ballast's own page.
    var isStats: Bool { shared.identity.isStats }

    func handleReady(_ worker: Worker) {
        for _ in 0..<Self.burst {
            if isStats, !worker.hasRoomForClient(self) { worker.makeRoomForStats() }
            guard worker.hasRoomForClient(self) else {
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
        worker.log.say(.warning, "\(shared.text): cannot accept: \(error); trying again every \(Self.pause)")
    }

    private func suspend(_ worker: Worker) {
        guard isAccepting else { return }
        isAccepting = false
        worker.network.setAccepting(false, on: socket, token: token)
        alarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
    }

    /// Accepts again, if it had stopped: after a while, or because a client has left.
    func resume(_ worker: Worker) {
        guard !isAccepting, worker.hasRoomForClient(self) else { return }
        isAccepting = true
        alarm.set(nil, token: token, in: &worker.timers)
        worker.network.setAccepting(true, on: socket, token: token)
    }

    func expire(_ time: Duration, _ worker: Worker) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        if worker.hasRoomForClient(self) {
            resume(worker)
        } else {
            alarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
        }
    }

    /// Stops listening. Clients that the system has connected already are served first: a socket that closes before they
    /// are accepted would reset them.
    func close(_ worker: Worker) {
        while case .accepted(let client, let peer) = worker.network.accept(on: socket) {
            worker.addClient(client, peer: peer, of: self)
        }
        alarm.set(nil, token: token, in: &worker.timers)
        // A socket that was passed to the process stays open elsewhere: closing this descriptor would not end its events.
        worker.network.setAccepting(false, on: socket, token: token)
        worker.network.close(socket, resetting: false)
        worker.listeners.remove(token)
    }

    /// Stops listening because the configuration says so. Its connections stay until their next answer, which says that
    /// they close: one that was closed before might have a request on its way.
    func drop(_ worker: Worker) {
        isDropped = true
        close(worker)
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
