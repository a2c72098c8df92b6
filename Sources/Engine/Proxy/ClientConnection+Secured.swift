// How a client's connection is secured before its first request, and what of that its requests go by.
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

extension ClientConnection {
    func shakeLater() {
        guard !isInLine else { return }
        isInLine = true
        worker.shakeLater(token, isFirst: wire.stream.tls == nil)
    }

    /// Goes on with the handshake, as far as the client and the socket let it.
    func shake() {
        isInLine = false
        guard case .handshake = state else { return }
        guard wire.stream.tls != nil || makeSession() else { return close(resetting: true) }
        switch wire.stream.handshake() {
        case .waiting: break
        case .done: isSecured()
        case .failed(let failure): fail(failure)
        }
    }

    /// Made with the first byte, and not before: who is silent costs nothing.
    private func makeSession() -> Bool {
        guard
            let session = worker.acceptor?.makeSession(
                wire.stream.socket, listener: listener.settings.text, on: worker.network)
        else { return false }
        wire.secure(session, worker.loop)
        return true
    }

    private func isSecured() {
        guard let tls = wire.stream.tls else { return }
        listenerMetrics.add(.secured)
        if tls.isResumed { listenerMetrics.add(.resumed) }
        certificate = tls.clientCertificate.map { CertificateFields($0) }
        state = .head
        setAlarm(worker.plan.traffic.timeoutHead)
        if wire.stream.mayRead { advance() }
    }

    private func fail(_ failure: TLSFailure) {
        listenerMetrics.add(ListenerCounter(failure.reason))
        let text = "\(listener.settings.text): \(identity.text): no handshake: \(failure.text)"
        worker.log.say(.debug, text)
        guard failure.reason == .plainHTTP else {
            // Whoever is let in by a certificate is somebody's client, who may be waiting for a word about it.
            if failure.reason.isOfCertificate { worker.warn(.clientCertificate, text) }
            // In TLS 1.3 the client is done by now, and may have sent its request: unread, it would make the close a reset,
            // which can overtake the alert.
            return startLingering()
        }
        worker.warn(
            .plainHTTP, "\(listener.settings.text): \(identity.text) speaks HTTP without TLS to a port that is secured")
        wire.expose(worker.loop)
        refuse(.badRequest(.plainHTTP))
    }

    /// The time for a handshake is up.
    func expireHandshake() {
        listenerMetrics.add(.failedTimeout)
        worker.log.say(.debug, "\(listener.settings.text): \(identity.text): no handshake within timeout-head")
        close(resetting: wire.stream.tls != nil)
    }

    /// What its answers say about coming back (RFC 6797, 7.2: over TLS alone).
    var strictTransport: String? { wire.stream.tls == nil ? nil : worker.plan.traffic.strictTransport }

    /// Whether the request is for a host whose clients are verified otherwise than this connection's was: what the handshake
    /// has shown says nothing about that host.
    func isForOtherHost(_ head: borrowing MessageHead, _ input: Buffer) -> Bool {
        guard let chosen = wire.stream.tls?.chosen, let acceptor = worker.acceptor, acceptor.verifiesClients else {
            return false
        }
        let host = input.withBytes { Router.hostName(head, $0) }
        guard !host.isEmpty else { return false }
        let wanted = acceptor.serving(String(decoding: host, as: UTF8.self))
        let isOther =
            wanted.rules.name != chosen.rules.name
            || wanted.rules.clientVerification != chosen.rules.clientVerification
        return isOther && (wanted.isVerifying || chosen.isVerifying)
    }

    /// Sends the client to the same address over TLS (RFC 9110, 15.4.9).
    func redirect(_ head: borrowing MessageHead, _ input: Buffer) {
        let port = worker.securePort
        let isHostKnown = !head.effectiveHost.isEmpty
        guard isHostKnown else { return refuse(.badRequest(.missingHost)) }
        let keeps = BodyFraming(request: head) == .none && mayPersist && Persistence.isKept(after: head)
        let connection: Forwarding.Connection = keeps ? head.version == .http10 ? .keepExplicitly : .keep : .close
        var context = Replies.Context(date: worker.date, connection: connection)
        var location = Array("https://".utf8)
        input.withBytes { bytes in
            context.fit(head, bytes)
            location += Router.hostName(head, bytes)
            if port != 443 { location += Array(":\(port)".utf8) }
            let target = head.target
            if target.isEmpty || bytes[target.start] != UInt8(ascii: "/") { location.append(UInt8(ascii: "/")) }
            for index in target.indices where bytes[index] != UInt8(ascii: "*") || target.count > 1 {
                location.append(bytes[index])
            }
        }
        if context.requestID.isEmpty { context.requestID = worker.makeRequestIDBytes() }
        countUnstarted(.answered, status: 308, id: context.requestID, isHeadWhole: true)
        wire.consume(head.byteCount, worker.loop)
        releaseDriver()
        Replies.writeRedirect(to: location, context, to: wire.outputBlock(worker.loop))
        if keeps, sendOutput() { startNextHead() } else { closeAfterAnswer() }
    }
}

extension TLSServerContext {
    fileprivate var isVerifying: Bool { rules.clientVerification != .off }
}

/// The field lines that tell a server of its client's certificate.
struct CertificateFields {
    let lines: [UInt8]
    /// For the log.
    let subject: [UInt8]

    init(_ certificate: ClientCertificate) {
        var lines: [UInt8] = []
        func add(_ name: String, _ value: [UInt8]) {
            guard !value.isEmpty else { return }
            lines += Array("X-Client-Cert-\(name): ".utf8) + value + Array("\r\n".utf8)
        }
        add("Subject", certificate.subject)
        add("SAN", certificate.names)
        add("Fingerprint", certificate.fingerprint)
        self.lines = lines
        subject = certificate.subject
    }
}

extension ListenerCounter {
    init(_ reason: TLSFailure.Reason) {
        switch reason {
        case .plainHTTP: self = .failedPlainHTTP
        case .version: self = .failedVersion
        case .cipher: self = .failedCipher
        case .application: self = .failedProtocol
        case .noCertificate: self = .failedNoCertificate
        case .unknownCA: self = .failedUnknownCA
        case .expired: self = .failedExpired
        case .revoked: self = .failedRevoked
        case .wrongName: self = .failedWrongName
        case .badCertificate: self = .failedBadCertificate
        case .unknownName: self = .failedUnknownName
        case .refused: self = .failedRefused
        case .closed: self = .failedClosed
        case .timeout: self = .failedTimeout
        case .malformed: self = .failedMalformed
        }
    }
}
