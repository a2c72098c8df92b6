// Answers that need no server, and how a connection ends after the last one: told, and with all of it arrived.
import EventLoop
import HTTP
import Metrics
import Relay

extension ClientConnection {
    /// How long a client that was answered may go on sending before its connection is closed for good.
    private static let lingerTime = Duration.seconds(2)

    // MARK: Pages

    /// Goes on with the answer, as far as the client reads.
    func sendAnswer() {
        guard case .answering(let answer) = state else { return }
        guard send(answer) else {
            if wire.stream.hasFailed { close() }
            return
        }
        if answer.keeps { startNextHead() } else { closeAfterAnswer() }
    }

    /// Blocks of an answer that leave in one turn: a page of megabytes holds the loop for none of its streams.
    private static let blocksAtOnce = 4

    /// Goes on with an answer; true when all of it is gone.
    func send(_ answer: OwnAnswer) -> Bool {
        for _ in 0..<Self.blocksAtOnce {
            if !answer.isDone { answer.fill(wire.outputBlock(worker.loop)) }
            guard sendOutput() else { return false }
            if answer.isDone { return true }
        }
        worker.runLater(token)
        return false
    }

    // MARK: Answers without an exchange

    /// Refuses what cannot become an exchange, and closes. Of its head everything before the mistake is known.
    /// - Parameter isHeadWhole: nothing is wrong with the head itself.
    func refuse(_ failure: Failure, isHeadWhole: Bool = false) {
        var context = Replies.Context(date: worker.date, connection: .close)
        if isHeadWhole || parser.hasMethod, let driver, let input = wire.input {
            input.withBytes { context.fit(driver.requestHead, $0) }
        }
        if context.requestID.isEmpty { context.requestID = worker.makeRequestIDBytes() }
        if !listener.isStats {
            if let limit = LimitCounter(failure) { worker.metrics.limits.add(limit) }
            countUnstarted(
                .replied(failure), status: failure.status, id: context.requestID, isHeadWhole: isHeadWhole)
        }
        releaseDriver()
        context.strictTransport = strictTransport
        Replies.write(failure, worker.plan.traffic.answers, context, to: wire.outputBlock(worker.loop))
        closeAfterAnswer()
    }

    /// Answers an OPTIONS request that goes no further (RFC 9110, 7.6.2).
    func answerOptions(_ head: borrowing MessageHead) {
        let keeps = BodyFraming(request: head) == .none && mayPersist && Persistence.isKept(after: head)
        let connection: Forwarding.Connection = keeps ? head.version == .http10 ? .keepExplicitly : .keep : .close
        var context = Replies.Context(date: worker.date, connection: connection)
        wire.input?.withBytes { context.fit(head, $0) }
        if context.requestID.isEmpty { context.requestID = worker.makeRequestIDBytes() }
        countUnstarted(.answered, status: 200, id: context.requestID)
        wire.consume(head.byteCount, worker.loop)
        releaseDriver()
        context.strictTransport = strictTransport
        Replies.writeOptions(context, to: wire.outputBlock(worker.loop))
        if keeps, sendOutput() { startNextHead() } else { closeAfterAnswer() }
    }

    // MARK: Ends

    /// Lets what is under way be the last of this connection, and closes it if nothing is.
    func windDown() {
        // Bytes that wait in the socket are a request.
        guard isIdle, !worker.network.hasInput(wire.stream.socket) else { return }
        if worker.now - awaitsHeadSince < Self.grace { setAlarm(Self.grace) } else { close() }
    }

    /// Ends at once whatever is under way: ballast is stopping now.
    func abort() {
        switch state {
        case .exchanging: driver?.abort()
        // An answer whose end the client has not taken yet.
        case .closing where wire.hasOutput && !listener.isStats: worker.metrics.process.add(.cutAtStop)
        case .closing, .proxyHeader, .handshake, .head, .own, .answering, .draining, .lingering: break
        }
        // Whatever of that answer the socket took is on its way; nothing is waited for.
        if !isClosed { close() }
    }

    /// Closes a connection on which nothing was asked, or nothing any more.
    func closeIdle() {
        // A stop and ballast's own page have times of their own.
        if !listener.isStats, !worker.isDraining {
            let limit: LimitCounter = requests == 0 ? .timeoutHead : .timeoutKeepalive
            worker.metrics.limits.add(limit)
            worker.log.say(.debug, "\(identity.text): closed an idle connection after \(limit.key)")
        }
        close()
    }

    /// Sends what is left to send, then closes.
    func closeAfterAnswer() {
        state = .closing
        setAlarm(worker.plan.traffic.timeoutClient)
        finishClosing()
    }

    /// Sends what is in the output; true when all of it is gone.
    func sendOutput() -> Bool {
        while wire.hasOutput, wire.stream.maySend {
            guard case .moved = wire.send(nil, limit: 0, worker.loop) else { return false }
        }
        return !wire.hasOutput
    }

    func finishClosing() {
        guard sendOutput() else {
            // An error comes as an event of its own; until then the alarm bounds the wait.
            if hasLeft { close() }
            return
        }
        // A close with unread bytes is a reset, and a reset may overtake the answer (RFC 9112, 9.6).
        startLingering()
    }

    func startLingering() {
        guard wire.stream.finishSending(on: worker.network) else { return }
        state = .lingering
        setAlarm(Self.lingerTime)
        wire.discardInput(worker.loop)
        // Of TLS too, bytes are read over: nothing can be answered any more, a change of keys neither.
        wire.expose(worker.loop)
        linger()
    }

    func linger() {
        guard wire.stream.mayRead else { return }
        switch wire.receive(worker.loop) {
        case .moved:
            wire.discardInput(worker.loop)
            if wire.stream.mayRead { worker.runLater(token) }
        case .wouldBlock: return
        case .ended, .failed: close()
        }
    }
}
