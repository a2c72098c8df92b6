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
    /// `host:port` of each server as bytes, for requests without Host and for health checks.
    let authorities: [[UInt8]]

    /// - Parameter servers: the settings' servers, resolved.
    public init(_ settings: BackendSettings, servers: [Server]) {
        self.settings = settings
        // The configuration was checked: the name is in the catalog.
        let policy = PolicyCatalog.make(settings.balance) ?? LeastConnections()
        backend = Backend(
            name: settings.name, servers: servers, policy: policy,
            health: HealthMachine(
                isChecked: settings.health != .off, rise: settings.healthRise, fall: settings.healthFall))
        limits = TimeLimits(
            connect: settings.timeoutConnect, response: settings.timeoutResponse, idle: settings.timeoutIdle)
        authorities = servers.map { Array($0.endpoint.description.utf8) }
    }
}

/// A configuration ready for use.
public final class Plan: Sendable {
    public let settings: Settings
    public let backends: [BackendPlan]
    let requestLimits: RequestParser.Limits
    let fields: FieldSettings

    public init(_ settings: Settings, backends: [BackendPlan]) {
        self.settings = settings
        self.backends = backends
        requestLimits = RequestParser.Limits(
            head: settings.headLimit, target: settings.targetLimit, fields: settings.fieldsLimit)
        fields = FieldSettings(via: Array(settings.via.utf8), passesUnderscores: settings.passesUnderscores)
    }
}
