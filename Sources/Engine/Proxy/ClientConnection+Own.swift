// A client of ballast's own listeners: its request is read, its name asked for, and it is answered.
import Addresses
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

/// Where a request to ballast's own listener stands. Indirect, so that the state of those who want something else stays small.
indirect enum OwnStage {
    /// The rest of its body is awaited, of an action by somebody who may.
    case body(OwnRequest, who: String?)
    /// A hash is being computed.
    case verifying(OwnRequest, Claim, OwnAccess)
    case composing(OwnRequest)
    case watching(LiveWatch)
}

extension ClientConnection {
    /// Bytes of a body that is read.
    private static let longestBody = 1024

    /// Of a listener of ballast's own, which has one.
    private var access: OwnAccess { listener.access ?? OwnAccess.nobody }

    // MARK: The request

    /// Answers the request whose head is parsed and stands at the front of `input`.
    func answerOwn(_ head: borrowing MessageHead, _ input: Buffer) {
        let keeps = mayPersist && Persistence.isKept(after: head)
        let request = input.withBytes { OwnRequest(head, $0, keeps: keeps) }
        wire.consume(head.byteCount, worker.loop)
        releaseDriver()
        serve(request)
    }

    /// Reads the body of an action. Nobody else's is: it would hold a connection for who has said nothing of himself.
    private func awaitBody(of request: OwnRequest, who: String?) {
        guard request.bodyLength < .max else {
            return reply(.text(411, "a body needs its Content-Length here\n"), to: request)
        }
        guard request.bodyLength <= Self.longestBody else {
            return reply(.text(413, "bodies of \(Self.longestBody) bytes at most are read here\n"), to: request)
        }
        state = .own(.body(request, who: who))
        setAlarm(worker.plan.traffic.timeoutHead)
        // RFC 9110, 10.1.1.
        if request.expectsContinue, request.version == .http11, wire.inputCount < request.bodyLength {
            let line = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
            wire.outputBlock(worker.loop).append { $0.put(line.span) }
            _ = sendOutput()
        }
        collectBody()
    }

    func advanceOwn(_ stage: OwnStage) {
        switch stage {
        case .body: collectBody()
        // Who has only finished sending gets its answer.
        case .verifying, .composing: if wire.stream.hasFailed { close() }
        case .watching: if wire.stream.isEnding { close() } else { sendLive() }
        }
    }

    private func collectBody() {
        guard case .own(.body(var request, let who)) = state else { return }
        let length = request.bodyLength
        if wire.stream.mayRead, wire.inputCount < length {
            switch wire.receive(worker.loop) {
            case .moved, .wouldBlock: break
            case .ended, .failed: return close()
            }
        }
        guard wire.inputCount >= length else {
            if wire.stream.mayRead { worker.runLater(token) }
            return
        }
        wire.input?.withBytes { span in for index in 0..<length { request.body.append(span[index]) } }
        wire.consume(length, worker.loop)
        act(request, who: who)
    }

    // MARK: Who may

    private func serve(_ request: OwnRequest) {
        guard !request.isAmbiguous else {
            return reply(.text(400, "one field of each kind is read here, and it has two\n"), to: request)
        }
        let access = access
        let route = OwnRoute(request.path, hasPage: access.hasPage, exposition: request.exposition)
        guard route == .nothing || route.serves(request.method) else {
            var content = OwnContent.text(405, "only \(route.methods) is served here\n")
            content.fields = "Allow: \(route.methods)\r\n"
            return reply(content, to: request)
        }
        if route.isForBrowsers,
            let reason = access.refusal(of: request, isAction: route.isAction, isSecure: identity.isSecure)
        {
            return reply(.json(.failed(403, reason)), to: request)
        }
        guard access.isGuarded, !route.isOpen else { return answer(request, route, who: nil) }
        guard let claim = request.authorization.flatMap({ Claim($0) }) else { return challenge(request) }
        let address = identity.ip.map { ConnectionGate.Client($0) }
        switch worker.doorkeeper.judge(claim, access, from: address, now: worker.now) {
        case .allowed: answer(request, route, who: claim.name)
        case .refused: refuse(request)
        case .throttled(let seconds):
            warnOfPasswords()
            var content = OwnContent.text(429, "too many wrong passwords; come again in \(seconds) seconds\n")
            content.fields = "Retry-After: \(seconds)\r\n"
            reply(content, to: request)
        case .busy:
            var content = OwnContent.text(503, "too many passwords are being looked at\n")
            content.fields = "Retry-After: 1\r\n"
            reply(content, to: request)
        case .asked:
            state = .own(.verifying(request, claim, access))
            setAlarm(worker.plan.traffic.timeoutClient)
            worker.shared.verify(claim, access, of: address, for: token)
        }
    }

    /// A hash was computed.
    func judged(isRight: Bool) {
        guard case .own(.verifying(let request, let claim, let access)) = state else { return }
        guard isRight else { return refuse(request) }
        let route = OwnRoute(request.path, hasPage: access.hasPage, exposition: request.exposition)
        answer(request, route, who: claim.name)
    }

    private func refuse(_ request: OwnRequest) {
        warnOfPasswords()
        challenge(request)
    }

    private func warnOfPasswords() {
        worker.warn(.password, "\(listener.settings.text): \(identity.text) has sent a wrong name or password")
    }

    private func challenge(_ request: OwnRequest) {
        var content = OwnContent.text(401, "a name and a password are asked for here\n")
        content.fields = "WWW-Authenticate: Basic realm=\"ballast\", charset=\"UTF-8\"\r\n"
        reply(content, to: request)
    }

    // MARK: Answers

    private func answer(_ request: OwnRequest, _ route: OwnRoute, who: String?) {
        switch route {
        case .alive: reply(.text(200, "ok\n"), to: request)
        case .ready:
            let isReady = worker.shared.isReady
            var content = OwnContent.text(isReady ? 200 : 503, isReady ? "ready\n" : "not ready\n")
            if !isReady { content.fields = "Retry-After: 1\r\n" }
            reply(content, to: request)
        case .nothing:
            if access.hasPage, request.path.prefix(2) == ["api", "servers"] {
                let verbs = OwnVerb.allCases.map(\.rawValue).joined(separator: ", ")
                let text = "write /api/servers/BACKEND/NAME/VERB, percent-encoded; the verbs are \(verbs)"
                return reply(.json(.failed(404, text)), to: request)
            }
            let places =
                access.hasPage ? "/, /metrics, /api/stats, /api/stats.csv, /api/config, /api/events, " : "/metrics, "
            reply(.text(404, "nothing is served here; try \(places)/healthz or /readyz\n"), to: request)
        case .page(let kind):
            let page = OwnPage(kind: kind, isGzip: request.takesGzip)
            state = .own(.composing(request))
            setAlarm(worker.plan.traffic.timeoutClient)
            worker.compose(page, for: token)
        case .live: watch(request, who: who.flatMap { access.credential(of: $0) })
        case .action: if request.bodyLength > 0 { awaitBody(of: request, who: who) } else { act(request, who: who) }
        }
    }

    private func act(_ request: OwnRequest, who: String?) {
        let route = OwnRoute(request.path, hasPage: access.hasPage, exposition: request.exposition)
        guard case .action(let backend, let server, let verb) = route else { return }
        let from = "\(who ?? "nobody") from \(identity.text)"
        let result = worker.act(verb, backend: backend, server: server, weight: request.value(of: "weight"), who: from)
        var content = OwnContent.json(result)
        if result.status == 200, request.wantsHTML {
            content.status = 303
            content.fields = "Location: /\r\n"
        }
        reply(content, to: request)
    }

    /// The page is there.
    func composed(_ form: OwnPage, _ bytes: [UInt8]) {
        guard case .own(.composing(let request)) = state else { return }
        var content = OwnContent(status: 200, type: form.contentType, body: bytes)
        content.fields = "Vary: \(form.isMetrics ? "Accept, " : "")Accept-Encoding\r\n"
        if form.isGzip { content.fields += "Content-Encoding: gzip\r\n" }
        reply(content, to: request)
    }

    private func reply(_ content: OwnContent, to request: OwnRequest) {
        // What was not read of a body is read over, and the connection ends.
        let keeps = request.keeps && request.bodyLength == request.body.count
        let head = head(content, request, keeps: keeps)
        state = .answering(OwnAnswer(head: head, request.isHead ? [] : content.body, keeps: keeps))
        setAlarm(worker.plan.traffic.timeoutClient)
        sendAnswer()
    }

    private func head(_ content: OwnContent, _ request: OwnRequest, keeps: Bool) -> [UInt8] {
        var text = "HTTP/1.1 \(content.status) \(Replies.reason(content.status))\r\nContent-Type: \(content.type)\r\n"
        if let body = content.length { text += "Content-Length: \(body)\r\n" }
        text += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
        text += "Content-Security-Policy: \(PagePolicy.value)\r\nReferrer-Policy: same-origin\r\n"
        text += "Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n"
        text += content.fields
        if let strictTransport { text += "Strict-Transport-Security: \(strictTransport)\r\n" }
        switch (keeps, request.version) {
        case (false, _): text += "Connection: close\r\n"
        case (true, .http10): text += "Connection: keep-alive\r\n"
        case (true, .http11): break
        }
        text += "Date: "
        var bytes = Array(text.utf8)
        let date = worker.date
        for index in date.bytes.indices { bytes.append(date.bytes[index]) }
        return bytes + Array("\r\n\r\n".utf8)
    }

    // MARK: Watching

    /// It watches the page.
    var isWatching: Bool { if case .own(.watching) = state { true } else { false } }

    /// It has not got the whole page yet.
    var needsWholePage: Bool {
        guard case .own(.watching(let watch)) = state else { return false }
        return watch.needsAll && watch.pending == nil
    }

    private func watch(_ request: OwnRequest, who: Credential?) {
        guard request.isHead || worker.live.hasRoom(worker) else {
            var content = OwnContent.text(503, "\(LiveFeed.limit) pages are being watched already\n")
            content.fields = "Retry-After: 10\r\n"
            return reply(content, to: request)
        }
        var content = OwnContent(status: 200, type: "text/event-stream", body: [])
        content.length = nil
        guard !request.isHead else { return reply(content, to: request) }
        let opening = Array("retry: 2000\n\n".utf8)
        let watch = LiveWatch(OwnAnswer(head: head(content, request, keeps: false), opening, keeps: false), who: who)
        state = .own(.watching(watch))
        sendLive()
        if !isClosed { worker.live.add(token, worker) }
    }

    /// Who it was let in by, or where, is no more: it has to come anew.
    func reconsiderWatching() {
        guard case .own(.watching(let watch)) = state else { return }
        let access = access
        let isKnown = watch.who.map { access.credentials.contains($0) } ?? !access.isGuarded
        if listener.isRetired || !access.hasPage || !isKnown { close() }
    }

    /// Something of the page has changed.
    func show(_ update: LiveUpdate) {
        guard case .own(.watching(let watch)) = state else { return }
        guard watch.pending == nil else {
            // It has not taken the last one: it gets all of a later one.
            watch.needsAll = true
            return
        }
        if watch.needsAll {
            guard let all = update.all else { return }
            watch.needsAll = false
            watch.pending = OwnAnswer(all, keeps: false)
        } else {
            watch.pending = OwnAnswer(update.changes, keeps: false)
        }
        sendLive()
    }

    private func sendLive() {
        guard case .own(.watching(let watch)) = state else { return }
        if let pending = watch.pending {
            guard send(pending) else {
                if !hasAlarm { setAlarm(worker.plan.traffic.timeoutClient) }
                if wire.stream.hasFailed { close() }
                return
            }
            watch.pending = nil
        }
        setAlarm(nil)
    }
}

/// What is answered.
private struct OwnContent {
    var status: Int
    var type: String
    var body: [UInt8]
    /// Nil where the end of the connection is the end of the answer.
    var length: Int?
    /// Further lines of the head.
    var fields = ""

    init(status: Int, type: String, body: [UInt8]) {
        self.status = status
        self.type = type
        self.body = body
        length = body.count
    }

    static func text(_ status: Int, _ text: String) -> OwnContent {
        OwnContent(status: status, type: "text/plain; charset=utf-8", body: Array(text.utf8))
    }

    static func json(_ result: ActionResult) -> OwnContent {
        OwnContent(status: result.status, type: "application/json", body: Array(result.text.utf8))
    }
}

extension OwnPage {
    fileprivate var isMetrics: Bool { if case .metrics = kind { true } else { false } }
}
