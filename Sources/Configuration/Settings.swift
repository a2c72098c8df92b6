// The typed, immutable settings that the rest of ballast reads. It holds no text that still needs parsing.
public import Addresses
import Balancing

/// Where something stands in a configuration: for errors that turn up after parsing.
public struct Position: Hashable, Sendable, CustomStringConvertible {
    public var file: String
    /// Both from 1; 0 for settings that stand in no file.
    public var line: Int
    public var column: Int

    public init(file: String, line: Int, column: Int) {
        self.file = file
        self.line = line
        self.column = column
    }

    public var description: String { line == 0 ? file : "\(file):\(line):\(column)" }
}

/// One `listen`.
public struct ListenerSettings: Equatable, Sendable {
    /// What the configuration says, for messages.
    public var text: String
    /// Nil address is "all of this machine": dual stack where there is IPv6.
    public var address: IPAddress?
    public var port: UInt16
    public var position: Position

    public init(text: String, address: IPAddress?, port: UInt16, position: Position) {
        self.text = text
        self.address = address
        self.port = port
        self.position = position
    }
}

/// One `server`, or one address of `servers`: a host that may still need resolving.
public struct ServerSettings: Equatable, Sendable {
    /// From the configuration; nil where the address is the name.
    public var name: String?
    public var host: String
    public var port: UInt16
    /// From `servers`: every address of the host is a server of its own.
    public var isEachAddress: Bool
    public var position: Position

    /// `host:port`, brackets around IPv6.
    public var authority: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// How servers are checked.
public enum HealthCheckKind: Equatable, Sendable {
    /// `GET /health`; any complete answer below 500 passes.
    case auto
    case off
}

/// One `[backend]`, or the one that global settings make.
public struct BackendSettings: Sendable {
    public var name: String
    public var servers: [ServerSettings] = []
    public var balance = PolicyCatalog.defaultName
    public var timeoutConnect = Duration.seconds(5)
    public var timeoutResponse = Duration.seconds(3600)
    public var timeoutIdle = Duration.seconds(300)
    public var poolIdle = Duration.seconds(4)
    public var poolSize = 128
    public var health = HealthCheckKind.auto
    public var healthEvery = Duration.seconds(3)
    public var healthTimeout = Duration.seconds(2)
    public var healthFall = 3
    public var healthRise = 2

    public init(name: String) { self.name = name }
}

/// Everything a configuration says.
public struct Settings: Sendable {
    public var listeners: [ListenerSettings] = []
    /// Nil is `auto`: one for each processor.
    public var threads: Int?
    public var maxConnections = 10_000
    public var requestsPerConnection = 10_000
    public var headLimit = 32 << 10
    public var targetLimit = 8 << 10
    public var fieldsLimit = 128
    public var timeoutHead = Duration.seconds(10)
    public var timeoutKeepalive = Duration.seconds(75)
    public var timeoutClient = Duration.seconds(60)
    public var trustedProxies: [CIDR] = []
    /// Empty is `off`.
    public var via = "ballast"
    public var passesUnderscores = false
    public var logLevel = "info"
    public var shutdownTimeout = Duration.seconds(60)
    public var backends: [BackendSettings] = []

    public init() {}
}
