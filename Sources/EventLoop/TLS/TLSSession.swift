// One connection's TLS: plain bytes on its owner's side, ciphertext on the network's. It never waits, and decides nothing
// about what an end means.
import COpenSSL

/// A secured connection's state. Everything that it reads and writes goes through the network of its loop.
///
/// A record that the socket did not take whole is tried again with the same bytes, which stay in their owner's buffer until
/// then: so nothing that was handed over is ever waiting unseen.
@safe
public final class TLSSession {
    /// How far a handshake is.
    public enum Step: Sendable {
        case done
        /// The peer, or the socket's room, is waited for.
        case waiting
        case failed(TLSFailure)
    }

    let ssl: OpaquePointer
    private let network: any Network
    private let socket: SocketID
    /// Keeps what the callbacks of this connection need.
    private let origin: Origin
    /// What the kernel said, as far as no call has found it used up.
    var mayReceive = false
    var maySend = false
    /// The peer has finished sending, or the connection failed: a short read means nothing then.
    var isEnding = false
    /// What is read comes before anything can be.
    private(set) var readWaitsForRoom = false
    /// A record has begun to leave.
    private(set) var isMidRecord = false
    public private(set) var isEstablished = false
    /// Set once the peer's side, or everything, has ended.
    private var end: Transfer?
    /// The socket takes nothing any more. What the peer has said before may still be there to read.
    private var sendsFailed = false
    /// Tickets and changes of keys since data came last, and in the call under way. A few are all that anybody needs, and each
    /// costs more than a kilobyte of data.
    private var messages = 0
    private var messagesInCall = 0
    private static let mostMessages = 32
    private static let mostMessagesInCall = 8
    /// Ciphertext that was read before it was known to be that.
    private var held: Buffer?
    /// The first byte that came, before it is known whether this is TLS.
    private var firstByte: UInt8?
    /// Where the acceptor has put a server's connection.
    public internal(set) var chosen: TLSServerContext?
    /// Where it was accepted.
    var listener = ""

    enum Origin {
        case acceptor(TLSAcceptor)
        case client(TLSClientContext, TLSResumption?)
    }

    /// - Returns: nil where there is no memory.
    init?(_ context: TLSContext, _ origin: Origin, socket: SocketID, on network: any Network) {
        guard let ssl = unsafe SSL_new(context.pointer) else { return nil }
        unsafe self.ssl = ssl
        self.origin = origin
        self.network = network
        self.socket = socket
        // From here on, being freed frees it.
        guard let bio = unsafe SocketBIO.make(for: self) else { return nil }
        unsafe SSL_set_bio(ssl, bio, bio)
        unsafe copenssl_set_owner(ssl, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { unsafe SSL_free(ssl) }

    /// The session that OpenSSL calls back about.
    static func owner(of ssl: OpaquePointer?) -> TLSSession? {
        guard let ssl = unsafe ssl, let data = unsafe copenssl_owner(ssl) else { return nil }
        return unsafe Unmanaged<TLSSession>.fromOpaque(data).takeUnretainedValue()
    }

    var acceptor: TLSAcceptor? { if case .acceptor(let acceptor) = origin { acceptor } else { nil } }
    var resumption: TLSResumption? { if case .client(_, let resumption) = origin { resumption } else { nil } }
    /// A server's connection: the rules that it was made under.
    public var clientContext: TLSClientContext? { if case .client(let context, _) = origin { context } else { nil } }

    // MARK: Ciphertext

    func receiveCiphertext(into memory: UnsafeMutableRawBufferPointer) -> Transfer {
        if let held { return unsafe takeHeld(held, into: memory) }
        guard mayReceive else { return .wouldBlock }
        var bytes = unsafe MutableRawSpan(_unsafeBytes: memory)
        let transfer = network.receive(socket, into: &bytes)
        switch transfer {
        case .moved(let count):
            if firstByte == nil { firstByte = unsafe memory[0] }
            // As of plain bytes: data and the end arrive as one event.
            if count < memory.count, !isEnding { mayReceive = false }
        case .wouldBlock, .ended, .failed: mayReceive = false
        }
        return transfer
    }

    /// Reads `bytes` before anything that the socket has.
    func hold(_ bytes: Buffer) { if !bytes.isEmpty { held = bytes } }

    private func takeHeld(_ held: Buffer, into memory: UnsafeMutableRawBufferPointer) -> Transfer {
        let count = min(held.count, memory.count)
        unsafe memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: held.memory[..<count]))
        if firstByte == nil { firstByte = unsafe memory[0] }
        held.consume(count)
        if held.isEmpty { self.held = nil }
        return .moved(count)
    }

    func sendCiphertext(_ memory: UnsafeRawBufferPointer) -> Transfer {
        guard maySend else { return .wouldBlock }
        let transfer = unsafe network.send(socket, RawSpan(_unsafeBytes: memory))
        switch transfer {
        case .moved(let count): if count < memory.count { maySend = false }
        case .wouldBlock: maySend = false
        case .ended, .failed: break
        }
        return transfer
    }

    // MARK: Handshake

    /// Goes as far as the peer and the socket let it.
    public func handshake() -> Step {
        if isEstablished { return .done }
        if case .failed? = end { return .failed(TLSFailure(.closed, "the connection closed")) }
        TLSErrors.clear()
        let result = unsafe SSL_do_handshake(ssl)
        if result == 1 { return established() }
        switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .waiting
        case _:
            end = .failed(SystemError.secured)
            var failure = unsafe TLSErrors.takeFailure(verdict: SSL_get_verify_result(ssl))
            // OpenSSL knows some methods' names; any letter is no record's type.
            if let firstByte, (0x41...0x5a).contains(firstByte) { failure = TLSFailure(.plainHTTP, failure.text) }
            return .failed(failure)
        }
    }

    private func established() -> Step {
        // A ticket tells of a certificate that was good when it was made.
        if isResumed, acceptor != nil || clientContext?.verifies == true,
            let peer = unsafe SSL_get0_peer_certificate(ssl), unsafe X509_cmp_current_time(X509_get0_notAfter(peer)) < 0
        {
            end = .failed(SystemError.secured)
            return .failed(TLSFailure(.expired, "its certificate has expired since its ticket was made"))
        }
        isEstablished = true
        return .done
    }

    // MARK: Plain bytes

    /// Whether something may be there to read without another event.
    var mayRead: Bool { mayReceive || held != nil || end != nil || hasPending }

    private var hasPending: Bool { unsafe SSL_has_pending(ssl) == 1 }

    /// Reads into `buffer`, as much as there is and fits.
    func read(into buffer: Buffer) -> Transfer {
        if let end { return end }
        readWaitsForRoom = false
        messagesInCall = 0
        var total = 0
        while buffer.freeCount > 0 {
            TLSErrors.clear()
            let count = unsafe buffer.withFreeMemory { unsafe SSL_read(ssl, $0.baseAddress, Int32(clamping: $0.count)) }
            guard count > 0 else {
                let transfer = readStopped(count)
                return total > 0 ? .moved(total) : transfer
            }
            buffer.didFill(Int(count))
            total += Int(count)
            messages = 0
            // Where keys change with every piece of data, others come first.
            guard mayReceive || hasPending, messagesInCall < Self.mostMessagesInCall else { break }
        }
        return .moved(total)
    }

    /// A message that is no data has come after the handshake. OpenSSL would go on with them for as long as there are any:
    /// one too many is the end.
    func noteMessage() {
        guard isEstablished else { return }
        messages += 1
        messagesInCall += 1
        // It looks at this before each further record.
        if messages > Self.mostMessages { unsafe SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN) }
    }

    private func readStopped(_ result: Int32) -> Transfer {
        if messages > Self.mostMessages { end = .failed(SystemError.secured) }
        switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return .wouldBlock
        case SSL_ERROR_WANT_WRITE:
            readWaitsForRoom = true
            return .wouldBlock
        case SSL_ERROR_ZERO_RETURN: end = end ?? .ended
        // An end that nobody announced is a cut, whoever made it (RFC 8446, 6.1).
        case _: end = .failed(SystemError.secured)
        }
        TLSErrors.clear()
        return end ?? .wouldBlock
    }

    /// Reads over what is no data: tickets, changes of keys. True when nothing else has come.
    func isQuiet() -> Bool {
        guard end == nil else { return false }
        var byte: UInt8 = 0
        TLSErrors.clear()
        let count = unsafe SSL_peek(ssl, &byte, 1)
        guard count <= 0 else { return false }
        if case .wouldBlock = readStopped(count) { return true }
        return false
    }

    /// Sends from the front of `buffer`, at most `limit` bytes, and consumes what has left.
    func write(_ buffer: Buffer, limit: Int) -> Transfer {
        if case .failed? = end { return .failed(SystemError.secured) }
        if sendsFailed { return .failed(SystemError.secured) }
        var total = 0
        while total < limit, !buffer.isEmpty {
            TLSErrors.clear()
            let memory = unsafe buffer.memory
            let count = unsafe SSL_write(ssl, memory.baseAddress, Int32(clamping: min(memory.count, limit - total)))
            guard count > 0 else {
                let transfer = unsafe writeStopped(SSL_get_error(ssl, count))
                return total > 0 ? .moved(total) : transfer
            }
            isMidRecord = false
            buffer.consume(Int(count))
            total += Int(count)
        }
        return .moved(total)
    }

    private func writeStopped(_ error: Int32) -> Transfer {
        switch error {
        case SSL_ERROR_WANT_WRITE:
            isMidRecord = true
            return .wouldBlock
        case SSL_ERROR_WANT_READ: return .wouldBlock
        case SSL_ERROR_SYSCALL:
            TLSErrors.clear()
            sendsFailed = true
            return .failed(SystemError.secured)
        case _:
            TLSErrors.clear()
            end = .failed(SystemError.secured)
            return .failed(SystemError.secured)
        }
    }

    // MARK: The end

    /// Tells the peer that nothing follows (`close_notify`).
    /// - Returns: false while the socket has no room for it.
    func finish() -> Bool {
        guard isEstablished, !isMidRecord, !sendsFailed else { return true }
        if case .failed? = end { return true }
        TLSErrors.clear()
        let result = unsafe SSL_shutdown(ssl)
        guard result < 0 else { return true }
        let isFull = unsafe SSL_get_error(ssl, result) == SSL_ERROR_WANT_WRITE
        TLSErrors.clear()
        return !isFull
    }

    // MARK: What was agreed

    /// Like `TLSv1.3`.
    public var versionName: String { unsafe String(cString: SSL_get_version(ssl)) }

    /// In OpenSSL's words.
    public var cipherName: String {
        unsafe SSL_get_current_cipher(ssl).map { unsafe String(cString: SSL_CIPHER_get_name($0)) } ?? ""
    }

    public var isResumed: Bool { unsafe SSL_session_reused(ssl) == 1 }

    /// The client's certificate, which was verified; nil where there is none.
    public var clientCertificate: ClientCertificate? {
        guard let chosen, chosen.verifies != .off, let certificate = unsafe SSL_get0_peer_certificate(ssl),
            unsafe SSL_get_verify_result(ssl) == Int(X509_V_OK)
        else { return nil }
        return unsafe ClientCertificate(certificate)
    }
}

extension SystemError {
    /// A secured connection has failed: as one that was reset.
    public static var secured: SystemError { SystemError(call: "TLS", code: connectionReset) }
}
