// Settings made ready for the data path: built once for each configuration, shared by all workers, never changed.
import Addresses
public import Balancing
public import Configuration
import EventLoop
import HTTP
import Relay

/// One backend with everything a request to it needs.
public final class BackendPlan: Sendable {
    public let backend: Backend
    public let settings: BackendSettings
    let limits: TimeLimits
    let retryRule: RetryRule
    /// `host:port` of each server as bytes, for requests without Host and for health checks.
    let authorities: [[UInt8]]

    /// - Parameter servers: the settings' servers, resolved.
    public init(_ settings: BackendSettings, servers: [Server]) {
        self.settings = settings
        // The configuration was checked: the name is in the catalog.
        let policy = PolicyCatalog.make(settings.balance, servers) ?? LeastConnections(servers)
        let rules = BackendRules(
            health: HealthRule(
                isChecked: settings.health != .off, rise: settings.healthRise, fall: settings.healthFall,
                busy: settings.healthBusy),
            ejection: EjectionRule(
                after: settings.ejectAfter, base: settings.ejectFor, limitPercent: settings.ejectLimit),
            slowStart: settings.slowStart, queue: settings.queue, retryBudgetPercent: settings.retryBudget,
            patience: settings.timeoutQueue, recovery: settings.healthEvery * settings.healthRise)
        backend = Backend(name: settings.name, servers: servers, policy: policy, rules: rules)
        limits = TimeLimits(
            queue: settings.timeoutQueue, connect: settings.timeoutConnect, response: settings.timeoutResponse,
            idle: settings.timeoutIdle)
        retryRule = RetryRule(
            retries: settings.retries, causes: settings.retryOn,
            replay: settings.replay)
        authorities = servers.map { Array($0.endpoint.description.utf8) }
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

/// A listener to open.
struct ListenerPlan: Sendable {
    let settings: ListenerSettings
    let role: ListenerRole
    /// A port that is taken is told, and no more.
    let isOptional: Bool
}

/// A configuration ready for use.
public final class Plan: Sendable {
    public let settings: Settings
    public let backends: [BackendPlan]
    let listeners: [ListenerPlan]
    let router: Router
    /// Where every routed request goes, when there is nothing to compare.
    let onlyBackend: Int?
    let requestLimits: RequestParser.Limits
    let fields: FieldSettings
    let replayBudget: ReplayBudget

    public init(_ settings: Settings, backends: [BackendPlan]) {
        self.settings = settings
        self.backends = backends
        var listeners = settings.listeners.map { ListenerPlan(settings: $0, role: .routed, isOptional: false) }
        for (index, backend) in settings.backends.enumerated() {
            listeners += backend.listeners.map { ListenerPlan(settings: $0, role: .backend(index), isOptional: false) }
        }
        listeners += settings.stats.listeners.map {
            ListenerPlan(settings: $0, role: .stats, isOptional: !settings.stats.isWritten)
        }
        self.listeners = listeners
        router = Router(backends.map(\.settings))
        onlyBackend = router.only
        requestLimits = RequestParser.Limits(
            head: settings.headLimit, target: settings.targetLimit, fields: settings.fieldsLimit)
        fields = FieldSettings(via: Array(settings.via.utf8), passesUnderscores: settings.passesUnderscores)
        replayBudget = ReplayBudget(limit: settings.replayMemory)
    }
}
