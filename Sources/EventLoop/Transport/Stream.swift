// One connection's bytes and what is known of its readiness. The one home of the rule "who may call the kernel when".

/// A connected socket. The kernel tells of a change once (edge-triggered), so what it said is kept here until a call
/// finds it used up.
///
/// The invariant: while `mayRead` is true and its owner wants bytes, the owner calls `receive` or stands in the loop's
/// run queue; while `maySend` is false, an event will come.
public struct Stream {
    public let socket: SocketID
    /// The kernel may hold bytes, or the end, that were not read.
    public private(set) var mayRead = false
    public private(set) var maySend = false
    /// The peer has finished sending, or the connection failed: bytes before that may still be there to read.
    public private(set) var isEnding = false
    public private(set) var hasFailed = false
    /// Neither side can send any more: of a peer that was not told to finish, it has gone.
    public private(set) var isOver = false

    public init(_ socket: SocketID) { self.socket = socket }

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
    }

    /// Reads once into the free end of `buffer`, which has one.
    ///
    /// A short read means the kernel has no more, unless the end is near: data and FIN arrive as one event, and after a
    /// short read nothing would follow.
    public mutating func receive(into buffer: Buffer, on network: any Network) -> Transfer {
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

    /// Sends `first`, then up to `limit` bytes of `second`, as far as the kernel takes them.
    public mutating func send(
        _ first: Buffer?, _ second: Buffer?, limit: Int, on network: any Network
    ) -> Transfer {
        let wanted = (first?.count ?? 0) + min(second?.count ?? 0, limit)
        let transfer = network.send(socket, first, second, limit: limit)
        switch transfer {
        case .moved(let count): if count < wanted { maySend = false }
        case .wouldBlock: maySend = false
        case .ended, .failed: isEnding = true
        }
        return transfer
    }
}
