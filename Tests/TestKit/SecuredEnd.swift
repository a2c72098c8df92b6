// TLS at a scripted peer's end of a simulated connection: the peer sends and takes plain bytes, and the world carries others.
import Addresses
import EventLoop

/// One end's TLS.
final class SecuredEnd {
    private unowned let side: Side
    private let network: EndNetwork
    private var stream: Stream
    /// Plain bytes that the peer has not taken.
    private var plain: [UInt8] = []
    private let block = Buffer(capacity: 32 << 10)
    private(set) var isReady = false
    private(set) var hasFailed = false
    /// The other end has said that nothing follows.
    private(set) var hasProperEnd = false

    init?(_ side: Side, _ make: (SocketID, any Network) -> TLSSession?) {
        self.side = side
        network = EndNetwork(side)
        let socket = SocketID(rawValue: Int32(side.id))
        guard let session = make(socket, network) else { return nil }
        stream = Stream(socket)
        stream.note(.writable)
        stream.secure(session, read: nil)
    }

    /// Something has come, or there is room: goes on with the handshake.
    /// - Returns: whether it is over now, and was not before.
    func advance(_ readiness: Readiness) -> Bool {
        stream.note(readiness)
        guard !isReady, !hasFailed else { return false }
        switch stream.handshake() {
        case .waiting: return false
        case .done: isReady = true
        case .failed: hasFailed = true
        }
        return isReady
    }

    func send(_ bytes: [UInt8]) -> Int {
        guard isReady, !hasFailed, !bytes.isEmpty else { return 0 }
        let buffer = Buffer(capacity: bytes.count)
        buffer.append { $0.put(bytes) }
        if case .moved(let count) = stream.send(buffer, nil, limit: 0, on: network) { return count }
        return 0
    }

    func take(_ count: Int) -> [UInt8] {
        while isReady, plain.count < count, stream.mayRead {
            switch stream.receive(into: block, on: network) {
            case .moved: break
            case .wouldBlock: continue
            case .ended: hasProperEnd = true
            case .failed: hasFailed = true
            }
            plain += block.copy()
            block.clear()
            if hasProperEnd || hasFailed { break }
        }
        let taken = Array(plain.prefix(count))
        plain.removeFirst(taken.count)
        return taken
    }

    /// Takes in all that has come before the end.
    func drain() {
        stream.note(.peerFinished)
        plain = take(.max)
    }

    func finish() { _ = stream.finishSending(on: network) }
}

/// What a session needs of a network: its end's bytes.
private final class EndNetwork: Network {
    private unowned let side: Side

    init(_ side: Side) { self.side = side }

    func receive(_ socket: SocketID, into bytes: inout MutableRawSpan) -> Transfer {
        let taken = side.takeRaw(bytes.byteCount)
        if taken.isEmpty { return side.peerFinished ? .ended : .wouldBlock }
        unsafe bytes.withUnsafeMutableBytes { unsafe $0.copyBytes(from: taken) }
        return .moved(taken.count)
    }

    func send(_ socket: SocketID, _ bytes: RawSpan) -> Transfer {
        let copy = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
        let count = side.sendRaw(copy)
        return count > 0 ? .moved(count) : .wouldBlock
    }

    func finishSending(_ socket: SocketID) {}

    // Nobody asks for the rest.
    var monotonicTime: Duration { side.world.now }
    var wallSeconds: Int64 { 0 }
    var wake: @Sendable () -> Void { {} }
    func listen(_ socket: ListeningSocket, token: Token) throws(SystemError) -> SocketID { SocketID(rawValue: -1) }
    func setAccepting(_ accepting: Bool, on listener: SocketID, token: Token) {}
    func limitDelivery(_ limit: Duration, on listener: SocketID) {}
    func dropNewConnections(on listener: SocketID) {}
    func accept(on listener: SocketID) -> Acceptance { .none }
    func connect(to endpoint: Endpoint) throws(SystemError) -> SocketID { SocketID(rawValue: -1) }
    func watch(_ socket: SocketID, token: Token) throws(SystemError) {}
    func receive(_ socket: SocketID, into buffer: Buffer) -> Transfer { .wouldBlock }
    func send(_ socket: SocketID, _ first: Buffer?, _ second: Buffer?, limit: Int) -> Transfer { .wouldBlock }
    func hasInput(_ socket: SocketID) -> Bool { false }
    func unsentCount(_ socket: SocketID) -> Int { 0 }
    func close(_ socket: SocketID, resetting: Bool) {}
    func wait(atMost limit: Duration) -> Int { 0 }
    func event(_ index: Int) -> ReadyEvent { ReadyEvent(token: Token(rawValue: 0), readiness: []) }
    func willSleep(until deadline: Duration?) {}
    func endTurn() {}
}

extension Side {
    /// Bytes have come to its peer.
    func tellReceived() {
        guard let secured else { peer?.received(self); return }
        if secured.advance(.readable) { peer?.mayWrite(self) }
        if secured.hasFailed { return giveUp() }
        if secured.isReady { peer?.received(self) }
    }

    func tellRoom() {
        guard let secured else { peer?.mayWrite(self); return }
        _ = secured.advance(.writable)
        if secured.isReady { peer?.mayWrite(self) }
    }

    /// The other end sends no more; over TLS that counts only where it was said.
    func tellFinished() {
        guard let secured else { peer?.finished(self); return }
        _ = secured.advance([.readable, .peerFinished])
        secured.drain()
        if secured.hasProperEnd { peer?.finished(self) } else { giveUp() }
    }

    private func giveUp() {
        guard !isClosed else { return }
        reset()
        peer?.wasReset(self)
    }
}
