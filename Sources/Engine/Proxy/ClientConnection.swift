// One client's connection: reads heads, gives each request to an exchange, and decides what follows its end.
// It never looks at a response.
import Addresses
import Balancing
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

final class ClientConnection {
    enum State {
        /// A header of the PROXY protocol is awaited.
        case proxyHeader
        /// The connection is being secured.
        case handshake
        /// Between requests, or within a head.
        case head
        case exchanging
        /// A request to ballast itself is on its way to its answer.
        case own(OwnStage)
        /// An answer of ballast's own is being sent.
        case answering(OwnAnswer)
        /// An answer was given before the request's body had arrived; the rest of it is read over.
        case draining(BodyPump)
        /// The last answer is being sent; the connection closes after it.
        case closing
        /// All is sent, the client is told so; what it still sends is read over, so that it gets the answer.
        case lingering
    }

    let token: Token
    let listener: Listener
    /// Where it was counted when it came.
    let listenerMetrics: Counters<ListenerCounter>
    /// What it is counted against beside all clients: its listener's limit, and its address's where that has one.
    let listenerClients: ClientBudget
    var gateClient: ConnectionGate.Client?
    /// It is only told that its address has too many connections.
    var isTurnedAway = false
    /// Its peer, or whose connection a PROXY header says that it is.
    private(set) var identity: ClientIdentity
    /// What the client's certificate says, where it was verified.
    var certificate: CertificateFields?
    /// It stands in line for the next step of its handshake.
    var isInLine = false
    /// The proxy that brought it cannot name it.
    private var isUnknown = false
    var wire: Wire
    var state = State.head
    /// Since when a head is awaited, where one is.
    private(set) var awaitsHeadSince: Duration
    /// When the first byte of the request under way was seen.
    private(set) var requestBegan: Duration
    let worker: Worker
    var parser = RequestParser()
    var driver: ExchangeDriver?
    private(set) var requests = 0
    private(set) var isClosed = false
    private var alarm = Alarm()

    /// Of a body that nobody wants, at most this much is read over, for at most this long, to keep the connection.
    private static let drainLimit = 64 << 10
    private static let drainTime = Duration.seconds(1)
    /// How long a client that has just connected, or was just answered, may take to ask once more when ballast stops.
    static let grace = Duration.seconds(1)

    init(
        token: Token, socket: SocketID, peer: Endpoint, listener: Listener, worker: Worker
    ) {
        self.token = token
        self.listener = listener
        listenerMetrics = listener.metrics
        listenerClients = listener.shared.clients
        self.worker = worker
        wire = Wire(Stream(socket))
        awaitsHeadSince = worker.now
        requestBegan = worker.now
        let traffic = worker.plan.traffic
        identity = traffic.identity(of: peer)
        identity.isSecure = listener.settings.isSecure
        if traffic.expectsProxyHeader(from: identity, on: listener.settings) {
            state = .proxyHeader
        } else if identity.isSecure {
            state = .handshake
        }
        setAlarm(traffic.timeoutHead)
    }

    /// No request is under way and nothing of one has arrived.
    var isIdle: Bool {
        switch state {
        // Empty lines before a request are nothing (RFC 9112, 2.2).
        case .head: !parser.hasBegun && (driver != nil || wire.inputCount == 0)
        case .proxyHeader: wire.inputCount == 0
        case .handshake: wire.inputCount == 0 && wire.stream.tls == nil
        case .exchanging, .own, .answering, .draining, .closing, .lingering: false
        }
    }

    /// It awaits a PROXY header.
    var awaitsProxyHeader: Bool { if case .proxyHeader = state { true } else { false } }

    /// It has not sent a whole head since its last answer, or at all.
    var isAwaitingHead: Bool {
        switch state {
        case .proxyHeader, .handshake, .head: true
        case .exchanging, .own, .answering, .draining, .closing, .lingering: false
        }
    }

    /// All that it will ever send was read.
    private var hasFinished: Bool { wire.stream.isEnding && !wire.stream.mayRead && wire.inputCount == 0 }

    /// Whether nobody is left to read an answer. A client that has finished sending counts as gone, because who hangs up does
    /// no more than that; unless the configuration says that it may still read.
    var hasLeft: Bool {
        wire.stream.isEnding && (wire.stream.isOver || !worker.plan.traffic.servesHalfClosed)
    }

    /// Whether a request that ends now may be followed by another.
    var mayPersist: Bool {
        !worker.isWindingDown && !listener.isRetired && !hasFinished
            && requests < worker.plan.traffic.requestsPerConnection
    }

    /// Goes by other rules for who is trusted.
    func identify(_ traffic: TrafficRules) {
        if !isUnknown { know(traffic.identity(of: identity.ip)) }
    }

    /// Its peer is this one.
    private func know(_ identity: ClientIdentity) {
        let isSecure = self.identity.isSecure
        self.identity = identity
        self.identity.isSecure = isSecure
    }

    // MARK: Events

    func handle(_ readiness: Readiness) {
        wire.stream.note(readiness)
        if case .exchanging = state {
            // In a tunnel both sides end by themselves.
            if hasLeft, driver?.isTunnel != true { driver?.clientLeft() } else { driver?.clientIsReady(readiness) }
        } else {
            advance()
        }
    }

    /// Goes on with whatever can go on now.
    func advance() {
        switch state {
        case .proxyHeader: readProxyHeader()
        // Before its first byte there is nothing to answer.
        case .handshake:
            if wire.stream.tls != nil || wire.stream.mayRead || wire.inputCount > 0 { shakeLater() }
        case .head: readHead()
        case .exchanging: driver?.clientIsReady([.readable])
        case .draining: drain()
        case .own(let stage): advanceOwn(stage)
        case .answering: sendAnswer()
        case .closing: finishClosing()
        case .lingering: linger()
        }
    }

    func expire(_ time: Duration) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        switch state {
        case .proxyHeader: closeIdle()
        case .handshake where isIdle: closeIdle()
        case .handshake: expireHandshake()
        case .head where isIdle: closeIdle()
        case .head: refuse(.headTimeout)
        case .exchanging: driver?.clientExpired()
        case .draining: closeAfterAnswer()
        case .own, .answering, .closing: close(resetting: true)
        case .lingering: close()
        }
    }

    /// Whether a time limit runs.
    var hasAlarm: Bool { alarm.deadline != nil }

    func setAlarm(_ limit: Duration?) {
        alarm.set(limit.map { worker.now + $0 }, token: token, in: &worker.timers)
    }

    // MARK: Heads

    /// Reads the PROXY header, before which nothing of the client is known.
    private func readProxyHeader() {
        if wire.stream.mayRead {
            switch wire.receive(worker.loop) {
            case .moved, .wouldBlock: break
            case .ended, .failed: return close()
            }
        }
        guard let input = wire.input else { return }
        do throws(ProxyHeader.Malformed) {
            let header = try input.withBytes { bytes throws(ProxyHeader.Malformed) in try ProxyHeader.parse(bytes) }
            guard let header else {
                if wire.stream.mayRead { worker.runLater(token) } else { wire.park(worker.loop) }
                return
            }
            wire.consume(header.byteCount, worker.loop)
            switch header.source {
            case .proxy: break
            // Nobody knows who it is: it is not trusted as the proxy is that brought it.
            case .unknown:
                isUnknown = true
                know(ClientIdentity(identity.ip, isTrusted: false))
            case .client(let source): know(worker.plan.traffic.identity(of: source))
            }
        } catch {
            worker.warn(
                .proxyHeader,
                "\(listener.settings.text): \(identity.text) did not begin its connection with a header of the PROXY "
                    + "protocol")
            // Nobody could read an answer before the handshake.
            return identity.isSecure ? close() : refuse(.badRequest(.malformedProxyHeader))
        }
        state = identity.isSecure ? .handshake : .head
        if !listener.isStats { worker.admit(self) }
        if !isClosed { advance() }
    }

    private func readHead() {
        if wire.stream.mayRead {
            switch wire.receive(worker.loop) {
            // Even without new bytes, a pipelined request may stand in what was read before.
            case .moved, .wouldBlock: break
            case .ended where !hasLeft && wire.inputCount > 0: break
            case .ended, .failed:
                close()
                return
            }
        }
        guard wire.inputCount > 0 else { return }
        parseHead()
    }

    private func parseHead() {
        guard let input = wire.input else { return }
        let wasBegun = parser.hasBegun
        if !wasBegun { requestBegan = worker.now }
        let driver = self.driver ?? worker.takeDriver()
        self.driver = driver
        let limits = worker.plan.traffic.requestLimits
        do throws(ProtocolError) {
            let isComplete = try input.withBytes { bytes throws(ProtocolError) -> Bool in
                try parser.parse(bytes, limits: limits, into: &driver.requestHead)
            }
            guard isComplete else {
                // The limit is for the whole head: bytes that trickle in do not renew it.
                if !wasBegun, parser.hasBegun { setAlarm(worker.plan.traffic.timeoutHead) }
                if wire.stream.mayRead {
                    worker.runLater(token)
                } else if wire.stream.isEnding {
                    // The rest will not come.
                    close()
                } else {
                    wire.park(worker.loop)
                }
                return
            }
        } catch {
            if error == .unexpectedTLS {
                worker.warn(
                    .unexpectedTLS, "\(listener.settings.text): \(identity.text) speaks TLS to a port without it")
            }
            refuse(.badRequest(error))
            return
        }
        requests += 1
        if requests == worker.plan.traffic.requestsPerConnection, !listener.isStats {
            worker.metrics.limits.add(.requestsPerConnection)
        }
        if listener.isStats {
            answerOwn(driver.requestHead, input)
            return
        }
        // What is meant for a secured connection must have come over one (RFC 9110, 7.4); of a trusted proxy that is known.
        if driver.requestHead.hasSecureScheme, !identity.isTrusted, !identity.isSecure {
            refuse(.badRequest(.misdirected), isHeadWhole: true)
            return
        }
        if identity.isSecure, isForOtherHost(driver.requestHead, input) {
            refuse(.badRequest(.otherHost), isHeadWhole: true)
            return
        }
        guard !hasLeft else {
            // It has sent its request and hung up: nobody will read the answer, so no server starts on it.
            countUnstarted(.clientLeft(.connecting), status: nil, isHeadWhole: true)
            close()
            return
        }
        if listener.settings.redirectsToHTTPS { return redirect(driver.requestHead, input) }
        if driver.requestHead.maxForwards == 0 {
            answerOptions(driver.requestHead)
            return
        }
        setAlarm(nil)
        state = .exchanging
        driver.begin(self)
    }

    // MARK: Ends

    /// The exchange is over and its answer sent.
    /// - Parameters:
    ///   - keeping: whether the client was told that the connection stays.
    ///   - rest: what has not arrived of the request's body.
    func exchangeEnded(keeping: Bool, rest: BodyPump?) {
        releaseDriver()
        // An answer that the socket does not take at once means a client that is not reading: not worth keeping.
        guard keeping, sendOutput() else {
            if rest == nil, !wire.hasOutput, wire.inputCount == 0, !wire.stream.mayRead {
                close()
            } else {
                closeAfterAnswer()
            }
            return
        }
        if let rest {
            state = .draining(rest)
            setAlarm(Self.drainTime)
            drain()
        } else {
            startNextHead()
        }
    }

    func startNextHead() {
        state = .head
        awaitsHeadSince = worker.now
        // It was told that its connection stays, and its next request may be on its way already.
        setAlarm(worker.isDraining ? Self.grace : worker.plan.traffic.timeoutKeepalive)
        if wire.inputCount > 0 || wire.stream.mayRead { worker.runLater(token) }
    }

    private func drain() {
        guard case .draining(var pump) = state else { return }
        if wire.stream.mayRead, wire.inputCount == 0 {
            switch wire.receive(worker.loop) {
            case .moved, .wouldBlock: break
            case .ended, .failed:
                close()
                return
            }
        }
        let flow = pump.discard(from: &wire)
        wire.releaseInput(worker.loop)
        state = .draining(pump)
        switch flow {
        case .done: startNextHead()
        case .needsInput where pump.received <= Self.drainLimit:
            if wire.stream.mayRead { worker.runLater(token) }
        case .needsInput, .blocked, .again, .sourceEnded, .sourceFailed, .sinkFailed, .malformed: closeAfterAnswer()
        }
    }

    func releaseDriver() {
        guard let driver else { return }
        self.driver = nil
        worker.giveDriver(driver)
    }

    /// Closes at once.
    /// - Parameter resetting: so that a cut answer cannot be taken for a whole one.
    func close(resetting: Bool = false) {
        releaseDriver()
        isClosed = true
        alarm.set(nil, token: token, in: &worker.timers)
        wire.close(resetting: resetting, worker.loop)
        worker.removeClient(self)
    }
}
