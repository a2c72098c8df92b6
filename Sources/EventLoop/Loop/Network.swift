// The seam between the engine and the world: sockets that never block, one wait for all of them, and time.
// The system is one implementation, the tests' simulated network another.
public import Addresses

/// A socket's handle; its meaning is the network's own.
public struct SocketID: Hashable, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
}

/// Names what an event or a deadline is for: a kind, a slot in the owner's table, and the slot's generation, so that
/// what comes late for an earlier tenant is told from what comes for the present one.
public struct Token: Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public init(kind: UInt8, slot: Int, generation: UInt32) {
        rawValue = UInt64(kind) << 56 | UInt64(generation & 0xff_ffff) << 32 | UInt64(UInt32(truncatingIfNeeded: slot))
    }

    public var kind: UInt8 { UInt8(rawValue >> 56) }
    public var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) & 0xff_ffff }
    public var slot: Int { Int(UInt32(truncatingIfNeeded: rawValue)) }

    /// The network's own events never reach the owner; this kind is theirs.
    static let wakers: UInt8 = 0xff
}

/// What a socket is ready for.
public struct Readiness: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let readable = Readiness(rawValue: 1)
    public static let writable = Readiness(rawValue: 2)
    /// The peer has finished sending.
    public static let peerFinished = Readiness(rawValue: 4)
    public static let hungUp = Readiness(rawValue: 8)
    public static let failed = Readiness(rawValue: 16)
}

public struct ReadyEvent: Sendable {
    public let token: Token
    public let readiness: Readiness

    public init(token: Token, readiness: Readiness) {
        self.token = token
        self.readiness = readiness
    }
}

public enum Acceptance: Sendable {
    case accepted(SocketID, peer: Endpoint)
    case none
    case failed(SystemError)
}

/// One loop's view of the world. All calls come from that loop's thread, except `wake`.
public protocol Network: AnyObject {
    /// The monotonic clock. Read once a turn by the loop's owner, which hands it on as `now`.
    var monotonicTime: Duration { get }
    /// Seconds since 1970, UTC, for `Date`.
    var wallSeconds: Int64 { get }

    /// Takes a listening socket over and watches it, level-triggered.
    func listen(_ socket: ListeningSocket, token: Token) throws(SystemError) -> SocketID
    /// Stops and resumes watching a listener; connections wait in its backlog meanwhile.
    func setAccepting(_ accepting: Bool, on listener: SocketID, token: Token)
    /// What connections accepted from now on have sent is given up when the peer's system has not taken it for so long, even
    /// after they were closed.
    func limitDelivery(_ limit: Duration, on listener: SocketID)
    /// A listener that will close lets no connection begin any more; those that have begun still arrive.
    func dropNewConnections(on listener: SocketID)
    func accept(on listener: SocketID) -> Acceptance

    /// Starts to connect; the socket becomes writable, or fails, when that is decided.
    func connect(to endpoint: Endpoint) throws(SystemError) -> SocketID
    /// Watches a connection for everything, edge-triggered, until it is closed.
    func watch(_ socket: SocketID, token: Token) throws(SystemError)

    func receive(_ socket: SocketID, into buffer: Buffer) -> Transfer
    /// Sends `first`, then up to `limit` bytes of `second`, and consumes what was taken from both.
    func send(_ socket: SocketID, _ first: Buffer?, _ second: Buffer?, limit: Int) -> Transfer
    /// The same for bytes that are nobody's block: ciphertext.
    func receive(_ socket: SocketID, into bytes: inout MutableRawSpan) -> Transfer
    func send(_ socket: SocketID, _ bytes: RawSpan) -> Transfer
    /// Whether a byte or the end can be read now.
    func hasInput(_ socket: SocketID) -> Bool
    /// Bytes given to `send` that the peer's system has not taken.
    func unsentCount(_ socket: SocketID) -> Int
    func finishSending(_ socket: SocketID)
    /// Closes at the end of the turn, so that no handle is used again within it.
    /// - Parameter resetting: the peer sees a failure, never a proper end.
    func close(_ socket: SocketID, resetting: Bool)

    /// Waits for events, for at most `limit`; returns how many there are.
    func wait(atMost limit: Duration) -> Int
    /// An event of the last `wait`.
    func event(_ index: Int) -> ReadyEvent
    /// The owner sleeps outside `wait`: be ready to end that at `deadline`; nil is never.
    func willSleep(until deadline: Duration?)
    /// Ends the turn: closes what was given to `close`.
    func endTurn()

    /// What makes `wait` return, from any thread.
    var wake: @Sendable () -> Void { get }
}
