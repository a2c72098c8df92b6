// A whole run from one seed: origins, clients and what befalls them, then the reckoning.
import Addresses
import Balancing
import Configuration
public import Engine
import EventLoop
public import Metrics

/// One simulated run.
public final class Scenario {
    public let number: UInt64
    public let world: SimulatedWorld
    public let judge = Judge()
    public private(set) var workers: [Worker] = []
    private var networks: [SimulatedNetwork] = []
    private var seed: Seed
    private var origins: [ScriptedOrigin] = []
    private var clients: [ScriptedClient] = []
    /// Requests that must not run twice.
    private var posts: [String] = []
    private let shared: Shared
    private static let listener = Endpoint(.loopback, port: 8080)
    private let latency: Int
    /// Many clients at a few slots, most of whom leave: what a line must survive.
    private let isCrowded: Bool
    /// Connections of clients are secured, and those to servers.
    private let isSecure: Bool
    private let hasSecureServers: Bool

    public init(_ number: UInt64, recording: Bool = false) throws {
        self.number = number
        var seed = Seed(number)
        latency = seed.pick([0, 2, 30])
        world = SimulatedWorld(
            seed: seed.split(), window: seed.pick([700, 5000, 65_536, 300_000]), latency: latency)
        world.isRecording = recording
        let count = seed.pick(1...4)
        var backend = Self.makeBackend(&seed)
        isCrowded = seed.chance(20)
        if isCrowded {
            backend.maxconn = 1
            backend.queue = 1000
            backend.timeoutQueue = .milliseconds(seed.pick(50...500))
        }
        isSecure = seed.chance(15)
        let isSecuredBehind = seed.chance(15)
        hasSecureServers = isSecuredBehind
        let servers = (0..<count).map { index in
            Server(
                name: "s\(index)", endpoint: Endpoint(IPAddress(v4: 0x0a00_0001 + UInt32(index)), port: 8000),
                secureName: isSecuredBehind ? TestCertificate.name : nil,
                weight: seed.chance(15) ? seed.pick(0...5) : 1, maxconn: backend.maxconn,
                isBackup: seed.chance(10), isDisabled: seed.chance(5))
        }
        var settings = Settings()
        settings.timeoutHead = .seconds(2)
        settings.timeoutKeepalive = .seconds(5)
        settings.timeoutClient = .seconds(2)
        settings.servesHalfClosed = seed.chance(20)
        settings.maxConnections = isCrowded ? 1000 : seed.pick([3, 1000])
        settings.bodyBuffer = seed.pick([0, 1000, 1 << 20])
        settings.replayMemory = seed.pick([64 << 10, 64 << 20])
        settings.backends = [backend]
        settings.listeners = [
            ListenerSettings(
                text: ":8080", address: .loopback, port: 8080, position: Position(file: "sim", line: 1, column: 1))
        ]
        settings.listeners[0].isSecure = isSecure
        let workerCount = seed.pick([1, 1, 2, 3])
        shared = Shared(workerCount: workerCount, log: EventLog(level: .debug) { _ in })
        let security = try Self.security(isSecure, isSecuredBehind, world, servers)
        var proposal = shared.propose(settings, servers: [servers], security: security, accessLog: { _ in })
        _ = try shared.openListeners(of: &proposal) { endpoint, _, _ in ListeningSocket(simulating: endpoint) }
        for index in 0..<workerCount {
            let network = SimulatedNetwork(world)
            networks.append(network)
            workers.append(
                Worker(
                    index: index, network: network, shared: shared, plan: proposal.plan, seed: seed.next(), drained: {}
                ))
        }
        shared.introduce(workers)
        self.seed = seed
        shared.adopt(proposal, now: world.now) { _ in }
        makeOrigins(servers, maxconn: backend.maxconn)
        makeClients()
    }

    private static func makeBackend(_ seed: inout Seed) -> BackendSettings {
        var backend = BackendSettings(name: "sim")
        backend.balance = seed.pick(PolicyCatalog.rows.map(\.name))
        backend.timeoutConnect = .seconds(2)
        backend.timeoutResponse = .seconds(3)
        backend.timeoutIdle = .seconds(3)
        backend.timeoutTunnel = .seconds(3)
        backend.healthEvery = .milliseconds(seed.pick(200...2000))
        backend.healthTimeout = .milliseconds(500)
        backend.health = seed.pick([.auto, .auto, .auto, .tcp, .off])
        if seed.chance(50) {
            backend.maxconn = seed.pick(1...3)
            backend.queue = seed.pick([0, 2, 1000])
            backend.timeoutQueue = .milliseconds(seed.pick(50...3000))
        }
        backend.retries = seed.pick([0, 1, 1, 3])
        if seed.chance(40) {
            backend.retryOn.timeout = seed.chance(50)
            backend.retryOn.statuses = StatusSet(500...503)
        }
        backend.replay = seed.pick([.idempotent, .idempotent, .keyed])
        backend.retryBudget = seed.pick([0, 20, 100])
        backend.ejectAfter = seed.pick([0, 1, 5])
        backend.ejectFor = .milliseconds(seed.pick(50...1500))
        if seed.chance(30) { backend.slowStart = .seconds(2) }
        return backend
    }

    /// TLS of both sides, and of everybody whom they speak with.
    private static func security(
        _ isSecure: Bool, _ hasSecureServers: Bool, _ world: SimulatedWorld, _ servers: [Server]
    ) throws -> Security {
        let (acceptor, client) = (try TestCertificate.acceptor(), try TestCertificate.clientContext())
        if isSecure {
            world.securesClients = {
                client.makeSession($0, name: TestCertificate.name, resumption: nil, on: $1)
            }
        }
        for server in servers where hasSecureServers {
            world.secureOrigins[server.endpoint] = { acceptor.makeSession($0, listener: "origin", on: $1) }
        }
        return Security(
            acceptor: isSecure ? acceptor : nil, backends: hasSecureServers ? [("sim", client)] : [])
    }

    // MARK: Cast

    private func makeOrigins(_ servers: [Server], maxconn: Int) {
        for server in servers {
            var profile = OriginProfile()
            switch seed.pick(0...8) {
            case 0: profile.refuses = true
            case 1: profile.resetBeforeAnswer = 30
            case 2: profile.resetInAnswer = 30
            case 3: profile.garbage = 30
            case 4: profile.silent = 20
            case 5: profile.refusesWork = 40
            case 6: profile.failsWork = 40
            case _: break
            }
            if isCrowded { profile.thinkTime = nil }
            // With latency, an origin learns later than ballast that a request is over.
            if maxconn > 0, latency == 0 { profile.maxconn = maxconn }
            if seed.chance(30) { profile.closesAfterAnswer = 40 }
            if seed.chance(20) { profile.answersEarly = 40 }
            let origin = ScriptedOrigin(world, endpoint: server.endpoint, profile: profile, judge: judge)
            origins.append(origin)
            if seed.chance(25) {
                let death = seed.milliseconds(0...3000)
                world.schedule(after: death) { origin.die() }
                world.schedule(after: death + seed.milliseconds(100...2000)) { origin.revive() }
            }
            if seed.chance(20) {
                let start = seed.milliseconds(0...2000)
                world.schedule(after: start) { origin.freeze() }
                world.schedule(after: start + seed.milliseconds(500...6000)) { origin.thaw() }
            }
            if seed.chance(10) {
                let start = seed.milliseconds(0...2000)
                world.schedule(after: start) { [world] in world.unreachable.insert(server.endpoint) }
                world.schedule(after: start + seed.milliseconds(500...6000)) { [world] in
                    world.unreachable.remove(server.endpoint)
                }
            }
        }
        if seed.chance(10) { for network in networks { network.failingConnects = 20 } }
    }

    private func makeClients() {
        for index in 0..<(isCrowded ? seed.pick(20...40) : seed.pick(1...12)) {
            var manners = ClientManners()
            manners.pipelines = seed.chance(25)
            if seed.chance(isCrowded ? 70 : 20) { manners.leavesAfter = moment(within: isCrowded ? 300 : 800) }
            manners.leavesByReset = seed.chance(50)
            if seed.chance(10) { manners.readsSlowly = seed.pick(500...20_000) }
            if seed.chance(10) { manners.sendsSlowly = seed.pick(50...2000) }
            if seed.chance(10) { manners.malformed = seed.pick(Self.malformed) }
            var requests = (0..<seed.pick(1...6)).map { makeRequest("c\(index)r\($0)") }
            if seed.chance(15) {
                // Nothing can be asked behind it.
                var request = ScriptedRequest(nonce: "c\(index)t", method: "GET")
                request.tunnelSize = seed.pick([0, 1, 5000, 300_000])
                requests.append(request)
                manners.pipelines = false
            }
            let client = ScriptedClient(world, judge: judge, requests: requests, manners: manners)
            clients.append(client)
            world.schedule(after: moment(within: isCrowded ? 200 : 2000)) { client.start(Self.listener) }
        }
    }

    /// In a crowd, things happen at the same moments: a slot is handed to one who is just leaving.
    private func moment(within milliseconds: Int) -> Duration {
        isCrowded ? .milliseconds(10 * seed.pick(0...(milliseconds / 10))) : seed.milliseconds(0...milliseconds)
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
        request.isKeyed = seed.chance(20)
        // With a key, its server promises to run it once, however often it is sent.
        if request.method == "POST", !request.isKeyed { posts.append(nonce) }
        return request
    }

    // MARK: Running

    /// Runs until nothing more can happen; `limit` turns at most, so that a loop shows.
    public func run(limit: Int = 400_000) {
        var turns = 0
        var hasDrained = false
        while turns < limit {
            turns += 1
            var isBusy = false
            for worker in workers { isBusy = worker.turn(waitingAtMost: .zero) || isBusy }
            checkLimits()
            if isBusy { continue }
            let isOver = clients.allSatisfy(\.isOver)
            if isOver, !hasDrained {
                hasDrained = true
                shared.drain()
                continue
            }
            guard let next = ([world.nextEvent] + networks.map(\.sleepsUntil)).compactMap({ $0 }).min() else { break }
            world.advance(to: next)
        }
        if turns >= limit { judge.complain("no end after \(limit) turns") }
        reckon()
    }

    private func reckon() {
        for nonce in posts where judge.executions[nonce, default: 0] > 1 {
            judge.complain("POST \(nonce) ran \(judge.executions[nonce, default: 0]) times")
        }
        for worker in workers where worker.holdings != Worker.Holdings() {
            judge.complain("held at the end: \(worker.holdings)")
        }
        let open = networks.reduce(0) { $0 + $1.openSockets }
        if open > 0 { judge.complain("\(open) sockets are open at the end") }
        for report in shared.reports where report.waiting != 0 || report.servers.contains(where: { $0.inflight != 0 }) {
            judge.complain("slots held at the end: \(report)")
        }
        if shared.replayBudget.taken != 0 {
            judge.complain("\(shared.replayBudget.taken) bytes kept for replay at the end")
        }
        let requests = shared.requests
        if requests.responses + requests.clientsLeft != requests[.requests] {
            judge.complain("requests and their ends differ: \(requests.summary(connections: 0))")
        }
    }

    /// Never one over, and no usable slot free while someone waits.
    private func checkLimits() {
        for server in shared.reports.flatMap(\.servers)
        where server.server.maxconn > 0 && server.inflight > server.server.maxconn {
            judge.complain("\(server.server.name) has \(server.inflight), maxconn \(server.server.maxconn)")
        }
    }

    /// What became of the requests, for seeing that a search meets everything it is meant to meet.
    public var requests: Snapshot<RequestCounter> { shared.requests }

    /// What was wrong, with what is needed to see it again.
    public var complaints: [String] { judge.complaints.map { "seed \(number): \($0)" } }
}
