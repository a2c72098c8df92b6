// The engine's view of the simulated world: the same seam as the system's network, edge-triggered as epoll is.
public import Addresses
public import EventLoop

/// One worker's simulated network.
public final class SimulatedNetwork: Network {
    private let world: SimulatedWorld
    private var sides: [Int32: Side] = [:]
    private var listeners: [Listening] = []
    private var nextListener: Int32 = -2
    private var ready: [(side: Side?, token: Token, readiness: Readiness)] = []
    private var batch: [ReadyEvent] = []
    private var closing: [Side] = []
    /// When the owner wants to be woken; nil is never.
    public private(set) var sleepsUntil: Duration?
    /// Connections that fail to be made at once, as when descriptors run out; in percent.
    public var failingConnects = 0

    /// A listener, its handle below -1.
    private struct Listening {
        let handle: Int32
        let endpoint: Endpoint
        let token: Token
        var backlog: [Side] = []
        var isAccepting = true
    }

    public init(_ world: SimulatedWorld) { self.world = world }

    public var openSockets: Int { sides.count }

    public var monotonicTime: Duration { world.now }
    public var wallSeconds: Int64 { 1_700_000_000 + Int64(world.now / .seconds(1)) }

    public func listen(_ socket: ListeningSocket, token: Token) throws(SystemError) -> SocketID {
        listeners.append(Listening(handle: nextListener, endpoint: socket.endpoint, token: token))
        world.listen(socket.endpoint, self, nextListener)
        nextListener -= 1
        return SocketID(rawValue: nextListener + 1)
    }

    public func dropNewConnections(on listener: SocketID) {
        if let index = index(listener) { world.stopListening(listeners[index].endpoint, self, listener.rawValue) }
    }

    private func index(_ listener: SocketID) -> Int? { listeners.firstIndex { $0.handle == listener.rawValue } }

    public func setAccepting(_ accepting: Bool, on listener: SocketID, token: Token) {
        if let index = index(listener) { listeners[index].isAccepting = accepting }
    }

    /// A client's connection arrives; false where nobody listens any more.
    func offer(_ side: Side, _ listener: Int32) -> Bool {
        guard let index = index(SocketID(rawValue: listener)) else { return false }
        listeners[index].backlog.append(side)
        return true
    }

    public func accept(on listener: SocketID) -> Acceptance {
        guard let index = index(listener), !listeners[index].backlog.isEmpty else { return .none }
        let side = listeners[index].backlog.removeFirst()
        side.network = self
        sides[Int32(side.id)] = side
        return .accepted(SocketID(rawValue: Int32(side.id)), peer: Endpoint(IPAddress(v4: 0x0a01_0203), port: 4000))
    }

    public func connect(to endpoint: Endpoint) throws(SystemError) -> SocketID {
        if failingConnects > 0, world.seed.chance(failingConnects) {
            throw SystemError(call: "socket", code: SystemError.tooManyFiles)
        }
        let side = world.connectEngine(self, to: endpoint)
        sides[Int32(side.id)] = side
        return SocketID(rawValue: Int32(side.id))
    }

    public func watch(_ socket: SocketID, token: Token) throws(SystemError) {
        guard let side = sides[socket.rawValue] else { return }
        side.token = token
        // Edge-triggered: what is true at the moment of watching is told once.
        var readiness: Readiness = side.isEstablished ? .writable : []
        if !side.inbox.isEmpty { readiness.insert(.readable) }
        if side.peerFinished { readiness.formUnion([.readable, .peerFinished]) }
        if side.isReset { readiness.formUnion([.readable, .writable, .peerFinished, .hungUp, .failed]) }
        if !readiness.isEmpty { ready.append((side, token, readiness)) }
    }

    func mark(_ side: Side, _ readiness: Readiness) {
        guard let token = side.token else { return }
        if let index = side.readyIndex, index < ready.count, ready[index].side === side {
            ready[index].readiness.formUnion(readiness)
        } else {
            side.readyIndex = ready.count
            ready.append((side, token, readiness))
        }
    }

    public func receive(_ socket: SocketID, into buffer: Buffer) -> Transfer {
        guard let side = sides[socket.rawValue] else { return .ended }
        guard !side.inbox.isEmpty else { return Self.end(of: side) }
        let bytes = side.take(buffer.freeCount)
        buffer.append { $0.put(bytes) }
        return .moved(bytes.count)
    }

    /// Why nothing is there to read.
    private static func end(of side: Side) -> Transfer {
        if side.isReset { return .failed(SystemError(call: "recv", code: SystemError.connectionReset)) }
        return side.peerFinished ? .ended : .wouldBlock
    }

    public func send(_ socket: SocketID, _ first: Buffer?, _ second: Buffer?, limit: Int) -> Transfer {
        guard let side = sides[socket.rawValue] else { return .ended }
        if side.isReset { return .failed(SystemError(call: "sendmsg", code: SystemError.connectionReset)) }
        var bytes = first?.copy() ?? []
        let head = bytes.count
        if let second { bytes += second.copy().prefix(limit) }
        let count = side.send(bytes)
        guard count > 0 else { return .wouldBlock }
        first?.consume(min(count, head))
        second?.consume(max(0, count - head))
        return .moved(count)
    }

    public func receive(_ socket: SocketID, into bytes: inout MutableRawSpan) -> Transfer {
        guard let side = sides[socket.rawValue] else { return .ended }
        guard !side.inbox.isEmpty else { return Self.end(of: side) }
        let taken = side.take(bytes.byteCount)
        unsafe bytes.withUnsafeMutableBytes { unsafe $0.copyBytes(from: taken) }
        return .moved(taken.count)
    }

    public func send(_ socket: SocketID, _ bytes: RawSpan) -> Transfer {
        guard let side = sides[socket.rawValue] else { return .ended }
        if side.isReset { return .failed(SystemError(call: "send", code: SystemError.connectionReset)) }
        let count = side.send(unsafe bytes.withUnsafeBytes { unsafe Array($0) })
        return count > 0 ? .moved(count) : .wouldBlock
    }

    public func hasInput(_ socket: SocketID) -> Bool {
        guard let side = sides[socket.rawValue] else { return true }
        return !side.inbox.isEmpty || side.peerFinished || side.isReset
    }

    public func limitDelivery(_ limit: Duration, on listener: SocketID) {}

    public func unsentCount(_ socket: SocketID) -> Int { sides[socket.rawValue]?.outstanding ?? 0 }

    public func finishSending(_ socket: SocketID) { sides[socket.rawValue]?.finish() }

    public func close(_ socket: SocketID, resetting: Bool) {
        if let index = index(socket) {
            let listener = listeners.remove(at: index)
            world.stopListening(listener.endpoint, self, listener.handle)
            for side in listener.backlog { side.reset() }
            return
        }
        guard let side = sides.removeValue(forKey: socket.rawValue) else { return }
        if resetting { side.reset() } else { side.close() }
        closing.append(side)
    }

    public func wait(atMost limit: Duration) -> Int {
        batch = []
        for listener in listeners where !listener.backlog.isEmpty && listener.isAccepting {
            batch.append(ReadyEvent(token: listener.token, readiness: .readable))
        }
        for event in ready where event.side?.isClosed != true {
            batch.append(ReadyEvent(token: event.token, readiness: event.readiness))
        }
        ready = []
        return batch.count
    }

    public func event(_ index: Int) -> ReadyEvent { batch[index] }

    public func willSleep(until deadline: Duration?) { sleepsUntil = deadline }

    public func endTurn() { closing = [] }

    public var wake: @Sendable () -> Void { {} }
}

extension Buffer {
    /// The filled bytes, for tests.
    public func copy() -> [UInt8] {
        withBytes { bytes in
            var copy: [UInt8] = []
            copy.reserveCapacity(bytes.count)
            for index in bytes.indices { copy.append(bytes[index]) }
            return copy
        }
    }
}

extension OutputSpan<UInt8> {
    /// Appends bytes that are known to fit.
    public mutating func put(_ bytes: [UInt8]) {
        for byte in bytes { append(byte) }
    }
}
