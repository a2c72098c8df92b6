// A whole run from one seed: origins, clients and what befalls them, then the reckoning.
import Addresses
import Balancing
import Configuration
public import Engine
import EventLoop
import Metrics

/// One simulated run.
public final class Scenario {
    public let number: UInt64
    public let world: SimulatedWorld
    public let judge = Judge()
    public private(set) var worker: Worker
    public let network: SimulatedNetwork
    private var seed: Seed
    private var origins: [ScriptedOrigin] = []
    private var clients: [ScriptedClient] = []
    private var posts: [String] = []
    private let plan: Plan
    private static let listener = Endpoint(.loopback, port: 8080)

    public init(_ number: UInt64, recording: Bool = false) throws {
        self.number = number
        var seed = Seed(number)
        world = SimulatedWorld(
            seed: seed.split(), window: seed.pick([700, 5000, 65_536, 300_000]), latency: seed.pick([0, 2, 30]))
        world.isRecording = recording
        network = SimulatedNetwork(world)
        var backend = BackendSettings(name: "sim")
        backend.balance = seed.pick(["round-robin", "least-connections"])
        backend.timeoutConnect = .seconds(2)
        backend.timeoutResponse = .seconds(3)
        backend.timeoutIdle = .seconds(3)
        backend.healthEvery = .milliseconds(seed.pick(200...2000))
        backend.healthTimeout = .milliseconds(500)
        backend.health = seed.chance(80) ? .auto : .off
        var settings = Settings()
        settings.timeoutHead = .seconds(2)
        settings.timeoutKeepalive = .seconds(5)
        settings.timeoutClient = .seconds(2)
        let count = seed.pick(1...4)
        let servers = (0..<count).map {
            Server(name: "s\($0)", endpoint: Endpoint(IPAddress(v4: 0x0a00_0001 + UInt32($0)), port: 8000))
        }
        plan = Plan(settings, backends: [BackendPlan(backend, servers: servers)])
        worker = Worker(
            network: network, plan: plan, log: EventLog(level: .debug) { _ in },
            budget: ClientBudget(limit: seed.pick([3, 1000])),
            checksHealth: true, seed: seed.next(), drained: {})
        self.seed = seed
        _ = try worker.listen(on: Self.listener, joining: false)
        makeOrigins(servers)
        makeClients()
    }

    // MARK: Cast

    private func makeOrigins(_ servers: [Server]) {
        for server in servers {
            var profile = OriginProfile()
            switch seed.pick(0...6) {
            case 0: profile.refuses = true
            case 1: profile.resetBeforeAnswer = 30
            case 2: profile.resetInAnswer = 30
            case 3: profile.garbage = 30
            case 4: profile.silent = 20
            case _: break
            }
            if seed.chance(30) { profile.closesAfterAnswer = 40 }
            if seed.chance(20) { profile.answersEarly = 40 }
            let origin = ScriptedOrigin(world, endpoint: server.endpoint, profile: profile, judge: judge)
            origins.append(origin)
            if seed.chance(25) {
                let death = seed.milliseconds(0...3000)
                world.schedule(after: death) { origin.die() }
                world.schedule(after: death + seed.milliseconds(100...2000)) { origin.revive() }
            }
        }
        if seed.chance(10) { network.failingConnects = 20 }
    }

    private func makeClients() {
        for index in 0..<seed.pick(1...12) {
            var manners = ClientManners()
            manners.pipelines = seed.chance(25)
            if seed.chance(20) { manners.leavesAfter = seed.milliseconds(0...800) }
            manners.leavesByReset = seed.chance(50)
            if seed.chance(10) { manners.readsSlowly = seed.pick(500...20_000) }
            if seed.chance(10) { manners.sendsSlowly = seed.pick(50...2000) }
            if seed.chance(10) { manners.malformed = seed.pick(Self.malformed) }
            let requests = (0..<seed.pick(1...6)).map { makeRequest("c\(index)r\($0)") }
            let client = ScriptedClient(world, judge: judge, requests: requests, manners: manners)
            clients.append(client)
            world.schedule(after: seed.milliseconds(0...2000)) { client.start(Self.listener) }
        }
    }

    private static let malformed = [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\n\n", "\u{16}\u{3}\u{1}hello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /x/1/length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        // A body that never begins.
        "POST /x/1/length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
    ]

    private func makeRequest(_ nonce: String) -> ScriptedRequest {
        var request = ScriptedRequest(nonce: nonce, method: seed.pick(["GET", "GET", "POST", "POST", "PUT", "HEAD"]))
        request.answerSize = seed.pick([0, 1, 50, 5000, 100_000, 400_000])
        request.kind = seed.pick(["length", "chunked", "close", "interim"])
        if request.kind == "close", request.answerSize == 0 { request.kind = "length" }
        if request.method == "POST" || request.method == "PUT" {
            request.bodySize = seed.pick([0, 1, 200, 70_000, 300_000])
            request.isChunked = seed.chance(40)
            request.expectsContinue = request.bodySize != 0 && seed.chance(20)
        }
        if request.method == "POST" { posts.append(nonce) }
        return request
    }

    // MARK: Running

    /// Runs until nothing more can happen; `limit` turns at most, so that a loop shows.
    public func run(limit: Int = 400_000) {
        var turns = 0
        var hasDrained = false
        while turns < limit {
            turns += 1
            if worker.turn(waitingAtMost: .zero) { continue }
            let isOver = clients.allSatisfy(\.isOver)
            if isOver, !hasDrained {
                hasDrained = true
                worker.mailbox.send(.drain)
                continue
            }
            guard let next = [world.nextEvent, network.sleepsUntil].compactMap({ $0 }).min() else { break }
            world.advance(to: next)
        }
        if turns >= limit { judge.complain("no end after \(limit) turns") }
        reckon()
    }

    private func reckon() {
        for nonce in posts where judge.executions[nonce, default: 0] > 1 {
            judge.complain("POST \(nonce) ran \(judge.executions[nonce, default: 0]) times")
        }
        let holdings = worker.holdings
        if holdings != Worker.Holdings() { judge.complain("held at the end: \(holdings)") }
        if network.openSockets > 0 { judge.complain("\(network.openSockets) sockets are open at the end") }
        let inflight = plan.backends[0].backend.inflight
        if inflight.contains(where: { $0 != 0 }) { judge.complain("slots held at the end: \(inflight)") }
        let snapshot = Snapshot([worker.counters])
        let ended =
            snapshot[.responses2xx] + snapshot[.responses3xx] + snapshot[.responses4xx] + snapshot[.responses5xx]
            + snapshot.clientsLeft
        if ended != snapshot[.requests] {
            judge.complain("\(snapshot[.requests]) requests, but \(ended) ends: \(snapshot.summary)")
        }
    }

    /// What was wrong, with what is needed to see it again.
    public var complaints: [String] { judge.complaints.map { "seed \(number): \($0)" } }
}
