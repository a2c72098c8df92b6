// A network and a clock in memory: connections with latency, windows and faults, all from one seed. Nothing here waits;
// time moves from one event to the next.
public import Addresses
public import EventLoop

/// What a connection's other side is told; scripted clients and origins implement it.
public protocol Peer: AnyObject {
    func connected(_ side: Side)
    func received(_ side: Side)
    /// The other side has finished sending.
    func finished(_ side: Side)
    func wasReset(_ side: Side)
    /// There is room to send again.
    func mayWrite(_ side: Side)
}

/// One end of a simulated connection.
public final class Side {
    let world: SimulatedWorld
    let id: Int
    /// The engine's end has a token instead of a peer.
    var token: Token?
    weak var network: SimulatedNetwork?
    public weak var peer: (any Peer)?
    /// Of a peer whose connection is secured.
    var secured: SecuredEnd?
    var other: Side!
    public internal(set) var inbox: [UInt8] = []
    /// Bytes sent that the other end has not read.
    var outstanding = 0
    var isEstablished = false
    public internal(set) var hasFinished = false
    public internal(set) var peerFinished = false
    public internal(set) var isReset = false
    public internal(set) var isClosed = false
    var isShort = false
    public internal(set) var wasRefused = false
    /// Where its event of this turn stands, if it has one.
    var readyIndex: Int?
    /// Nothing that is sent may arrive before this: bytes stay in order.
    var lastDelivery = Duration.zero

    init(world: SimulatedWorld, id: Int) {
        self.world = world
        self.id = id
    }

    /// Bytes that can be sent now.
    public var room: Int { max(0, world.window - outstanding) }

    /// Takes what has arrived.
    public func take(_ count: Int = .max) -> [UInt8] { secured?.take(count) ?? takeRaw(count) }

    func takeRaw(_ count: Int) -> [UInt8] {
        let taken = Array(inbox.prefix(count))
        inbox.removeFirst(taken.count)
        world.wasRead(self, taken.count)
        return taken
    }

    /// Sends as much as there is room for; returns how much.
    @discardableResult
    public func send(_ bytes: [UInt8]) -> Int { secured?.send(bytes) ?? sendRaw(bytes) }

    func sendRaw(_ bytes: [UInt8]) -> Int { world.send(self, bytes) }

    public func finish() {
        if !isClosed, !isReset, !hasFinished { secured?.finish() }
        world.finish(self)
    }

    public func reset() { world.reset(self) }

    public func close() {
        if !isClosed, !isReset, !hasFinished { secured?.finish() }
        world.close(self)
    }
}

/// All connections, the clock, and everything that is going to happen.
public final class SimulatedWorld {
    private struct Pending: Comparable {
        let time: Duration
        let order: Int
        let run: () -> Void

        static func == (left: Pending, right: Pending) -> Bool { left.order == right.order }
        static func < (left: Pending, right: Pending) -> Bool {
            left.time != right.time ? left.time < right.time : left.order < right.order
        }
    }

    public private(set) var now = Duration.seconds(1000)
    public var seed: Seed
    let window: Int
    /// Longest time that bytes travel.
    let latency: Int
    /// A binary heap, the next event first.
    private var pending: [Pending] = []
    private var order = 0
    private var nextSide = 0
    private var listeners: [Endpoint: [(network: SimulatedNetwork, handle: Int32)]] = [:]
    private var origins: [Endpoint: () -> (any Peer)?] = [:]
    /// Whose packets vanish: connections to them are neither made nor refused.
    public var unreachable: Set<Endpoint> = []
    /// Makes the TLS of a client; nil where clients' connections are plain.
    public var securesClients: ((SocketID, any Network) -> TLSSession?)?
    /// The same of those origins whose connections are secured.
    public var secureOrigins: [Endpoint: (SocketID, any Network) -> TLSSession?] = [:]
    /// A running hash of everything that happened, for comparing runs.
    public private(set) var trace: UInt64 = 0xcbf2_9ce4_8422_2325
    public var isRecording = false
    public private(set) var record: [String] = []

    /// - Parameters:
    ///   - window: bytes that one side may have sent and not seen read.
    ///   - latency: longest travel in milliseconds.
    public init(seed: Seed, window: Int, latency: Int) {
        self.seed = seed
        self.window = window
        self.latency = latency
    }

    // MARK: Time

    public func schedule(after delay: Duration, _ run: @escaping () -> Void) {
        order += 1
        pending.append(Pending(time: now + delay, order: order, run: run))
        var child = pending.count - 1
        while child > 0, pending[child] < pending[(child - 1) / 2] {
            pending.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func popNext() -> Pending {
        let first = pending[0]
        let last = pending.removeLast()
        guard !pending.isEmpty else { return first }
        pending[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < pending.count && pending[child] < pending[least]
            {
                least = child
            }
            guard least != parent else { return first }
            pending.swapAt(parent, least)
            parent = least
        }
    }

    public var nextEvent: Duration? { pending.first?.time }

    /// Moves the clock to `time` and lets everything due happen.
    public func advance(to time: Duration) {
        now = max(now, time)
        while let first = pending.first, first.time <= now { popNext().run() }
    }

    public func note(_ text: @autoclosure () -> String) {
        let line = text()
        for byte in line.utf8 { trace = (trace ^ UInt64(byte)) &* 0x100_0000_01b3 }
        if isRecording { record.append("\(now - .seconds(1000)) \(line)") }
    }

    // MARK: Connections

    func listen(_ endpoint: Endpoint, _ network: SimulatedNetwork, _ handle: Int32) {
        listeners[endpoint, default: []].append((network, handle))
    }

    func stopListening(_ endpoint: Endpoint, _ network: SimulatedNetwork, _ handle: Int32) {
        listeners[endpoint]?.removeAll { $0.network === network && $0.handle == handle }
    }

    /// Connections to `endpoint` are given to what `accept` returns; nil refuses them.
    public func serve(_ endpoint: Endpoint, accept: @escaping () -> (any Peer)?) { origins[endpoint] = accept }

    private func makePair() -> (Side, Side) {
        let near = Side(world: self, id: nextSide)
        let far = Side(world: self, id: nextSide + 1)
        nextSide += 2
        near.other = far
        far.other = near
        return (near, far)
    }

    private func travel() -> Duration { latency == 0 ? .zero : seed.milliseconds(0...latency) }

    /// A scripted client connects to ballast; its side, or nil when nobody listens.
    public func connectClient(_ client: any Peer, to endpoint: Endpoint) -> Side? {
        guard let all = listeners[endpoint], !all.isEmpty else { return nil }
        let listener = all.count == 1 ? all[0] : seed.pick(all)
        let (near, far) = makePair()
        near.peer = client
        near.isEstablished = true
        far.isEstablished = true
        note("client \(near.id) connects")
        if let securesClients {
            near.secured = SecuredEnd(near, securesClients)
            _ = near.secured?.advance(.writable)
        }
        schedule(after: travel()) {
            guard !listener.network.offer(far, listener.handle) else { return }
            // Nobody listens there any more: to the client it is a connection that was never made.
            near.wasRefused = true
            far.reset()
        }
        return near
    }

    /// The engine connects to an origin.
    func connectEngine(_ network: SimulatedNetwork, to endpoint: Endpoint) -> Side {
        let (near, far) = makePair()
        near.network = network
        note("engine \(near.id) connects to \(endpoint)")
        schedule(after: travel()) { [self] in
            guard !near.isClosed, !unreachable.contains(endpoint) else { return }
            guard let accept = origins[endpoint], let origin = accept() else {
                note("refused \(near.id)")
                near.isReset = true
                signal(near, [.readable, .writable, .peerFinished, .hungUp, .failed])
                return
            }
            far.peer = origin
            near.isEstablished = true
            far.isEstablished = true
            if let secures = secureOrigins[endpoint] { far.secured = SecuredEnd(far, secures) }
            origin.connected(far)
            signal(near, .writable)
        }
        return near
    }

    // MARK: Bytes

    func send(_ side: Side, _ bytes: [UInt8]) -> Int {
        guard !side.isReset, !side.isClosed, !side.hasFinished else { return 0 }
        let count = min(bytes.count, side.room)
        if count < bytes.count { side.isShort = true }
        guard count > 0 else { return 0 }
        side.outstanding += count
        note("side \(side.id) sends \(count)")
        // Bytes of one call may arrive in several pieces.
        var start = 0
        while start < count {
            let piece = seed.chance(30) ? seed.pick(1...(count - start)) : count - start
            deliver(Array(bytes[start..<(start + piece)]), to: side.other)
            start += piece
        }
        return count
    }

    private func deliver(_ bytes: [UInt8], to side: Side) {
        arrive(at: side) { [self] in
            guard !side.isClosed, !side.isReset else {
                // Bytes for a closed end are answered with a reset.
                if side.isClosed { hitReset(side.other) }
                return
            }
            side.inbox += bytes
            signal(side, .readable)
            side.tellReceived()
        }
    }

    private func arrive(at side: Side, _ run: @escaping () -> Void) {
        let time = max(side.lastDelivery, now + travel())
        side.lastDelivery = time
        schedule(after: time - now, run)
    }

    func wasRead(_ side: Side, _ count: Int) {
        guard count > 0 else { return }
        let sender = side.other!
        sender.outstanding -= count
        guard sender.isShort, sender.room > 0 else { return }
        sender.isShort = false
        schedule(after: .zero) { [self] in
            guard !sender.isClosed, !sender.isReset else { return }
            signal(sender, .writable)
            sender.tellRoom()
        }
    }

    func finish(_ side: Side) {
        guard !side.hasFinished, !side.isReset, !side.isClosed else { return }
        side.hasFinished = true
        note("side \(side.id) finishes")
        let other = side.other!
        arrive(at: other) { [self] in
            guard !other.isClosed, !other.isReset else { return }
            other.peerFinished = true
            signal(other, [.readable, .peerFinished])
            other.tellFinished()
        }
    }

    func close(_ side: Side) {
        guard !side.isClosed else { return }
        // As the kernel does: unread bytes at a close make it a reset.
        if !side.inbox.isEmpty { return reset(side) }
        finish(side)
        side.isClosed = true
    }

    func reset(_ side: Side) {
        guard !side.isClosed || !side.isReset else { return }
        side.isClosed = true
        note("side \(side.id) resets")
        let other = side.other!
        arrive(at: other) { [self] in hitReset(other) }
    }

    private func hitReset(_ side: Side) {
        guard !side.isReset, !side.isClosed else { return }
        side.isReset = true
        signal(side, [.readable, .writable, .peerFinished, .hungUp, .failed])
        side.peer?.wasReset(side)
    }

    private func signal(_ side: Side, _ readiness: Readiness) {
        guard side.network != nil, !side.isClosed else { return }
        var all = readiness
        if side.isEstablished, side.room > 0 { all.insert(.writable) }
        side.network?.mark(side, all)
    }
}
