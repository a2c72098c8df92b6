// The system's network: one epoll set, Linux sockets. It keeps no table of connections; descriptors are the handles.
public import Addresses

/// Real sockets on one epoll set.
public final class EpollNetwork: Network {
    private let epoll: Epoll
    private let waker: EventWaker
    private let timer: TimerWaker
    private var closing: [Int32] = []
    /// Of listeners that have one.
    private var files: [(listener: Int32, file: SocketFile)] = []
    private var lastLimit = Duration.zero
    private var lastMilliseconds: Int32 = 0

    private static let wakerToken = Token(kind: Token.wakers, slot: 0, generation: 0)
    private static let timerToken = Token(kind: Token.wakers, slot: 1, generation: 0)

    public init() throws(SystemError) {
        epoll = try Epoll()
        waker = try EventWaker()
        timer = try TimerWaker()
        closing.reserveCapacity(Epoll.batch)
        try epoll.watchInput(waker.number, tag: Self.wakerToken.rawValue)
        try epoll.watchInput(timer.number, tag: Self.timerToken.rawValue)
    }

    /// The set's descriptor: readable while events wait. For the one dispatch source.
    var descriptor: Int32 { epoll.number }

    public func willSleep(until deadline: Duration?) { timer.arm(at: deadline) }

    public var monotonicTime: Duration { Machine.monotonicTime }
    public var wallSeconds: Int64 { Machine.wallSeconds }

    public func listen(_ socket: ListeningSocket, token: Token) throws(SystemError) -> SocketID {
        let descriptor = try socket.take()
        try epoll.watchListener(descriptor.number, tag: token.rawValue)
        if let file = socket.file { files.append((descriptor.number, file)) }
        return SocketID(rawValue: descriptor.release())
    }

    public func setAccepting(_ accepting: Bool, on listener: SocketID, token: Token) {
        if accepting {
            // It was watched before, so there is room for it in the set.
            try? epoll.watchListener(listener.rawValue, tag: token.rawValue)
        } else {
            epoll.remove(listener.rawValue)
        }
    }

    public func limitDelivery(_ limit: Duration, on listener: SocketID) {
        Socket.limitDelivery(listener.rawValue, milliseconds: Self.milliseconds(limit))
    }

    public func dropNewConnections(on listener: SocketID) {
        guard let file = files.first(where: { $0.listener == listener.rawValue })?.file else {
            return Socket.dropNewConnections(listener.rawValue)
        }
        file.remove()
    }

    public func accept(on listener: SocketID) -> Acceptance {
        do {
            guard let (number, peer) = try Socket.accept(listener.rawValue) else { return .none }
            return .accepted(SocketID(rawValue: number), peer: peer)
        } catch {
            return .failed(error)
        }
    }

    public func connect(to endpoint: Endpoint) throws(SystemError) -> SocketID {
        SocketID(rawValue: try Socket.connecting(to: endpoint).release())
    }

    public func watch(_ socket: SocketID, token: Token) throws(SystemError) {
        try epoll.watchSocket(socket.rawValue, tag: token.rawValue)
    }

    public func receive(_ socket: SocketID, into buffer: Buffer) -> Transfer {
        Socket.receive(socket.rawValue, into: buffer)
    }

    public func send(_ socket: SocketID, _ first: Buffer?, _ second: Buffer?, limit: Int) -> Transfer {
        Socket.send(socket.rawValue, first, second, limit: limit)
    }

    public func receive(_ socket: SocketID, into bytes: inout MutableRawSpan) -> Transfer {
        Socket.receive(socket.rawValue, into: &bytes)
    }

    public func send(_ socket: SocketID, _ bytes: RawSpan) -> Transfer { Socket.send(socket.rawValue, bytes) }

    public func hasInput(_ socket: SocketID) -> Bool { Socket.hasInput(socket.rawValue) }

    public func unsentCount(_ socket: SocketID) -> Int { Socket.unsentCount(socket.rawValue) }

    public func finishSending(_ socket: SocketID) { Socket.finishSending(socket.rawValue) }

    public func close(_ socket: SocketID, resetting: Bool) {
        if resetting { Socket.resetOnClose(socket.rawValue) }
        if !files.isEmpty { files.removeAll { $0.listener == socket.rawValue } }
        closing.append(socket.rawValue)
    }

    public func wait(atMost limit: Duration) -> Int {
        // Most waits are as long as the last one, and the division is the dearest part of a turn.
        if limit != lastLimit {
            lastLimit = limit
            lastMilliseconds = Self.milliseconds(limit)
        }
        return epoll.wait(milliseconds: lastMilliseconds)
    }

    /// Rounded up, so that a deadline has passed when its wait ends.
    private static func milliseconds(_ limit: Duration) -> Int32 {
        let (seconds, attoseconds) = limit.components
        let milliseconds = seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return Int32(clamping: max(0, milliseconds))
    }

    public func event(_ index: Int) -> ReadyEvent {
        let event = epoll.event(index)
        let token = Token(rawValue: event.tag)
        if token.kind == Token.wakers {
            if token == Self.wakerToken { waker.clear() } else { timer.clear() }
        }
        var readiness: Readiness = []
        if event.isReadable { readiness.insert(.readable) }
        if event.isWritable { readiness.insert(.writable) }
        if event.hasPeerFinished { readiness.insert(.peerFinished) }
        if event.isHungUp { readiness.insert(.hungUp) }
        if event.hasFailed { readiness.insert(.failed) }
        return ReadyEvent(token: token, readiness: readiness)
    }

    public func endTurn() {
        guard !closing.isEmpty else { return }
        for number in closing { _ = Descriptor(owning: number) }
        closing.removeAll(keepingCapacity: true)
    }

    public var wake: @Sendable () -> Void {
        let waker = waker
        return { waker.wake() }
    }
}
