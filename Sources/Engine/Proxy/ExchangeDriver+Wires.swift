// The driver's hands: what is read from one wire, what is written to the other, in both directions.
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

extension ExchangeDriver {
    // MARK: Request

    /// Writes the request's head and what has arrived of its body.
    func sendRequest() {
        guard let server, let bytes = requestBytes, let client else { return }
        let authority = server.server.shared.authority
        let fields = plan.traffic.fields
        let framing = BodyFraming(request: requestHead)
        if let changes, let edits = changes.edits { changes.values = fieldValues(for: edits) }
        let output = server.wire.outputBlock(worker.loop)
        bytes.withBytes { bytes in
            withRequestID(bytes) { id in
                output.append { target in
                    Forwarding.request(
                        requestHead, bytes, framing: framing, client: client.identity,
                        server: authority, requestID: id, settings: fields, changes: changes,
                        to: &target)
                }
            }
        }
        if framing != .none, requestPump.received == 0, machine.wantsBody { keepBody(framing) }
        requestPump.restart()
        // An empty chunked body that was read before has nothing kept: its end marker is written by hand.
        if framing == .chunked, requestPump.isWritten {
            output.append { $0.put(HeadWriter.lastChunk) }
        }
        // head-limit leaves room for what is added, so this cannot be; if it were, a cut head must never leave.
        guard !output.isFull else {
            tell(.clientFailed(.badRequest(.headTooLarge)))
            return
        }
        pumpRequest()
    }

    /// Keeps the body while it is sent, unless it is too large for that.
    private func keepBody(_ framing: BodyFraming) {
        let limit = plan.traffic.bodyBuffer
        var expected = limit
        if case .length(let count) = framing { expected = Int(clamping: count) }
        guard expected > 0, expected <= limit, !requestPump.isSourceDone else { return }
        requestPump.keep(
            in: ReplayBuffer(limit: limit, budget: plan.traffic.replayBudget, pool: worker.pool(forHeadOf: expected)))
    }

    /// Calls `body` with the id that the request goes by.
    private func withRequestID(_ bytes: Span<UInt8>, _ body: (Span<UInt8>) -> Void) {
        if let own = ownRequestID {
            body(bytes.extracting(own.indices))
        } else {
            body(requestID.span)
        }
    }

    /// The id that the request goes by, as a copy.
    var requestIDBytes: [UInt8] {
        var copy: [UInt8] = []
        requestBytes?.withBytes { bytes in
            withRequestID(bytes) { id in for index in id.indices { copy.append(id[index]) } }
        }
        return copy
    }

    func pumpRequest() {
        guard let client, let server, server.state == .atWork, !isRequestBroken else { return }
        if requestPump.isWritten, !server.wire.hasOutput {
            requestFlow = .done
            return
        }
        let before = requestPump.received
        let sentBefore = requestPump.sent
        let isResending = requestPump.isResending
        requestFlow = requestPump.move(from: &client.wire, to: &server.wire, worker.loop)
        let hasTaken = requestPump.received > before
        // Not a byte may have left: then the request is as fresh as it was.
        if hasTaken || requestPump.sent > sentBefore {
            tell(.sent(ofBody: hasTaken || isResending, isKept: requestPump.isKept))
        }
        switch requestFlow {
        case .done: if !machine.hasRequestEnded { tell(.requestEnded) }
        case .needsInput, .blocked: break
        case .again: worker.runLater(client.token)
        case .sourceEnded, .sourceFailed:
            tell(.clientLeft)
            return
        case .malformed(let error):
            tell(.clientFailed(Failure(client: error)))
            return
        case .sinkFailed:
            // The server has stopped reading. It may have answered first: its answer, or its end, is told by reading. Where
            // there is neither, the system had no room for what was to be sent, and no event will come.
            guard server.wire.stream.mayRead || worker.network.hasInput(server.wire.stream.socket) else {
                serverFailed(.reset)
                return
            }
            isRequestBroken = true
            worker.runLater(server.token)
        }
        watchClient(hasBodyMoved: hasTaken)
    }

    // MARK: Response

    func serverIsReady() {
        guard let server else { return }
        if isTunnel { return passTunnel() }
        if requestFlow != .done { pumpRequest() }
        guard self.server === server else { return }
        pumpResponse()
    }

    func pumpResponse() {
        guard let server, server.state == .atWork else { return }
        if case .responding = machine.state {
            pumpBody(server)
        } else if server.wire.stream.mayRead {
            readHead(server)
        }
    }

    private func readHead(_ server: ServerConnection) {
        switch server.wire.receive(worker.loop) {
        case .moved: parseHeads(server)
        case .wouldBlock: return
        case .ended, .failed: serverFailed(.reset)
        }
    }

    /// Parses interim heads and the final one, as far as they have arrived.
    private func parseHeads(_ server: ServerConnection) {
        while self.server === server, case .awaiting = machine.state {
            guard let input = server.wire.input else { break }
            do throws(ProtocolError) {
                let isComplete = try input.withBytes { bytes throws(ProtocolError) -> Bool in
                    try responseParser.parse(bytes, limits: plan.traffic.responseLimits, into: &responseHead)
                }
                guard isComplete else {
                    tell(.responseBegan)
                    break
                }
            } catch {
                serverFailed(.badResponse(error))
                return
            }
            guard hasRoomForHead else {
                serverFailed(.badResponse(.headTooLarge))
                return
            }
            server.server.metrics.lastByte = worker.now
            let status = responseHead.status
            if status == 101 {
                guard input.withBytes({ hasSwitchedAsOffered($0) }) else {
                    serverFailed(.badResponse(.unexpectedSwitch))
                    return
                }
                return tell(.switched)
            }
            tell(status < 200 ? .interimHead(isContinue: status == 100) : .finalHead(status: status))
        }
        guard self.server === server, case .awaiting = machine.state else { return }
        if server.wire.stream.mayRead { worker.runLater(server.token) } else { server.wire.park(worker.loop) }
    }

    /// Whether the client's output takes the head as it will be rewritten: a byte more for each field, and additions.
    private var hasRoomForHead: Bool {
        let room = client?.wire.output?.freeCount ?? Wire.blockSize
        return responseHead.byteCount + responseHead.fieldCount + Forwarding.addition + plan.responseAddition < room
    }

    func forwardInterim() {
        guard let server, let input = server.wire.input, let client else { return }
        metrics.counters.add(.responses1xx)
        server.server.metrics.counters.add(.responses1xx)
        // HTTP/1.0 knows no interim responses (RFC 9110, 15.2).
        if requestHead.version == .http11 {
            hasInterim = true
            hasContinued = hasContinued || responseHead.status == 100
            let output = client.wire.outputBlock(worker.loop)
            let others = plan.responseEdits?.dropped
            input.withBytes { bytes in
                output.append { Forwarding.interim(responseHead, bytes, others: others, to: &$0) }
            }
        }
        server.wire.consume(responseHead.byteCount, worker.loop)
        flushClient()
        // From 100 on its body is awaited.
        watchClient(hasBodyMoved: false)
    }

    /// Writes the final head for the client, then lets the body follow.
    func forwardHead() {
        guard let server, let client else { return }
        let framing = BodyFraming(response: responseHead, to: requestHead.method)
        coding = chooseCoding(server)
        leavingFraming = coding == .gzip ? .chunked : leaving(framing)
        keepsClient =
            client.mayPersist && Persistence.isKept(after: requestHead) && leavingFraming != .untilClose
            && isBodyCertain
        writeResponseHead(framing: leavingFraming, connection: connectionField(keepsClient))
        server.wire.consume(responseHead.byteCount, worker.loop)
        requestPump.dropKept()
        responsePump = BodyPump(framing, leaving: leavingFraming, chunks: plan.traffic.chunkLimits)
        if framing == .chunked { responsePump.trailerRule = plan.responseTrailers }
        if responseHead.isEventStream { responsePump.events = EventCounter() }
        if coding == .gzip { responsePump.deflater = deflater }
        deflater = nil
        times.headArrived = true
        pumpBody(server)
    }

    /// Writes the head that stands at the front of the server's input for the client.
    func writeResponseHead(framing: BodyFraming, connection: Forwarding.Connection) {
        guard let input = server?.wire.input, let client else { return }
        let edits = client.identity.isSecure ? plan.secureResponseEdits : plan.responseEdits
        var changes: Forwarding.ResponseChanges?
        if edits != nil || coding != .untouched {
            changes = Forwarding.ResponseChanges(
                edits, edits.map { fieldValues(for: $0) } ?? FieldValues(),
                servedBy: edits?.writesOwn == true ? servedBy : nil, coding: coding)
        }
        let output = client.wire.outputBlock(worker.loop)
        let date = worker.date
        input.withBytes { head in
            requestBytes?.withBytes { request in
                withRequestID(request) { id in
                    output.append { target in
                        Forwarding.response(
                            responseHead, head, framing: framing, requestID: id, date: date.bytes.span,
                            connection: connection, changes: changes, to: &target)
                    }
                }
            }
        }
    }

    /// Whether the response is compressed: where it may be, and where there is memory for it.
    private func chooseCoding(_ server: ServerConnection) -> Forwarding.ResponseChanges.Coding {
        guard let rules = plan.compression, let input = server.wire.input, let requestBytes else { return .untouched }
        let verdict = requestBytes.withBytes { request in
            input.withBytes { ContentCoding.verdict(responseHead, $0, to: requestHead, request, rules) }
        }
        switch verdict {
        case .asItIs: return .untouched
        case .variesOnly: return .negotiated
        case .wasGzip: return .weakened
        case .gzip:
            deflater = Deflater(level: rules.level, budget: plan.traffic.compressBudget)
            if deflater == nil { worker.metrics.limits.add(.compressMemory) }
            return deflater == nil ? .negotiated : .gzip
        }
    }

    private var servedBy: [UInt8] { Array("\(plan.settings.name)/\(slotServer?.shared.name ?? "")".utf8) }

    /// How the body leaves: HTTP/1.0 knows no chunks; HTTP/1.1 gets them where the length is not known.
    private func leaving(_ framing: BodyFraming) -> BodyFraming {
        switch framing {
        case .none, .length: framing
        case .chunked, .untilClose: requestHead.version == .http11 ? .chunked : .untilClose
        }
    }

    private func pumpBody(_ server: ServerConnection) {
        guard let client else { return }
        let before = responsePump.received
        let flow = responsePump.move(from: &server.wire, to: &client.wire, worker.loop)
        if responsePump.received > before {
            server.server.metrics.lastByte = worker.now
            if before == 0 { noteFirstByte(server) }
            if let count = responsePump.events?.take() { notePiece(server, events: count) }
            tell(.bodyBytes)
        }
        let isSteady = flow == .needsInput && responseFlow == .needsInput && requestFlow == .done
        responseFlow = flow
        // The common case of a stream: nothing about the client has changed.
        if isSteady { return }
        switch flow {
        case .done:
            tell(.responseEnded)
            return
        case .needsInput, .blocked: break
        case .again: worker.runLater(server.token)
        case .sourceEnded, .sourceFailed:
            serverFailed(.reset)
            return
        case .malformed(let error):
            serverFailed(.badResponse(error))
            return
        case .sinkFailed:
            tell(.clientLeft)
            return
        }
        watchClient(hasBodyMoved: false)
    }

    // MARK: Client

    func clientIsReady(_ readiness: Readiness) {
        if isTunnel { return passTunnel() }
        guard let client else { return }
        if readiness.contains(.writable) {
            if case .responding = machine.state { pumpResponse() } else { flushClient() }
        }
        guard self.client === client, machine.disposition == nil else { return }
        // Of TLS, room to write may be what a read has waited for.
        if readiness.contains(.readable) || client.wire.stream.mayRead, !requestPump.isSourceDone { pumpRequest() }
    }

    /// Sends interim heads, which go ahead of any body.
    private func flushClient() {
        guard let client else { return }
        while client.wire.hasOutput, client.wire.stream.maySend {
            switch client.wire.send(nil, limit: 0, worker.loop) {
            case .moved: continue
            case .wouldBlock: return
            case .ended, .failed:
                tell(.clientLeft)
                return
            }
        }
    }

    /// Watches the client's pace: while its body is awaited, or while it does not read.
    private func watchClient(hasBodyMoved: Bool) {
        guard let client, machine.disposition == nil else { return }
        let traffic = plan.traffic
        let isAwaited = isBodyAwaited && !machine.hasRequestEnded && !isRequestBroken
        let isBlocked = responseFlow == .blocked
        guard isAwaited || isBlocked || client.hasAlarm else { return }
        let now = worker.now
        if hasBodyMoved {
            let verdict = pace.bodyMoved(received: requestPump.received, rate: traffic.minimumSendRate, now: now)
            if isAwaited, verdict == .slow { return tell(.clientFailed(.bodyRate)) }
        }
        if isAwaited { pace.awaitBody(now: now) } else { pace.stopAwaitingBody(now: now) }
        if !isBlocked {
            pace.stopWatchingReading()
        } else if !pace.isReadingWatched {
            pace.watchReading(taken: client.wire.taken(worker.loop), limit: traffic.timeoutClient, now: now)
        }
        client.setAlarm(pace.nextLook(traffic.timeoutClient).map { $0 - now })
    }

    /// The request waits for its client: not for one that was told to wait for 100 itself.
    var isBodyAwaited: Bool { requestFlow == .needsInput && isBodyCertain }

    /// It is time to look at the client's pace.
    func clientExpired() {
        guard let client else { return }
        let traffic = plan.traffic
        let now = worker.now
        if pace.isSilent(traffic.timeoutClient, now: now) { return tell(.clientFailed(.bodyTimeout)) }
        if pace.isReadingWatched {
            let taken = client.wire.taken(worker.loop)
            let rate = traffic.minimumReadRate
            switch pace.judgeReading(taken: taken, rate: rate, limit: traffic.timeoutClient, now: now) {
            case .silent: return tell(.clientFailed(.writeTimeout))
            case .slow: return tell(.clientFailed(.readRate))
            case .inTime: break
            }
        }
        client.setAlarm(pace.nextLook(traffic.timeoutClient).map { $0 - now })
    }
}
