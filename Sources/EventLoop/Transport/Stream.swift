// One connection's bytes and what is known of its readiness. The one home of the rule "who may call the kernel when".

/// A connected socket. The kernel tells of a change once (edge-triggered), so what it said is kept here until a call
/// finds it used up.
///
/// The invariant: while `mayRead` is true and its owner wants bytes, the owner calls `receive` or stands in the loop's
/// run queue; while `maySend` is false, an event will come.
public struct Stream {
    public let socket: SocketID
    /// Nil of a connection whose bytes are plain.
    public private(set) var tls: TLSSession?
    /// The kernel may hold bytes, or the end, that were not read.
    public private(set) var mayRead = false
    public private(set) var maySend = false
    /// The peer has finished sending, or the connection failed: bytes before that may still be there to read.
    public private(set) var isEnding = false
    public private(set) var hasFailed = false
    /// Neither side can send any more: of a peer that was not told to finish, it has gone.
    public private(set) var isOver = false

    public init(_ socket: SocketID, tls: TLSSession? = nil) {
        self.socket = socket
        self.tls = tls
    }

    /// Takes in what an event said.
    public mutating func note(_ readiness: Readiness) {
        if readiness.contains(.readable) { mayRead = true }
        if readiness.contains(.writable) { maySend = true }
        if !readiness.isDisjoint(with: [.peerFinished, .hungUp, .failed]) {
            isEnding = true
            mayRead = true
        }
        if readiness.contains(.failed) { hasFailed = true }
        if !readiness.isDisjoint(with: [.hungUp, .failed]) { isOver = true }
        if let tls { note(tls) }
    }

    /// Ciphertext is what the kernel speaks of.
    private mutating func note(_ tls: TLSSession) {
        if mayRead { tls.mayReceive = true }
        tls.maySend = maySend
        tls.isEnding = isEnding
        if maySend, tls.readWaitsForRoom { mayRead = true }
    }

    /// Reads once into the free end of `buffer`, which has one.
    ///
    /// A short read means the kernel has no more, unless the end is near: data and FIN arrive as one event, and after a
    /// short read nothing would follow.
    public mutating func receive(into buffer: Buffer, on network: any Network) -> Transfer {
        if let tls { return receive(into: buffer, tls) }
        let room = buffer.freeCount
        let transfer = network.receive(socket, into: buffer)
        switch transfer {
        case .moved(let count): if count < room, !isEnding { mayRead = false }
        case .wouldBlock: mayRead = false
        case .ended, .failed:
            isEnding = true
            mayRead = false
        }
        return transfer
    }

    private mutating func receive(into buffer: Buffer, _ tls: TLSSession) -> Transfer {
        let transfer = tls.read(into: buffer)
        switch transfer {
        case .moved, .wouldBlock:
            // Asked of the record layer: what it has read may hold more than it gave.
            mayRead = tls.mayRead
            if case .wouldBlock = transfer { mayRead = false }
        case .ended, .failed:
            isEnding = true
            mayRead = false
        }
        maySend = tls.maySend
        return transfer
    }

    /// Sends `first`, then up to `limit` bytes of `second`, as far as the kernel takes them.
    public mutating func send(
        _ first: Buffer?, _ second: Buffer?, limit: Int, on network: any Network
    ) -> Transfer {
        if let tls { return send(first, second, limit: limit, tls) }
        let wanted = (first?.count ?? 0) + min(second?.count ?? 0, limit)
        let transfer = network.send(socket, first, second, limit: limit)
        switch transfer {
        case .moved(let count): if count < wanted { maySend = false }
        case .wouldBlock: maySend = false
        case .ended, .failed: isEnding = true
        }
        return transfer
    }

    /// In one record where that goes: what stands behind the first bytes joins them.
    private mutating func send(_ first: Buffer?, _ second: Buffer?, limit: Int, _ tls: TLSSession) -> Transfer {
        var limit = limit
        if let first, !first.isEmpty, let second, limit > 0, !tls.isMidRecord {
            let moved = first.append(second, min(limit, max(0, Self.largestRecord - first.count)))
            second.consume(moved)
            limit -= moved
        }
        var sent = 0
        var stop: Transfer?
        if let first, !first.isEmpty { stop = take(tls.write(first, limit: .max), first.isEmpty, &sent) }
        if let second, limit > 0, !second.isEmpty, stop == nil, first?.isEmpty ?? true {
            let wanted = min(second.count, limit)
            let transfer = tls.write(second, limit: limit)
            if case .moved(let count) = transfer {
                stop = take(transfer, count == wanted, &sent)
            } else {
                stop = take(transfer, false, &sent)
            }
        }
        maySend = tls.maySend && !tls.isMidRecord
        switch stop {
        case .ended?, .failed?: isEnding = true
        case .moved?, .wouldBlock?, nil: break
        }
        return sent > 0 ? .moved(sent) : stop ?? .moved(0)
    }

    /// - Returns: why nothing more can be sent now; nil where more can.
    private func take(_ transfer: Transfer, _ isAll: Bool, _ sent: inout Int) -> Transfer? {
        guard case .moved(let count) = transfer else { return transfer }
        sent += count
        return isAll ? nil : .wouldBlock
    }

    /// Bytes that one record holds (RFC 8446, 5.1).
    private static let largestRecord = 16 << 10

    // MARK: The ends

    /// Part of what was to be sent has left in a form that cannot be taken back.
    public var hasBegunRecord: Bool { tls?.isMidRecord == true }

    /// From here on its bytes are those of `session`.
    /// - Parameter read: what was read of them already; it is the session's from now on.
    public mutating func secure(_ session: TLSSession, read: Buffer?) {
        tls = session
        if let read { session.hold(read) }
        note(session)
    }

    /// From here on its bytes are those of the socket: its peer does not speak TLS, or all is said.
    public mutating func expose() {
        if let tls { mayRead = tls.mayReceive }
        tls = nil
    }

    /// Goes on with a handshake, which a plain connection has none of.
    public mutating func handshake() -> TLSSession.Step {
        guard let tls else { return .done }
        let step = tls.handshake()
        mayRead = tls.mayRead
        maySend = tls.maySend
        return step
    }

    /// Whether nothing has come, and no end: what belongs to TLS alone is read over.
    public mutating func isQuiet(on network: any Network) -> Bool {
        guard let tls else { return !mayRead && !network.hasInput(socket) }
        tls.mayReceive = true
        let isQuiet = tls.isQuiet()
        mayRead = !isQuiet
        return isQuiet
    }

    /// Tells the peer that nothing follows.
    /// - Returns: false where that has to wait for room; nothing was told then.
    public mutating func finishSending(on network: any Network) -> Bool {
        if let tls, !tls.finish() {
            maySend = false
            return false
        }
        network.finishSending(socket)
        return true
    }

    /// Closes it.
    /// - Parameter resetting: the peer sees a failure, never a proper end.
    public func close(resetting: Bool, on network: any Network) {
        if !resetting, let tls { _ = tls.finish() }
        network.close(socket, resetting: resetting)
    }
}
