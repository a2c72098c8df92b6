// A run from one seed in which nothing is broken but the configuration changes all the time: every request must be
// answered whole and run once, whatever is added, removed, limited or stopped around it.
import Addresses
import Balancing
import Configuration
import Engine
import EventLoop
public import Metrics
import Synchronization

/// One simulated run.
public final class ReloadScenario {
    public let number: UInt64
    public let world: SimulatedWorld
    public let judge = Judge()
    public private(set) var reloads = 0
    private var workers: [Worker] = []
    private var networks: [SimulatedNetwork] = []
    private var seed: Seed
    private var clients: [ScriptedClient] = []
    /// Every replica there is, and which of them run.
    private var origins: [ScriptedOrigin] = []
    private var isRunning: [Bool] = []
    private let shared: Shared
    /// Every plan that was ever in effect, to see which live.
    private var plans: [WeakPlan] = []
    private let isDone = Flag()
    private var isReloading: Bool { !isDone.isSet }
    private var hasSecondListener = false
    /// The replicas that the configuration names, by backend.
    private var named: [[Int]] = [[], []]
    private static let first = Endpoint(.loopback, port: 8080)
    private static let second = Endpoint(.loopback, port: 8081)

    /// The rules of every backend that any request ever began under.
    private var rules: [WeakRules] = []

    private struct WeakPlan {
        weak var plan: Plan?
    }

    private struct WeakRules {
        weak var rules: BackendPlan?
    }

    /// - Parameters:
    ///   - clientCount: connections; nil leaves it to the seed.
    ///   - reloadCount: changes of the configuration during the run.
    public init(_ number: UInt64, clientCount: Int? = nil, reloadCount: Int = 12, recording: Bool = false) throws {
        self.number = number
        var seed = Seed(number)
        world = SimulatedWorld(
            seed: seed.split(), window: seed.pick([700, 5000, 65_536]), latency: seed.pick([0, 2, 10]))
        world.isRecording = recording
        let workerCount = seed.pick([1, 2, 3])
        shared = Shared(workerCount: workerCount, log: EventLog(level: .debug) { _ in })
        self.seed = seed
        makeOrigins()
        named = [[0, 1], [2]]
        var proposal = try propose()
        for index in 0..<workerCount {
            let network = SimulatedNetwork(world)
            networks.append(network)
            workers.append(
                Worker(
                    index: index, network: network, shared: shared, plan: proposal.plan, seed: self.seed.next(),
                    drained: {}))
        }
        shared.introduce(workers)
        adopt(&proposal)
        makeClients(clientCount ?? self.seed.pick(10...40))
        for _ in 0..<reloadCount {
            world.schedule(after: moment(0...2500)) { [weak self] in self?.reload() }
        }
        watchReplicas()
    }

    // MARK: Cast

    private func makeOrigins() {
        for index in 0..<8 {
            var profile = OriginProfile()
            profile.thinkTime = 0...seed.pick([1, 50, 400])
            profile.pace = seed.chance(60) ? seed.pick(20...400) : nil
            let endpoint = Endpoint(IPAddress(v4: 0x0a00_0001 + UInt32(index)), port: 8000)
            origins.append(ScriptedOrigin(world, endpoint: endpoint, profile: profile, judge: judge))
            isRunning.append(true)
        }
    }

    private func makeClients(_ count: Int) {
        for index in 0..<count {
            var manners = ClientManners()
            if seed.chance(10) { manners.readsSlowly = seed.pick(500...20_000) }
            if seed.chance(10) { manners.sendsSlowly = seed.pick(200...2000) }
            let requests = (0..<seed.pick(1...4)).map { makeRequest("c\(index)r\($0)") }
            let client = ScriptedClient(world, judge: judge, requests: requests, manners: manners)
            clients.append(client)
            let usesSecond = seed.chance(20)
            world.schedule(after: moment(10...2000)) { [weak self] in
                guard let self else { return }
                client.start(usesSecond && hasSecondListener ? Self.second : Self.first)
            }
        }
    }

    /// Half of all things happen at the same moments: clients connect while their listener is closed.
    private func moment(_ range: ClosedRange<Int>) -> Duration {
        seed.chance(50)
            ? seed.milliseconds(range) : .milliseconds(20 * seed.pick(range.lowerBound / 20...range.upperBound / 20))
    }

    private func makeRequest(_ nonce: String) -> ScriptedRequest {
        var request = ScriptedRequest(nonce: nonce, method: seed.pick(["GET", "POST", "POST", "PUT"]))
        request.answerSize = seed.pick([0, 1, 50, 5000, 40_000])
        request.kind = seed.pick(["length", "chunked", "chunked", "interim"])
        if request.method != "GET" {
            request.bodySize = seed.pick([0, 1, 200, 30_000])
            request.isChunked = seed.chance(40)
        }
        return request
    }

    // MARK: Configurations

    private func propose() throws -> Proposal {
        var settings = Settings()
        settings.timeoutHead = .seconds(30)
        settings.requestsPerConnection = seed.pick([1, 3, 10_000])
        settings.bodyBuffer = seed.pick([0, 1000, 1 << 20])
        settings.maxConnections = 20_000
        settings.listeners = [Self.listener(Self.first)] + (hasSecondListener ? [Self.listener(Self.second)] : [])
        var servers: [[Server]] = []
        for (index, members) in named.enumerated() where !members.isEmpty {
            var backend = BackendSettings(name: "b\(index)")
            backend.balance = seed.pick(PolicyCatalog.rows.map(\.name))
            if index == 1 { backend.paths = ["/c1r0", "/c2r1", "/c3r0"] }
            backend.maxconn = seed.pick([0, 1, 3, 20])
            backend.queue = 1_000_000
            backend.timeoutQueue = .seconds(3600)
            backend.timeoutResponse = .seconds(3600)
            backend.healthEvery = .milliseconds(seed.pick(200...2000))
            backend.health = seed.pick([.auto, .auto, .tcp, .off])
            backend.poolSize = seed.pick([0, 1, 128])
            backend.retries = seed.pick([0, 1])
            if seed.chance(30) { backend.slowStart = .seconds(1) }
            settings.backends.append(backend)
            servers.append(
                members.map { member in
                    Server(
                        name: "s\(member)", endpoint: origins[member].endpoint, weight: seed.pick(1...3),
                        maxconn: backend.maxconn, isBackup: seed.chance(10))
                })
        }
        var proposal = shared.propose(settings, servers: servers)
        _ = try shared.openListeners(of: &proposal) { endpoint, _, _ in ListeningSocket(simulating: endpoint) }
        plans.append(WeakPlan(plan: proposal.plan))
        rules += proposal.plan.backends.map { WeakRules(rules: $0) }
        return proposal
    }

    private static func listener(_ endpoint: Endpoint) -> ListenerSettings {
        ListenerSettings(
            text: ":\(endpoint.port)", address: endpoint.address, port: endpoint.port,
            position: Position(file: "sim", line: 1, column: 1))
    }

    private func adopt(_ proposal: inout Proposal) {
        isDone.set(false)
        let isDone = isDone
        shared.adopt(proposal, now: world.now) { _ in isDone.set(true) }
    }

    private func reload() {
        guard !isReloading else {
            world.schedule(after: .milliseconds(1)) { [weak self] in self?.reload() }
            return
        }
        reloads += 1
        world.note("reload \(reloads)")
        for _ in 0..<seed.pick(1...3) { change() }
        do {
            if seed.chance(20) {
                // Refused: made, and thrown away.
                _ = try propose()
                return
            }
            var proposal = try propose()
            adopt(&proposal)
        } catch {
            judge.complain("a reload failed: \(error)")
        }
    }

    /// One change of who is named.
    private func change() {
        let backend = seed.pick(0...1)
        let free = origins.indices.filter { index in isRunning[index] && !named.joined().contains(index) }
        switch seed.pick(0...9) {
        case 0...2:
            if let added = free.first { named[backend].append(added) }
        case 3...5:
            if named[backend].count > 1 { named[backend].remove(at: seed.pick(0...named[backend].count - 1)) }
        case 6:
            // All are replaced at once.
            if free.count > 1 { named[backend] = Array(free.prefix(2)) }
        case 7: named[1] = named[1].isEmpty ? Array(free.prefix(1)) : []
        case 8: named[0].reverse()
        case _: hasSecondListener.toggle()
        }
    }

    /// An operator's part: a replica that ballast has let go of is stopped, and some time later it runs again.
    private func watchReplicas() {
        world.schedule(after: .milliseconds(20)) { [weak self] in
            guard let self else { return }
            let inUse = shared.reports.flatMap(\.servers).map(\.server.endpoint)
            for index in origins.indices where isRunning[index] && !isReloading {
                guard !named.joined().contains(index), !inUse.contains(origins[index].endpoint), seed.chance(30) else {
                    continue
                }
                isRunning[index] = false
                world.note("replica \(index) stops")
                origins[index].die()
                world.schedule(after: seed.milliseconds(50...500)) { [self] in
                    origins[index].revive()
                    isRunning[index] = true
                }
            }
            if !clients.allSatisfy(\.isOver) { watchReplicas() }
        }
    }

    // MARK: Running

    /// Runs until nothing more can happen, for so many turns at most that a loop shows.
    public func run() {
        let limit = 1_000_000 + 4000 * clients.count
        var turns = 0
        var hasDrained = false
        while turns < limit {
            turns += 1
            var isBusy = false
            for worker in workers { isBusy = worker.turn(waitingAtMost: .zero) || isBusy }
            if turns % 64 == 0, plans.count(where: { $0.plan != nil }) > 2 {
                judge.complain("\(plans.count { $0.plan != nil }) plans live at a time")
            }
            if isBusy { continue }
            if clients.allSatisfy(\.isOver), !hasDrained {
                hasDrained = true
                shared.drain()
                continue
            }
            guard let next = ([world.nextEvent] + networks.map(\.sleepsUntil)).compactMap({ $0 }).min() else { break }
            world.advance(to: next)
        }
        if turns >= limit {
            let waiting = clients.filter { !$0.isOver }.map { "\($0.outcomes.keys.sorted())" }
            judge.complain("no end after \(limit) turns; clients that wait: \(waiting)")
        }
        reckon()
    }

    private func reckon() {
        for client in clients {
            for (nonce, outcome) in client.outcomes.sorted(by: { $0.key < $1.key }) {
                switch outcome {
                case .answered(200): if judge.executions[nonce] != 1 { judge.complain("\(nonce) did not run once") }
                case .answered(let status): judge.complain("\(nonce) was answered with \(status)")
                case .cut: judge.complain("the answer to \(nonce) was cut")
                // Never asked, because ballast closed the connection behind an answer, as it had said.
                case .none: if judge.executions[nonce] != nil { judge.complain("\(nonce) ran and was not answered") }
                }
            }
            for nonce in client.unanswered { judge.complain("\(nonce) was asked and not answered") }
        }
        for worker in workers where worker.holdings != Worker.Holdings() {
            judge.complain("held at the end: \(worker.holdings)")
        }
        let open = networks.reduce(0) { $0 + $1.openSockets }
        if open > 0 { judge.complain("\(open) sockets are open at the end") }
        for report in shared.reports where report.waiting != 0 || report.servers.contains(where: { $0.inflight != 0 }) {
            judge.complain("slots held at the end: \(report)")
        }
        if plans.count(where: { $0.plan != nil }) != 1 { judge.complain("more than one plan lives at the end") }
        let living = rules.count { $0.rules != nil }
        if living != shared.plan?.backends.count { judge.complain("\(living) backends' rules live at the end") }
        let requests = shared.requests
        if requests.responses != requests[.requests] {
            judge.complain("requests and their ends differ: \(requests.summary(connections: 0))")
        }
    }

    public var requests: Snapshot<RequestCounter> { shared.requests }

    /// What was wrong, with what is needed to see it again.
    public var complaints: [String] { judge.complaints.map { "seed \(number): \($0)" } }
}

/// A switch that workers may turn.
private final class Flag: Sendable {
    private let value = Atomic<Bool>(true)

    var isSet: Bool { value.load(ordering: .relaxed) }
    func set(_ isSet: Bool) { value.store(isSet, ordering: .relaxed) }
}
