// Settings made ready for the data path: built once for each configuration, shared by all workers, never changed. At most
// two plans live at a time: the one in effect, and the one that follows it until every worker has it.
import Addresses
import Balancing
public import Configuration
import EventLoop
import HTTP
import Relay

/// What a configuration says of requests, whatever their backend.
final class TrafficRules: Sendable {
    let requestLimits: RequestParser.Limits
    let responseLimits: ResponseParser.Limits
    let chunkLimits: ChunkDecoder.Limits
    let interimLimit: Int
    /// Of each client address.
    let clientLimits: ConnectionGate.Limits
    /// Bytes a second.
    let minimumSendRate: Int
    let minimumReadRate: Int
    let fields: FieldSettings
    let requestsPerConnection: Int
    let timeoutHead: Duration
    let timeoutKeepalive: Duration
    let timeoutClient: Duration
    /// When the system gives up a client that takes nothing, closed or not: a while after ballast itself, which says why.
    var deliveryLimit: Duration { timeoutClient + ClientPace.span * 2 }
    let trustedProxies: [CIDR]
    let bodyBuffer: Int
    let replayBudget: ReplayBudget
    /// Gets one line for each request; nil where none is wanted.
    let accessLog: (@Sendable (String) -> Void)?
    /// Bodies for ballast's own answers.
    let answers: AnswerBodies

    init(
        _ settings: Settings, replayBudget: ReplayBudget, answers: AnswerBodies,
        accessLog: (@Sendable (String) -> Void)?
    ) {
        requestLimits = RequestParser.Limits(
            head: settings.headLimit, target: settings.targetLimit, fields: settings.fieldsLimit,
            emptyLines: settings.emptyLinesLimit)
        responseLimits = ResponseParser.Limits(head: settings.responseHeadLimit, fields: settings.responseFieldsLimit)
        chunkLimits = ChunkDecoder.Limits(
            line: settings.chunkLineLimit, extensions: settings.chunkExtensionsLimit, trailers: settings.trailersLimit)
        interimLimit = settings.interimLimit
        clientLimits = ConnectionGate.Limits(
            connections: settings.maxConnectionsPerClient, rate: settings.connectionRatePerClient)
        minimumSendRate = settings.minimumSendRate
        minimumReadRate = settings.minimumReadRate
        self.answers = answers
        fields = FieldSettings(via: Array(settings.via.utf8), passesUnderscores: settings.passesUnderscores)
        requestsPerConnection = settings.requestsPerConnection
        timeoutHead = settings.timeoutHead
        timeoutKeepalive = settings.timeoutKeepalive
        timeoutClient = settings.timeoutClient
        trustedProxies = settings.trustedProxies
        bodyBuffer = settings.bodyBuffer
        self.replayBudget = replayBudget
        self.accessLog = accessLog
    }
}

/// What a configuration says of the requests to one backend. A request keeps the one that it began with; so it holds
/// nothing that grows with the number of servers.
public final class BackendPlan: Sendable {
    /// Without `servers`.
    public let settings: BackendSettings
    let shared: SharedBackend
    let traffic: TrafficRules
    let limits: TimeLimits
    let retryRule: RetryRule

    init(_ settings: BackendSettings, _ shared: SharedBackend, _ traffic: TrafficRules) {
        var settings = settings
        settings.servers = []
        self.settings = settings
        self.shared = shared
        self.traffic = traffic
        limits = TimeLimits(
            queue: settings.timeoutQueue, connect: settings.timeoutConnect, response: settings.timeoutResponse,
            idle: settings.timeoutIdle, request: settings.timeoutRequest)
        retryRule = RetryRule(retries: settings.retries, causes: settings.retryOn, replay: settings.replay)
    }
}

extension BackendSettings {
    var rules: BackendRules {
        BackendRules(
            health: HealthRule(isChecked: health != .off, rise: healthRise, fall: healthFall, busy: healthBusy),
            ejection: EjectionRule(after: ejectAfter, base: ejectFor, limitPercent: ejectLimit),
            slowStart: slowStart, queue: queue, retryBudgetPercent: retryBudget, patience: timeoutQueue,
            recovery: healthEvery * healthRise)
    }
}

/// What a listener's connections are for.
enum ListenerRole: Sendable, Equatable {
    /// Requests to the backend that their host and path lead to.
    case routed
    /// Requests to one backend.
    case backend(Int)
    /// ballast's own page and metrics.
    case stats
}

/// A listener as a configuration wants it.
struct ListenerPlan: Sendable {
    let settings: ListenerSettings
    let role: ListenerRole
    /// A port that is taken is told, and no more.
    let isOptional: Bool
    let shared: SharedListener
}

extension ListenerPlan {
    /// The address that its own socket is bound to.
    var address: IPAddress { settings.address ?? (Machine.hasIPv6 ? .anyIPv6 : .anyIPv4) }

    /// A socket bound to `endpoint` serves this listener as well, which asks for that address or for more. The system
    /// prefers it to the socket of more addresses; and closing it would reset who is just connecting there.
    func covers(_ endpoint: Endpoint, of other: SharedListener) -> Bool {
        guard settings.inherited == nil, other.identity.inherited == nil, settings.port == endpoint.port,
            settings.port != 0,
            other.identity.isStats == shared.identity.isStats
        else { return false }
        return address == endpoint.address
            || address.isUnspecified && (!address.isIPv4 || endpoint.address.isIPv4)
    }
}

/// A configuration ready for use.
public final class Plan: Sendable {
    public let backends: [BackendPlan]
    /// By backend, in the order of the configuration.
    let servers: [[Member]]
    let listeners: [ListenerPlan]
    let router: Router
    /// Where every routed request goes, when there is nothing to compare.
    let onlyBackend: Int?
    let traffic: TrafficRules
    let maxConnections: Int
    let replayMemory: Int

    init(
        _ settings: Settings, backends: [BackendPlan], servers: [[Member]], listeners: [ListenerPlan],
        traffic: TrafficRules
    ) {
        self.backends = backends
        self.servers = servers
        self.listeners = listeners
        self.traffic = traffic
        router = Router(backends.map(\.settings))
        onlyBackend = router.only
        maxConnections = settings.maxConnections
        replayMemory = settings.replayMemory
    }
}
