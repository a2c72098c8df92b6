// One connection to a server: connecting, at work for an exchange, or kept for the next one. It never chooses servers
// and never reads a response; its exchange's driver does.
import Balancing
import EventLoop
import Metrics
import Relay

final class ServerConnection {
    enum State { case connecting, atWork, kept }

    let token: Token
    let server: WorkerServer
    private var metrics: ServerMetrics { server.metrics }
    var wire: Wire
    var state = State.connecting
    /// The exchange that it works for.
    var driver: ExchangeDriver?
    /// How long it may be kept, when the server said so (`Keep-Alive: timeout=`).
    var keepFor: Duration
    /// There is a connection, and it is being secured: what fails from here on is that.
    private var isReached = false
    /// It stands in line for the next step of its handshake.
    private var isInLine = false
    /// Since when it is kept.
    private(set) var keptSince = Duration.zero
    private var alarm = Alarm()

    /// - Parameter tls: nil where the connection is plain.
    init(
        token: Token, server: WorkerServer, socket: SocketID, tls: TLSSession?, keepFor: Duration
    ) {
        self.token = token
        self.server = server
        self.keepFor = keepFor
        wire = Wire(Stream(socket, tls: tls))
    }

    func handle(_ readiness: Readiness, _ worker: Worker) {
        wire.stream.note(readiness)
        switch state {
        case .connecting: handleConnecting(worker)
        case .atWork: driver?.serverIsReady()
        case .kept:
            // Nothing is due on a kept connection: bytes are surplus, an end is an end.
            if wire.stream.mayRead, !isQuiet(worker) { close(worker) }
        }
    }

    private func handleConnecting(_ worker: Worker) {
        if isReached {
            shakeLater(worker, isFirst: false)
        } else if wire.stream.hasFailed || (wire.stream.isEnding && !wire.stream.maySend) {
            driver?.serverFailed(.connect)
        } else if wire.stream.tls != nil {
            isReached = true
            shakeLater(worker, isFirst: true)
        } else if wire.stream.maySend {
            state = .atWork
            driver?.serverIsConnected(self, isKept: false)
        }
    }

    private func shakeLater(_ worker: Worker, isFirst: Bool) {
        guard !isInLine else { return }
        isInLine = true
        worker.shakeLater(token, isFirst: isFirst)
    }

    /// Goes on with the handshake, which is a part of connecting.
    func shake(_ worker: Worker) {
        isInLine = false
        guard state == .connecting, let driver, let tls = wire.stream.tls else { return }
        switch wire.stream.handshake() {
        case .waiting: break
        case .done:
            metrics.counters.add(.secured)
            if tls.isResumed { metrics.counters.add(.resumed) }
            server.shared.noteHandshake(nil, of: driver.backend?.name ?? "", worker.log)
            state = .atWork
            driver.serverIsConnected(self, isKept: false)
        case .failed(let failure):
            server.shared.noteHandshake(failure, of: driver.backend?.name ?? "", worker.log)
            driver.serverFailed(.upstreamTLS)
        }
    }

    /// Whether nothing has come that is anybody's: of TLS, tickets are nobody's.
    func isQuiet(_ worker: Worker) -> Bool { wire.stream.isQuiet(on: worker.network) }

    /// Whether it was verified under the rules in effect, where there are any for it.
    func isSecured(under context: TLSClientContext?) -> Bool {
        wire.stream.tls.map { $0.clientContext === context } ?? true
    }

    /// Whether it can serve another request: nothing unread, nothing unsent, both sides willing.
    var isClean: Bool {
        !wire.stream.mayRead && !wire.stream.isEnding && wire.inputCount == 0 && !wire.hasOutput
            && wire.stream.maySend
    }

    func keep(_ worker: Worker) {
        state = .kept
        metrics.counters.add(.connectionsKept)
        driver = nil
        keptSince = worker.now
        alarm.set(worker.now + keepFor, token: token, in: &worker.timers)
    }

    func lease(_ driver: ExchangeDriver, _ worker: Worker) {
        metrics.counters.add(.connectionsUnkept)
        state = .atWork
        self.driver = driver
        alarm.set(nil, token: token, in: &worker.timers)
    }

    func expire(_ time: Duration, _ worker: Worker) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        if state == .kept { close(worker) }
    }

    /// - Parameter resetting: the server sees that this was no proper end.
    func close(_ worker: Worker, resetting: Bool = false) {
        if state == .kept {
            server.idle.remove(self)
            metrics.counters.add(.connectionsUnkept)
        }
        metrics.counters.add(.connectionsClosed)
        driver = nil
        wire.close(resetting: resetting, worker.loop)
        worker.servers.remove(token)
    }
}
