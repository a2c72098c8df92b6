// The replica: one loop's connections, the line for its slots, and time. It knows no HTTP.
import Addresses
import EventLoop
import Glibc

/// Runs on its loop's queue alone.
final class Replica: Turning {
    let options: Options
    let network: EpollNetwork
    let pool = BufferPool(blockSize: 64 << 10)
    var timers = TimerHeap()
    private(set) var now: Duration
    private var connections = SlotTable<ReplicaConnection>(kind: 1)
    private var listener: SocketID?
    private var generating = 0
    private var waiting: [Token] = []
    private let startedAt: Duration
    private var hasFrozen = false
    private var failDebt = 0
    private var dropDebt = 0

    init(_ options: Options) throws(SystemError) {
        self.options = options
        network = try EpollNetwork()
        now = network.monotonicTime
        startedAt = now
    }

    /// Opens the listener; returns where.
    func listen() throws(SystemError) -> Endpoint {
        let endpoint = Endpoint(options.address, port: options.port)
        let socket = try ListeningSocket(on: endpoint, joining: false)
        listener = try network.listen(socket, token: Token(kind: 0, slot: 0, generation: 0))
        return socket.endpoint
    }

    func turn(waitingAtMost limit: Duration) -> Bool {
        let wait = timers.next.map { min(limit, max(.zero, $0 - now)) } ?? limit
        let count = network.wait(atMost: wait)
        now = network.monotonicTime
        freezeIfDue()
        for index in 0..<count {
            let event = network.event(index)
            switch event.token.kind {
            case 0: accept()
            case 1: connections[event.token]?.handle(event.readiness)
            case _: break
            }
        }
        while let (token, time) = timers.popDue(at: now) { connections[token]?.expire(time) }
        network.endTurn()
        if count > 0 { return true }
        if let next = timers.next, next <= now + limit { return true }
        network.willSleep(until: timers.next)
        return false
    }

    private func accept() {
        guard let listener else { return }
        while case .accepted(let socket, _) = network.accept(on: listener) {
            let connection = connections.insert { ReplicaConnection(token: $0, socket: socket, replica: self) }
            do { try network.watch(socket, token: connection.token) } catch { connection.close() }
        }
    }

    func remove(_ token: Token) { connections.remove(token) }

    // MARK: Faults

    /// Stops as a process does that got SIGSTOP, and goes on as if nothing had been.
    private func freezeIfDue() {
        guard let after = options.freezeAfter, !hasFrozen, now - startedAt >= after else { return }
        hasFrozen = true
        usleep(UInt32(clamping: Int(options.freezeFor / .microseconds(1))))
        now = network.monotonicTime
    }

    /// The model is there.
    var isLoaded: Bool { now - startedAt >= options.loadTime }

    /// Whether this request is one of those that fail: evenly spread, the same on every run.
    func failsNow() -> Bool { Self.isDue(options.fails, &failDebt) }
    func dropsNow() -> Bool { Self.isDue(options.drops, &dropDebt) }

    private static func isDue(_ percent: Int, _ debt: inout Int) -> Bool {
        debt += percent
        guard debt >= 100 else { return false }
        debt -= 100
        return true
    }

    // MARK: Slots

    /// Takes a slot, or puts the connection in line for one.
    func takeSlot(_ token: Token) -> Bool {
        if generating < options.slots {
            generating += 1
            return true
        }
        waiting.append(token)
        return false
    }

    /// Gives a slot to the first in line.
    func giveSlot() {
        generating -= 1
        while !waiting.isEmpty, generating < options.slots {
            let token = waiting.removeFirst()
            guard let connection = connections[token] else { continue }
            generating += 1
            connection.slotGranted()
        }
    }
}
