// Drives one exchange: tells the state machine what happens on both wires and carries out what it answers.
// It decides nothing that the machine decides.
import Balancing
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

/// One exchange's machine with its heads and pumps. Drivers are used again: their memory is most of what an exchange
/// costs.
final class ExchangeDriver {
    let token: Token
    let worker: Worker
    var machine: Exchange
    var requestHead = MessageHead()
    var responseHead = MessageHead()
    /// The request head's bytes, which outlive the client's input: a retry writes them again.
    var requestBytes: Buffer?
    var requestID = InlineArray<32, UInt8>(repeating: 0)
    var ownRequestID: ByteRange?
    /// Where the current turn stands: the client that asked, the server that answers.
    var client: ClientConnection?
    var server: ServerConnection?
    /// The backend that serves; nil before one is found, and where there is none.
    private(set) var backend: WorkerBackend?
    /// The rules that the exchange began under. Where there is no backend those of any: nothing is asked of one.
    var plan: BackendPlan
    /// The slot this exchange holds, or its place in line for one.
    var slot: Slot?
    var ticket: Ticket?
    /// The server whose slot it holds.
    var slotServer: WorkerServer?
    var times = ExchangeTimes()

    var requestPump = BodyPump(.none, leaving: .none)
    var responsePump = BodyPump(.none, leaving: .none)
    var responseParser = ResponseParser()
    /// The server no longer takes the request; what it has answered is still read.
    var isRequestBroken = false
    /// The attempt failed because ballast itself had no descriptor or port left.
    var hasOwnFault = false
    /// The client was told that its connection stays.
    var keepsClient = false
    /// An interim head went to the client, or is on its way; one said that the body may come.
    var hasInterim = false
    var hasContinued = false
    var pace = ClientPace()
    /// What is special about this request, if anything is.
    var changes: Forwarding.RequestChanges?
    /// The client that a trusted peer speaks for; nil where that is the peer itself.
    var forwardedClient: ClientIdentity?
    /// Both sides have switched to another protocol, and which of them was told that the other has finished.
    var isTunnel = false
    var hasFinishedRequest = false
    var hasFinishedResponse = false
    var leavingFraming = BodyFraming.none
    /// What is done about the response's coding, and with what.
    var coding = Forwarding.ResponseChanges.Coding.untouched
    var deflater: Deflater?
    /// What the client is waited for.
    var requestFlow = Flow.done
    var responseFlow = Flow.done
    private var alarm = Alarm()
    /// When a server that had no place for one more connection is asked again.
    var connectAlarm = Alarm()

    init(token: Token, worker: Worker) {
        self.token = token
        self.worker = worker
        plan = worker.plan.backends[0]
        machine = Exchange(limits: plan.limits)
    }

    /// What is counted of the request.
    var metrics: RequestMetrics { backend?.metrics ?? worker.metrics.unrouted }

    // MARK: Beginning

    /// Starts on the request whose head is parsed and stands at the front of the client's input.
    func begin(_ client: ClientConnection) {
        self.client = client
        times = ExchangeTimes(began: client.requestBegan)
        if changes != nil { forgetChanges() }
        takeHead(client)
        let framing = BodyFraming(request: requestHead)
        hasInterim = false
        hasContinued = false
        pace = ClientPace()
        // Nothing is sent yet: `done` comes from the pump alone.
        requestFlow = .blocked
        responseFlow = .done
        keepsClient = false
        coding = .untouched
        var failure = findBackend(client.listener)
        plan = backend?.plan ?? worker.plan.backends[0]
        let traffic = plan.traffic
        machine = Exchange(limits: plan.limits, rule: plan.retryRule, interimLimit: traffic.interimLimit)
        let limit = plan.settings.bodyLimit == 0 ? Int.max : plan.settings.bodyLimit
        if case .length(let count) = framing, count > limit { failure = failure ?? .tooLarge }
        requestPump = BodyPump(framing, leaving: framing, chunks: traffic.chunkLimits, limit: limit)
        if needsChanges(client) { prepareChanges(client) }
        if framing == .chunked { requestPump.trailerRule = plan.requestTrailers }
        metrics.counters.add(.requests)
        if let failure {
            tell(.clientFailed(failure))
        } else {
            let isKeyed = requestHead.present.contains(.idempotencyKey)
            tell(.began(requestHead.method, hasBody: framing != .none, isKeyed: isKeyed))
        }
    }

    /// Finds the backend that serves the request, or why there is none.
    private func findBackend(_ listener: Listener) -> Failure? {
        if let own = listener.backend {
            backend = own
            return nil
        }
        let plan = worker.plan
        if let only = plan.onlyBackend {
            backend = worker.backends[only]
            return nil
        }
        do throws(ProtocolError) {
            let found =
                try requestBytes?.withBytes { bytes throws(ProtocolError) in
                    try plan.router.route(requestHead, bytes)
                } ?? nil
            backend = found.map { worker.backends[$0] }
        } catch {
            backend = nil
            return .badRequest(error)
        }
        return backend == nil ? .noRoute : nil
    }

    private func takeHead(_ client: ClientConnection) {
        guard let input = client.wire.input else { return }
        let count = requestHead.byteCount
        let pool = worker.pool(forHeadOf: count)
        let bytes = pool.take()
        requestBytes = bytes
        bytes.append(input, count)
        client.wire.consume(count, worker.loop)
        // The beginning of a next request waits for this one to end.
        if BodyFraming(request: requestHead) == .none { client.wire.park(worker.loop) }
        ownRequestID = bytes.withBytes { RequestID.own(requestHead, $0) }
        if ownRequestID == nil { requestID = worker.makeRequestID() }
    }

    // MARK: Telling and doing

    /// Tells the machine and carries out its answer, until it wants nothing more.
    func tell(_ event: Exchange.Event) {
        let now = worker.now
        var next: Exchange.Event? = event
        while let event = next {
            let action = machine.handle(event, now: now)
            if action == .none { break }
            next = perform(action)
        }
        rearm()
    }

    /// Moves the alarm to the machine's deadline.
    private func rearm() {
        if let time = alarm.move(to: machine.deadline) { worker.timers.add(token, at: time) }
    }

    /// Carries out one action; returns the event that it leads to at once, if any.
    private func perform(_ action: Exchange.Action) -> Exchange.Event? {
        switch action {
        case .none: return nil
        case .choose(let isRetry):
            let failure = machine.lastFailure
            var former: WorkerServer?
            if let failure {
                former = slotServer
                count(failure)
                leaveAttempt()
                releaseServer(verdict(failure))
            }
            return choose(isRetry: isRetry, reason: failure.map(RequestCounter.init(retryAfter:)), after: former)
        case .chooseInstead: return chooseInstead()
        case .open: return open(fresh: false)
        case .openFresh:
            slotServer?.metrics.counters.add(.staleConnections)
            leaveAttempt()
            return open(fresh: true)
        case .send:
            sendRequest()
            return nil
        case .forwardInterim:
            forwardInterim()
            return nil
        case .forwardHead:
            forwardHead()
            return nil
        case .tunnel:
            startTunnel()
            return nil
        case .finish:
            finish()
            return nil
        case .reply(let failure):
            reply(failure)
            return nil
        case .cut(let failure):
            cut(failure)
            return nil
        case .abandon:
            abandon()
            return nil
        }
    }

    // MARK: Servers

    func serverFailed(_ failure: Failure) {
        closeServer()
        guard isUnseen, let client else { return tell(.serverFailed(failure)) }
        client.wire.discardOutput(worker.loop)
        tell(.serverFailedUnseen(failure))
    }

    /// The response has begun, and the client has not got a byte of it.
    private var isUnseen: Bool {
        times.headArrived && !isTunnel && responsePump.sent == 0 && !hasInterim
            && client?.wire.stream.hasBegunRecord != true
    }

    func closeServer() {
        if connectAlarm.deadline != nil { connectAlarm.set(nil, token: token, in: &worker.timers) }
        server?.close(worker)
        server = nil
    }

    // MARK: Ends

    private func finish() {
        if isTunnel { return finishTunnel() }
        if let server {
            let keepAlive = responseHead.keepAliveSeconds
            if server.wire.stream.tls != nil, server.wire.stream.mayRead { _ = server.isQuiet(worker) }
            let isKept =
                machine.hasRequestEnded && !isRequestBroken && !requestPump.isResending && !responsePump.endsAtClose
                && Persistence.isKept(after: responseHead) && server.isClean && keepAlive != 0
                && server.isSecured(under: backend?.context)
            if isKept {
                // One second less than the server says: its clock runs while the answer travels.
                if let keepAlive { server.keepFor = min(server.keepFor, .seconds(max(keepAlive - 1, 0))) }
                worker.keepIdle(server, limit: plan.settings.poolSize)
                self.server = nil
            } else {
                closeServer()
            }
        }
        end(.answered, status: responseHead.status, plan.settings.ejectOn.result(status: responseHead.status))
        let rest = machine.hasRequestEnded ? nil : requestPump
        client?.exchangeEnded(keeping: keepsClient, rest: rest)
    }

    private func reply(_ failure: Failure) {
        guard let client else { return }
        let keeps =
            !failure.isClientsFault && client.mayPersist && Persistence.isKept(after: requestHead) && isBodyCertain
        let retryAfter = failure.status == 503 && backend != nil ? plan.shared.backend.retryAfter(now: worker.now) : nil
        var context = Replies.Context(date: worker.date, connection: connectionField(keeps), retryAfter: retryAfter)
        requestBytes?.withBytes { context.fit(requestHead, $0) }
        context.requestID = requestIDBytes
        context.strictTransport = client.strictTransport
        Replies.write(failure, plan.traffic.answers, context, to: client.wire.outputBlock(worker.loop))
        let rest = requestPump.isSourceDone ? nil : requestPump
        end(.replied(failure), status: failure.status, verdict(failure))
        client.exchangeEnded(keeping: keeps, rest: rest)
    }

    /// Whether the client will send its body now that it gets a final answer: who was not told to go on may leave it out, and
    /// nobody could tell that from the next request (RFC 9110, 10.1.1).
    var isBodyCertain: Bool {
        !requestHead.expectsContinue || requestHead.version == .http10 || hasContinued || requestPump.received > 0
            || requestPump.isSourceDone
    }

    func connectionField(_ keeps: Bool) -> Forwarding.Connection {
        guard keeps else { return .close }
        return requestHead.version == .http10 ? .keepExplicitly : .keep
    }

    private func cut(_ failure: Failure) {
        end(.cut(failure), status: responseHead.status, verdict(failure))
        // Who does not read would leave all that is unsent with the system for as long as it answers probes.
        let isUnread = failure == .writeTimeout || failure == .readRate
        client?.close(resetting: isUnread || leavingFraming == .untilClose)
    }

    private func abandon() {
        if let disposition = machine.disposition {
            end(disposition, status: nil, .neutral, shown: times.headArrived ? responseHead.status : nil)
        }
        client?.close()
    }

    /// Counts and tells how it ended, and gives the slot back.
    /// - Parameters:
    ///   - status: what the client got whole, or was told before it was cut.
    ///   - result: what the end says about the server.
    ///   - shown: the status for the log, where it is not counted.
    func end(_ disposition: Disposition, status: Int?, _ result: AttemptResult, shown: Int? = nil) {
        let metrics = metrics
        metrics.count(disposition, status: status)
        let (spans, server) = (times.spans(to: worker.now), slotServer)
        let isAnswered = disposition == .answered && !isTunnel
        metrics.noteEnd(after: spans.whole, isAnswered: isAnswered)
        if let server { count(server.metrics, spans, disposition) }
        switch disposition {
        case .replied(let failure), .cut(let failure): count(failure, isLast: true)
        case .answered, .clientLeft: break
        }
        releaseServer(result)
        if plan.traffic.accessLog != nil {
            plan.traffic.log(record(disposition, status ?? shown, server: server?.shared))
        }
    }

    /// Counts against the server of the last attempt.
    private func count(_ metrics: ServerMetrics, _ spans: ExchangeTimes.Spans, _ disposition: Disposition) {
        let counters = metrics.counters
        switch disposition {
        case .answered: if !isTunnel, let attempt = spans.attempt { metrics.latency.observe(attempt) }
        case .cut(let failure) where failure.isServersFault && spans.hasHead: counters.add(.cut)
        case .cut, .replied, .clientLeft: break
        }
        counters.add(.sentBytes, requestPump.received)
        guard spans.hasHead else { return }
        counters.add(.receivedBytes, responsePump.received)
        counters.add(.responses(status: responseHead.status))
    }

    /// Gives everything borrowed back, before the driver is used again.
    func reset() {
        releaseServer(.neutral)
        client = nil
        backend = nil
        plan = worker.plan.backends[0]
        requestPump.release()
        responsePump.release()
        if let requestBytes {
            worker.pool(ofHead: requestBytes).give(requestBytes)
            self.requestBytes = nil
        }
        alarm.set(nil, token: token, in: &worker.timers)
    }

    // MARK: Client events

    /// ballast is stopping now: an answer if none has begun, else the client sees that it is cut.
    func abort() {
        worker.metrics.process.add(times.headArrived ? .cutAtStop : .refusedAtStop)
        tell(.clientFailed(.shutdown))
    }

    func clientLeft() { tell(.clientLeft) }

    func expire(_ time: Duration) {
        if connectAlarm.isDue(time, now: worker.now, token: token, in: &worker.timers) { connectAgain() }
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        let isResponding = if case .responding = machine.state { true } else { false }
        tell(.expired(isHeldByClient: isResponding ? responseFlow == .blocked : isBodyAwaited))
    }
}
