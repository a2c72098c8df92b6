// One listening socket of one worker: accepts clients, and stops while there is no room for more.
import Addresses
import Configuration
import EventLoop
import Metrics

final class Listener {
    /// Connections accepted in one turn, so that a flood of them does not starve those that are served.
    private static let burst = 16
    /// How long accepting pauses when the system has nothing left for another connection.
    private static let pause = Duration.milliseconds(100)
    /// For the handshakes under way when it stops listening.
    private static let handshakeTime = Duration.milliseconds(100)

    let token: Token
    /// This worker's.
    private(set) var metrics: Counters<ListenerCounter>
    /// What it is over reloads.
    private(set) var shared: SharedListener
    /// Where it is bound.
    let endpoint: Endpoint
    /// What the configuration says of it now.
    var settings: ListenerSettings
    private var text: String { settings.text }
    /// The one that all its requests go to; nil where routes decide.
    var backend: WorkerBackend?
    /// Who gets in, where it is ballast's own; of one that is retired, as it was.
    var access: OwnAccess?
    private let socket: SocketID
    /// It is wanted no more: it closes when nobody waits to be accepted, and its connections with their requests.
    private(set) var isRetired = false
    private var isAccepting = true
    private var warnedAt: Duration?
    private var alarm = Alarm()

    init(
        token: Token, socket: SocketID, endpoint: Endpoint, settings: ListenerSettings, shared: SharedListener,
        worker: Int, backend: WorkerBackend?, access: OwnAccess?
    ) {
        self.access = access
        self.endpoint = endpoint
        self.settings = settings
        self.token = token
        self.socket = socket
        self.shared = shared
        self.backend = backend
        metrics = shared.metrics[worker]
    }

    /// It serves ballast's own page.
    var isStats: Bool { shared.identity.isStats }

    /// What one try to accept came to.
    enum Attempt { case nobodyWaits, othersWait, failed }

    /// Accepts those who wait, so many at a time.
    @discardableResult
    func handleReady(_ worker: Worker) -> Attempt {
        for _ in 0..<Self.burst {
            // Those who have begun to connect are served, whatever the limit: else they would be reset. On ballast's own ones
            // who comes is let in, and who has been there longest goes.
            guard isRetired || isStats || worker.hasRoomForClient(self) else {
                worker.metrics.process.add(.acceptLimit)
                worker.metrics.limits.add(shared.clients.hasRoom ? .maxConnections : .listenerMaxConnections)
                suspend(worker)
                return .failed
            }
            switch worker.network.accept(on: socket) {
            case .accepted(let client, let peer):
                worker.addClient(client, peer: peer, of: self)
                if isStats { worker.makeRoom(on: self) }
            case .none:
                return .nobodyWaits
            case .failed(let error):
                worker.metrics.process.add(ProcessCounter(error))
                warn(error, worker)
                suspend(worker)
                return .failed
            }
        }
        return .othersWait
    }

    /// One line for a time of need, not one for each try.
    private func warn(_ error: SystemError, _ worker: Worker) {
        if let warnedAt, worker.now - warnedAt < .seconds(60) { return }
        warnedAt = worker.now
        worker.log.say(.warning, "\(text): cannot accept: \(error); trying again every \(Self.pause)")
    }

    private func suspend(_ worker: Worker) {
        guard isAccepting else { return }
        isAccepting = false
        worker.network.setAccepting(false, on: socket, token: token)
        alarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
    }

    /// Accepts again, if it had stopped: after a while, or because a client has left.
    func resume(_ worker: Worker) {
        guard !isAccepting, !isRetired, worker.hasRoomForClient(self) else { return }
        isAccepting = true
        alarm.set(nil, token: token, in: &worker.timers)
        worker.network.setAccepting(true, on: socket, token: token)
    }

    func expire(_ time: Duration, _ worker: Worker) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        if isRetired {
            switch handleReady(worker) {
            case .nobodyWaits, .failed: close(worker)
            case .othersWait: alarm.set(worker.now + .milliseconds(1), token: token, in: &worker.timers)
            }
            return
        }
        if worker.hasRoomForClient(self) {
            resume(worker)
        } else {
            alarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
        }
    }

    /// Stops listening, once those clients are accepted that have begun to connect: a socket that closes before would
    /// reset them. Its connections stay until their next answer, which says that they close: one that was closed before
    /// might have a request on its way.
    func retire(_ worker: Worker) {
        guard !isRetired else { return }
        // A socket that was passed to the process is another's too: who waits there is served when it is taken up again.
        guard shared.identity.inherited == nil else { return close(worker) }
        isRetired = true
        worker.network.dropNewConnections(on: socket)
        handleReady(worker)
        alarm.set(worker.now + Self.handshakeTime, token: token, in: &worker.timers)
    }

    /// Goes by the time limits of another plan.
    func adopt(_ traffic: TrafficRules, _ worker: Worker) {
        worker.network.limitDelivery(traffic.deliveryLimit, on: socket)
    }

    /// Serves on as part of `wanted`, whose addresses include its own.
    func join(_ wanted: ListenerPlan, backend: WorkerBackend?, worker: Int) {
        shared = wanted.shared
        metrics = wanted.shared.metrics[worker]
        settings = wanted.settings
        access = wanted.access
        self.backend = backend
    }

    /// Closes at once.
    func close(_ worker: Worker) {
        isRetired = true
        alarm.set(nil, token: token, in: &worker.timers)
        // A socket that was passed to the process stays open elsewhere: closing this descriptor would not end its events.
        worker.network.setAccepting(false, on: socket, token: token)
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
