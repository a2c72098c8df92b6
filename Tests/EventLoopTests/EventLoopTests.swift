// The loop's parts by themselves, and its rules on real sockets.
import Addresses
import Dispatch
import EventLoop
import Synchronization
import Testing

private func contents(_ buffer: Buffer) -> [UInt8] {
    buffer.withBytes { bytes in
        var copy: [UInt8] = []
        for index in bytes.indices { copy.append(bytes[index]) }
        return copy
    }
}

private func fill(_ buffer: Buffer, _ bytes: [UInt8]) {
    buffer.append { output in for byte in bytes { output.append(byte) } }
}

@Suite struct TimerTests {
    private let token = Token(kind: 1, slot: 7, generation: 3)

    @Test func deadlinesComeInOrder() {
        var heap = TimerHeap()
        let times = (0..<200).map { ($0 * 7919) % 1009 }
        for time in times { heap.add(token, at: .milliseconds(time)) }
        var popped: [Duration] = []
        while let (_, time) = heap.popDue(at: .seconds(2)) { popped.append(time) }
        #expect(popped == times.sorted().map { .milliseconds($0) })
        #expect(heap.next == nil)
    }

    @Test func nothingIsDueEarly() {
        var heap = TimerHeap()
        heap.add(token, at: .seconds(2))
        #expect(heap.popDue(at: .seconds(1)) == nil)
        #expect(heap.next == .seconds(2))
    }

    /// Moving a deadline later costs nothing; it comes due once, at its last time.
    @Test func alarmsMoveLaterWithoutTheHeap() {
        var heap = TimerHeap()
        var alarm = Alarm()
        alarm.set(.seconds(1), token: token, in: &heap)
        for second in 2...50 { alarm.set(.seconds(second), token: token, in: &heap) }
        #expect(heap.count == 1)
        let early = heap.popDue(at: .seconds(1))!
        #expect(alarm.isDue(early.time, now: .seconds(1), token: token, in: &heap) == false)
        let due = heap.popDue(at: .seconds(50))!
        #expect(alarm.isDue(due.time, now: .seconds(50), token: token, in: &heap) == true)
        #expect(heap.count == 0)
    }

    @Test func anEarlierDeadlineReplacesALaterOne() {
        var heap = TimerHeap()
        var alarm = Alarm()
        alarm.set(.seconds(75), token: token, in: &heap)
        alarm.set(.seconds(5), token: token, in: &heap)
        let due = heap.popDue(at: .seconds(5))!
        #expect(alarm.isDue(due.time, now: .seconds(5), token: token, in: &heap) == true)
        alarm.set(.seconds(100), token: token, in: &heap)
        let stale = heap.popDue(at: .seconds(75))!
        #expect(alarm.isDue(stale.time, now: .seconds(75), token: token, in: &heap) == false)
    }

    @Test func aClearedAlarmIsNeverDue() {
        var heap = TimerHeap()
        var alarm = Alarm()
        alarm.set(.seconds(1), token: token, in: &heap)
        alarm.set(nil, token: token, in: &heap)
        let entry = heap.popDue(at: .seconds(1))!
        #expect(alarm.isDue(entry.time, now: .seconds(1), token: token, in: &heap) == false)
    }
}

@Suite struct TransportTests {
    @Test func buffersFillAndEmpty() {
        let buffer = Buffer(capacity: 8)
        fill(buffer, [1, 2, 3, 4, 5])
        buffer.consume(3)
        #expect(contents(buffer) == [4, 5] && buffer.freeCount == 3)
        buffer.compact()
        #expect(contents(buffer) == [4, 5] && buffer.freeCount == 6)
        let other = Buffer(capacity: 4)
        #expect(other.append(buffer, 10) == 2)
        #expect(contents(other) == [4, 5])
        buffer.consume(2)
        #expect(buffer.isEmpty && buffer.freeCount == 8)
    }

    @Test func poolsGiveTheWarmestBlockAndCount() {
        let pool = BufferPool(blockSize: 64, keeps: 1)
        let first = pool.take()
        let second = pool.take()
        #expect(pool.outstanding == 2)
        pool.give(second)
        pool.give(first)
        #expect(pool.outstanding == 0)
        #expect(pool.take() === second)
    }

    @Test func tokensKeepTheirParts() {
        let token = Token(kind: 200, slot: 123_456, generation: 0xab_cdef)
        #expect(token.kind == 200 && token.slot == 123_456 && token.generation == 0xab_cdef)
    }

    @Test func slotsTellTenantsApart() {
        final class Thing {}
        var table = SlotTable<Thing>(kind: 1)
        var tokens: [Token] = []
        let first = table.insert { token in
            tokens.append(token)
            return Thing()
        }
        #expect(table[tokens[0]] === first)
        table.remove(tokens[0])
        let second = table.insert { token in
            tokens.append(token)
            return Thing()
        }
        #expect(tokens[1].slot == tokens[0].slot)
        #expect(table[tokens[0]] == nil && table[tokens[1]] === second)
        #expect(table.count == 1)
    }
}

/// An echo server on a real loop: what a loop must do, seen from a real client.
private final class Echo: Turning, @unchecked Sendable {
    let network: EpollNetwork
    let mailbox: Mailbox<Int>
    let seen = Mutex<[Int]>([])
    let isStopped = DispatchSemaphore(value: 0)
    private var streams: [Token: Stream] = [:]
    private let pool = BufferPool(blockSize: 1024)
    private var next = 1
    private var listener: SocketID?

    init() throws {
        network = try EpollNetwork()
        mailbox = Mailbox(wake: network.wake)
    }

    func listen(joining: Bool = false, port: UInt16 = 0) throws -> Endpoint {
        let token = Token(kind: 0, slot: 0, generation: 0)
        let socket = try ListeningSocket(on: Endpoint(.loopback, port: port), joining: joining)
        listener = try network.listen(socket, token: token)
        return socket.endpoint
    }

    func turn(waitingAtMost limit: Duration) -> Bool {
        let count = network.wait(atMost: limit)
        let mail = mailbox.take()
        for message in mail { seen.withLock { $0.append(message) } }
        if mail.contains(0) { isStopped.signal() }
        for index in 0..<count { handle(network.event(index)) }
        network.endTurn()
        if count == 0 { network.willSleep(until: nil) }
        return count > 0
    }

    private func handle(_ event: ReadyEvent) {
        if event.token.kind == 0 {
            guard case .accepted(let socket, _) = network.accept(on: listener!) else { return }
            let token = Token(kind: 1, slot: next, generation: 0)
            next += 1
            streams[token] = Stream(socket)
            try? network.watch(socket, token: token)
            return
        }
        guard var stream = streams[event.token] else { return }
        stream.note(event.readiness)
        let buffer = pool.take()
        while stream.mayRead {
            switch stream.receive(into: buffer, on: network) {
            case .moved: _ = stream.send(buffer, nil, limit: 0, on: network)
            case .wouldBlock: continue
            case .ended, .failed:
                network.close(stream.socket, resetting: false)
                streams[event.token] = nil
                pool.give(buffer)
                return
            }
        }
        pool.give(buffer)
        streams[event.token] = stream
    }
}

@Suite struct LoopTests {
    /// Bytes through a real loop come back, and data that arrives together with FIN is not lost.
    @Test func aLoopServesRealSockets() throws {
        let echo = try Echo()
        let endpoint = try echo.listen()
        let loop = Loop(label: "test.echo", network: echo.network, subject: echo)
        loop.start()
        let client = try EpollNetwork()
        for size in [1, 100, 900] {
            let socket = try client.connect(to: endpoint)
            try client.watch(socket, token: Token(kind: 1, slot: 0, generation: 0))
            var stream = Stream(socket)
            let output = Buffer(capacity: 1024)
            fill(output, (0..<size).map { UInt8($0 % 251) })
            let input = Buffer(capacity: 4096)
            var hasEnded = false
            while !hasEnded {
                let count = client.wait(atMost: .seconds(5))
                for index in 0..<count {
                    stream.note(client.event(index).readiness)
                    if stream.maySend, !output.isEmpty {
                        _ = stream.send(output, nil, limit: 0, on: client)
                        client.finishSending(socket)
                    }
                    while stream.mayRead {
                        if case .ended = stream.receive(into: input, on: client) { hasEnded = true }
                    }
                }
            }
            #expect(contents(input) == (0..<size).map { UInt8($0 % 251) })
            client.close(socket, resetting: false)
            client.endTurn()
        }
        withExtendedLifetime(loop) {}
    }

    @Test func mailWakesASleepingLoopInOrder() throws {
        let echo = try Echo()
        let loop = Loop(label: "test.mail", network: echo.network, subject: echo)
        loop.start()
        for message in 1...100 { echo.mailbox.send(message) }
        echo.mailbox.send(0)
        echo.isStopped.wait()
        #expect(echo.seen.withLock { $0 } == Array(1...100) + [0])
        withExtendedLifetime(loop) {}
    }

    /// The first socket of an address binds alone; the same process joins it; a stranger's first socket may not.
    @Test func aPortInUseIsAnError() throws {
        let first = try Echo()
        let endpoint = try first.listen()
        let second = try Echo()
        _ = try second.listen(joining: true, port: endpoint.port)
        let stranger = try Echo()
        #expect(throws: SystemError(call: "bind", code: SystemError.addressInUse)) {
            try stranger.listen(port: endpoint.port)
        }
    }

    @Test func aRefusedConnectionFails() throws {
        let network = try EpollNetwork()
        let socket = try network.connect(to: Endpoint(.loopback, port: 1))
        try network.watch(socket, token: Token(kind: 1, slot: 0, generation: 0))
        var stream = Stream(socket)
        while !stream.isEnding {
            let count = network.wait(atMost: .seconds(5))
            for index in 0..<count { stream.note(network.event(index).readiness) }
        }
        #expect(stream.hasFailed)
    }

    @Test func namesResolve() throws {
        #expect(try Resolver.addresses(of: "127.0.0.1") == [.loopback])
        #expect(try Resolver.addresses(of: "localhost").contains { $0.isLoopback })
        #expect(throws: Resolver.Failure.self) { try Resolver.addresses(of: "no-such-host.invalid") }
        #expect(Machine.usableProcessors >= 1)
    }
}
