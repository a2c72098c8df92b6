// What a worker has to do with the others: slots that travel between requests, servers that change, and counting.
import Balancing
import Configuration
import EventLoop
import Metrics
import Relay

extension Worker {
    func handle(_ message: WorkerMessage) {
        switch message {
        case .adopt(let adoption): begin(adoption)
        case .windDown: isWindingDown = true
        case .drain: drain()
        case .abort: abort()
        case .secure(let security): adopt(security)
        case .heartbeat: shared.noteHeartbeat(of: index, at: now)
        case .happened(let backend, let aftermath): carryOut(aftermath, backend)
        case .granted(let backend, let grant): deliver(backend, grant)
        case .serverIsDown(let backend, let server): leave(backend, server)
        case .tend(let backend): caretaker.tend(backend, self)
        case .composed(let page, let form, let bytes): deliver(bytes, of: page, as: form)
        case .live(let update): live.deliver(update, self)
        case .judged(let client, let claim, let access, let address, let isRight):
            doorkeeper.answered(claim, isRight: isRight, access, from: address)
            clients[client]?.judged(isRight: isRight)
        }
    }

    // MARK: Slots

    /// Gives a slot back, and hands it on to whoever waits for it.
    func finish(_ slot: Slot, of backend: SharedBackend, _ result: AttemptResult) {
        let aftermath = backend.backend.finished(slot, result, now: now)
        if !aftermath.isEmpty { carryOut(aftermath, backend) }
    }

    /// - Parameters:
    ///   - reason: of changes, for the log.
    ///   - isTold: changes are told already.
    func carryOut(_ aftermath: Aftermath, _ backend: SharedBackend, reason: String? = nil, isTold: Bool = false) {
        for grant in aftermath.grants {
            if grant.waiter.worker == index {
                grants.append((backend, grant))
            } else {
                shared.send(.granted(backend, grant), to: grant.waiter.worker)
            }
        }
        for change in aftermath.changes { if !isTold { tell(change, backend, reason) } }
        for number in aftermath.departed {
            guard let server = backend.server(number) else { continue }
            log.say(.info, "\(backend.name)/\(server.name), which was removed, has finished its last request")
        }
        if let canServe = aftermath.canServe {
            shared.events.note(
                RecentEvent(
                    at: shared.stamp, kind: .state, isTrouble: !canServe, backend: backend.name,
                    text: canServe ? "serves again" : "no server can serve; requests are answered with 503"))
            log.say(
                canServe ? .info : .error,
                canServe
                    ? "\(backend.name) serves again"
                    : "\(backend.name): no server can serve; its requests are answered with 503")
        }
        if aftermath.isTimed { shared.send(.tend(backend), to: 0) }
    }

    /// What is granted leads to further grants only by requests that end at once; each of those leaves the line.
    func deliverGrants() {
        var next = 0
        while next < grants.count {
            let (backend, grant) = grants[next]
            next += 1
            deliver(backend, grant)
        }
        grants.removeAll(keepingCapacity: true)
    }

    private func deliver(_ backend: SharedBackend, _ grant: Grant) {
        let token = Token(kind: TokenKind.exchange.rawValue, slot: grant.waiter.slot, generation: 0)
        if let driver = drivers[token], driver.takesGrant(grant, of: backend) { return }
        // The waiter has gone: the slot passes on.
        finish(grant.slot, of: backend, .neutral)
    }

    // MARK: Servers

    private func tell(_ change: StateChange, _ backend: SharedBackend, _ reason: String?) {
        // It may have been removed meanwhile: then nobody asks any more.
        guard let server = backend.server(change.server) else { return }
        let limit = backends.first { $0.shared === backend }?.plan.settings.ejectAfter ?? 0
        let why =
            reason.map { ": \($0)" }
            ?? (change.state == .ejected ? ": \(limit) requests failed in a row, or the one that tried it" : "")
        let isWorse = [ServerState.down, .ejected, .busy].contains(change.state)
        if isWorse || shared.hasBegun {
            shared.events.note(
                RecentEvent(
                    at: shared.stamp, kind: .state, isTrouble: isWorse, backend: backend.name, server: server.name,
                    text: "\(change.state.word)\(why)"))
        }
        log.say(isWorse ? .warning : .info, "\(backend.name)/\(server.name) is \(change.state.word)\(why)")
        if change.state == .down { shared.sendToAll(.serverIsDown(backend, server: change.server)) }
    }

    /// Leaves a server that is down: what may run elsewhere does, and its kept connections close.
    private func leave(_ backend: SharedBackend, _ server: Int) {
        if let server = backends.first(where: { $0.shared === backend })?.server(server) {
            closeIdle(server)
        }
        for driver in drivers.all where driver.isAt(backend, server) { driver.serverIsDown() }
    }

    // MARK: Pages

    /// Asks for a page for a client of ballast's own listener. One is made at a time; who comes meanwhile gets that one.
    func compose(_ page: OwnPage, for client: Token) {
        pageReaders.append((page, client))
        if pageReaders.count(where: { $0.page == page }) == 1 { shared.compose(page) }
    }

    private func deliver(_ bytes: [UInt8], of page: OwnPage, as form: OwnPage) {
        let readers = pageReaders.filter { $0.page == page }
        pageReaders.removeAll { $0.page == page }
        for reader in readers { clients[reader.client]?.composed(form, bytes) }
    }
}

extension RequestMetrics {
    /// Counts how an exchange ended.
    /// - Parameter status: what the client got, if it got any.
    func count(_ disposition: Disposition, status: Int?) {
        if let status { counters.add(.responses(status: status)) }
        if status == 101 { counters.add(.tunnels) }
        if let counter = RequestCounter(disposition) { counters.add(counter) }
        if case .cut = disposition { counters.add(.truncated) }
    }
}

extension RequestCounter {
    /// What is counted besides the status; nil for a response delivered whole.
    init?(_ disposition: Disposition) {
        switch disposition {
        case .answered: return nil
        case .replied(let failure), .cut(let failure): self.init(failure)
        case .clientLeft(.queued): self = .clientLeftQueued
        case .clientLeft(.connecting): self = .clientLeftConnecting
        case .clientLeft(.uploading): self = .clientLeftUploading
        case .clientLeft(.waiting): self = .clientLeftWaiting
        case .clientLeft(.streaming): self = .clientLeftStreaming
        }
    }

    init(_ failure: Failure) {
        switch failure {
        case .connect: self = .failedConnect
        case .connectTimeout: self = .failedConnectTimeout
        case .upstreamTLS: self = .failedUpstreamTLS
        case .reset: self = .failedReset
        case .badResponse: self = .failedBadResponse
        case .firstByteTimeout: self = .failedFirstByteTimeout
        case .idleTimeout: self = .failedIdleTimeout
        case .headTimeout: self = .failedHeadTimeout
        case .bodyTimeout: self = .failedBodyTimeout
        case .writeTimeout: self = .failedWriteTimeout
        case .noServer: self = .failedNoServer
        case .queueFull: self = .failedQueueFull
        case .queueTimeout: self = .failedQueueTimeout
        case .noRoute: self = .failedNoRoute
        case .badRequest: self = .failedBadRequest
        case .shutdown: self = .failedShutdown
        case .requestTimeout: self = .failedRequestTimeout
        case .tunnelTimeout: self = .failedTunnelTimeout
        case .bodyRate: self = .failedBodyRate
        case .readRate: self = .failedReadRate
        case .clientLimit: self = .failedClientLimit
        case .tooLarge: self = .failedTooLarge
        }
    }

    /// What an attempt after `failure` is counted as.
    init(retryAfter failure: Failure) {
        switch failure {
        case .connect: self = .retriesConnect
        case .connectTimeout: self = .retriesConnectTimeout
        case .upstreamTLS: self = .retriesUpstreamTLS
        case .firstByteTimeout, .idleTimeout: self = .retriesTimeout
        case .reset, .badResponse, .headTimeout, .bodyTimeout, .writeTimeout, .noServer, .queueFull, .queueTimeout,
            .noRoute, .badRequest, .shutdown, .requestTimeout, .tunnelTimeout, .bodyRate, .readRate, .clientLimit,
            .tooLarge:
            self = .retriesReset
        }
    }
}

extension ServerCounter {
    /// What a failed attempt is counted as.
    init(_ failure: Failure) {
        switch failure {
        case .connect: self = .failedConnect
        case .connectTimeout: self = .failedConnectTimeout
        case .upstreamTLS: self = .failedTLS
        case .reset: self = .failedReset
        case .badResponse: self = .failedResponse
        case .firstByteTimeout, .idleTimeout: self = .failedTimeout
        case .headTimeout, .bodyTimeout, .writeTimeout, .noServer, .queueFull, .queueTimeout, .noRoute, .badRequest,
            .shutdown, .requestTimeout, .tunnelTimeout, .bodyRate, .readRate, .clientLimit, .tooLarge:
            self = .failedOther
        }
    }
}

extension Disposition {
    /// How it ended, for the access log.
    var word: String {
        switch self {
        case .answered: "ok"
        case .replied(let failure): "\(failure.word)"
        case .cut(let failure): "cut:\(failure.word)"
        case .clientLeft(let phase): "left:\(phase)"
        }
    }
}
