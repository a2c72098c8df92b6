// Settings made ready for the data path: built once for each configuration, shared by all workers, never changed. At most
// two plans live at a time: the one in effect, and the one that follows it until every worker has it.
import Addresses
import Balancing
public import Configuration
import EventLoop
import HTTP
import Metrics
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
    /// Where `redirect-https` leads.
    let securePort: UInt16
    /// The value of Strict-Transport-Security; nil for none.
    let strictTransport: String?
    let timeoutHead: Duration
    let timeoutKeepalive: Duration
    let timeoutClient: Duration
    /// When the system gives up a client that takes nothing, closed or not: a while after ballast itself, which says why.
    var deliveryLimit: Duration { timeoutClient + ClientPace.span * 2 }
    let trustedProxies: [CIDR]
    let trustsLocalSockets: Bool
    /// A client that has finished sending may still read.
    let servesHalfClosed: Bool
    let bodyBuffer: Int
    let replayBudget: MemoryBudget
    let compressBudget: MemoryBudget
    /// Gets one line for each request; nil where none is wanted.
    let accessLog: (@Sendable (String) -> Void)?
    private let accessLogIsJSON: Bool
    /// Bodies for ballast's own answers.
    let answers: AnswerBodies

    init(
        _ settings: Settings, replayBudget: MemoryBudget, compressBudget: MemoryBudget, answers: AnswerBodies,
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
        fields = FieldSettings(
            via: Array(settings.via.utf8), passesUnderscores: settings.passesUnderscores,
            writesForwarded: settings.writesForwarded)
        requestsPerConnection = settings.requestsPerConnection
        securePort = settings.securePort ?? 443
        strictTransport = settings.strictTransport
        timeoutHead = settings.timeoutHead
        timeoutKeepalive = settings.timeoutKeepalive
        timeoutClient = settings.timeoutClient
        trustedProxies = settings.trustedProxies
        trustsLocalSockets = settings.trustsLocalSockets
        servesHalfClosed = settings.servesHalfClosed
        bodyBuffer = settings.bodyBuffer
        self.replayBudget = replayBudget
        self.compressBudget = compressBudget
        self.accessLog = accessLog
        accessLogIsJSON = settings.accessLogFormat == "json"
    }

    /// Tells of a request.
    func log(_ record: AccessRecord) { accessLog?(accessLogIsJSON ? record.json : record.text) }

    /// Who is at the other end of a connection.
    func identity(of peer: Endpoint) -> ClientIdentity { identity(of: peer.address) }

    /// The same by its address; a UNIX socket's peer has none.
    func identity(of ip: IPAddress?) -> ClientIdentity {
        guard let ip else { return ClientIdentity(nil, isTrusted: trustsLocalSockets) }
        return ClientIdentity(ip, isTrusted: trustedProxies.contains { $0.contains(ip) })
    }

    /// Whether the same peers are trusted.
    func trustsAs(_ other: TrafficRules) -> Bool {
        trustedProxies == other.trustedProxies && trustsLocalSockets == other.trustsLocalSockets
    }

    /// Whether a peer's connection begins with a header of the PROXY protocol: on a listener that says so, if the peer may
    /// speak for others. Who can open a UNIX socket may; and where nobody else can connect and nobody is named, everybody.
    func expectsProxyHeader(from peer: ClientIdentity, on listener: ListenerSettings) -> Bool {
        listener.hasProxyHeader
            && (peer.isTrusted || peer.ip == nil || listener.isLocal && trustedProxies.isEmpty)
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
    /// What requests and responses get and lose; nil for nothing.
    let requestEdits: FieldEdits?
    let responseEdits: FieldEdits?
    /// The same over TLS.
    let secureResponseEdits: FieldEdits?
    let requestTrailers: TrailerFields.Rule
    let responseTrailers: TrailerFields.Rule
    /// Nil where nothing is compressed.
    let compression: CompressionRules?
    /// Bytes that `responseEdits` can add to a head.
    let responseAddition: Int
    /// The longest first.
    let stripPrefixes: [[UInt8]]
    /// Protocols that a connection may switch to.
    let upgrades: FieldNameList
    /// Something is to be done about every request.
    let changesRequests: Bool

    init(_ settings: BackendSettings, _ shared: SharedBackend, _ traffic: TrafficRules) {
        var settings = settings
        settings.servers = []
        self.settings = settings
        self.shared = shared
        self.traffic = traffic
        limits = TimeLimits(
            queue: settings.timeoutQueue, connect: settings.timeoutConnect, response: settings.timeoutResponse,
            idle: settings.timeoutIdle, tunnel: settings.timeoutTunnel, request: settings.timeoutRequest)
        retryRule = RetryRule(retries: settings.retries, causes: settings.retryOn, replay: settings.replay)
        // A field that ballast makes for this backend is nobody else's.
        requestEdits = FieldEdits(
            settings.requestFields, backend: settings.name,
            own: settings.stripPrefixes.isEmpty ? nil : "X-Forwarded-Prefix")
        responseEdits = FieldEdits(
            settings.responseFields, backend: settings.name, own: settings.servedBy ? "X-Served-By" : nil)
        var secured = settings.responseFields
        if let value = traffic.strictTransport { secured.set("Strict-Transport-Security", value) }
        secureResponseEdits = FieldEdits(
            secured, backend: settings.name, own: settings.servedBy ? "X-Served-By" : nil)
        compression = CompressionRules(settings)
        requestTrailers = TrailerFields.Rule(
            others: requestEdits?.dropped, underscores: traffic.fields.passesUnderscores)
        responseTrailers = TrailerFields.Rule(others: responseEdits?.dropped)
        // X-Served-By has the names of a backend and of a server, each 262 bytes at most.
        responseAddition = secured.addition + (settings.servedBy ? 540 : 0)
        stripPrefixes = settings.stripPrefixes.map { Array($0.utf8) }.sorted { $0.count > $1.count }
        upgrades = FieldNameList(settings.upgrade)
        changesRequests = requestEdits != nil || !stripPrefixes.isEmpty
    }
}

extension FieldEdits {
    /// Nil where there is nothing to do.
    /// - Parameter own: a field that ballast writes itself.
    fileprivate convenience init?(_ rules: FieldRules, backend: String, own: String?) {
        guard rules != FieldRules() || own != nil else { return nil }
        let sets = rules.sets.map { rule in
            Field(
                name: rule.name,
                value: rule.value.map { part in
                    switch part {
                    case .text(let text): .text(Array(text.utf8))
                    case .variable(.client): .client
                    case .variable(.backend): .text(Array(backend.utf8))
                    case .variable(.server): .server
                    case .variable(.scheme): .scheme
                    case .variable(.host): .host
                    case .variable(.requestID): .requestID
                    }
                })
        }
        self.init(sets: sets, removes: rules.removes, own: own)
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
    /// ballast's own page and metrics; metrics alone.
    case stats, metrics
}

/// A listener as a configuration wants it.
struct ListenerPlan: Sendable {
    let settings: ListenerSettings
    let role: ListenerRole
    /// A port that is taken is told, and no more.
    let isOptional: Bool
    let shared: SharedListener
    /// Of ballast's own ones.
    let access: OwnAccess?
}

extension ListenerPlan {
    /// The address that its own socket is bound to.
    var address: IPAddress { settings.address ?? (Machine.hasIPv6 ? .anyIPv6 : .anyIPv4) }

    /// A socket bound to `endpoint` serves this listener as well, which asks for that address or for more. The system
    /// prefers it to the socket of more addresses; and closing it would reset who is just connecting there.
    func covers(_ endpoint: Endpoint, of other: SharedListener) -> Bool {
        guard settings.inherited == nil, other.identity.inherited == nil, settings.port == endpoint.port,
            settings.port != 0, let theirs = endpoint.address, other.identity.isStats == shared.identity.isStats
        else { return false }
        return address == theirs || address.isUnspecified && (!address.isIPv4 || theirs.isIPv4)
    }
}

/// A configuration ready for use.
public final class Plan: Sendable {
    public let backends: [BackendPlan]
    /// By backend, in the order of the configuration.
    let servers: [[SharedServer]]
    let listeners: [ListenerPlan]
    let router: Router
    /// Where every routed request goes, when there is nothing to compare.
    let onlyBackend: Int?
    let traffic: TrafficRules
    /// Of the files as they were when it was made.
    let security: Security
    /// Somebody may act from the page.
    let hasActions: Bool
    let hasAutoscalingAliases: Bool
    let maxConnections: Int
    let replayMemory: Int
    let compressMemory: Int

    init(
        _ settings: Settings, backends: [BackendPlan], servers: [[SharedServer]], listeners: [ListenerPlan],
        traffic: TrafficRules, security: Security
    ) {
        self.security = security
        self.backends = backends
        self.servers = servers
        self.listeners = listeners
        self.traffic = traffic
        router = Router(backends.map(\.settings))
        onlyBackend = router.only
        hasActions = !settings.stats.credentials.isEmpty
        hasAutoscalingAliases = settings.stats.aliases == "autoscaling"
        maxConnections = settings.maxConnections
        replayMemory = settings.replayMemory
        compressMemory = settings.compressMemory
    }
}
