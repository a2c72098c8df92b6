// The typed, immutable settings that the rest of ballast reads. It holds no text that still needs parsing.
public import Addresses
public import Balancing

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

    static let nowhere = Position(file: "configuration", line: 0, column: 0)

    public var description: String { line == 0 ? file : "\(file):\(line):\(column)" }
}

/// One `listen`.
public struct ListenerSettings: Equatable, Sendable {
    /// What the configuration says, for messages.
    public var text: String
    /// Nil address is "all of this machine": dual stack where there is IPv6.
    public var address: IPAddress?
    public var port: UInt16
    /// `systemd:NAME`: a socket of this name that is passed to the process, in place of an address.
    public var inherited: String?
    /// `unix:PATH`, in place of an address, and who may connect there (chmod(2)).
    public var path: String?
    public var mode: UInt32 = 0o660
    /// Connections of trusted peers begin with a header of the PROXY protocol.
    public var hasProxyHeader = false
    /// Connections are secured, with the certificates of every `[tls]`.
    public var isSecure = false
    /// Every request is sent to the same address over TLS.
    public var redirectsToHTTPS = false
    /// Connections at a time; nil is no limit of its own.
    public var maxConnections: Int?
    public var position: Position

    public init(
        text: String, address: IPAddress?, port: UInt16, inherited: String? = nil, maxConnections: Int? = nil,
        position: Position
    ) {
        self.inherited = inherited
        self.maxConnections = maxConnections
        self.text = text
        self.address = address
        self.port = port
        self.position = position
    }
}

extension ListenerSettings {
    /// Only processes of this machine can connect.
    public var isLocal: Bool { path != nil || address?.isLoopback == true }

    /// A client's connection could mean either: "all of this machine" holds every single address of it as well.
    public func overlaps(_ other: ListenerSettings) -> Bool {
        guard port != 0, port == other.port else { return false }
        guard let address, let theirs = other.address else { return true }
        return address == theirs || address.isUnspecified && address.mayHold(theirs)
            || theirs.isUnspecified && theirs.mayHold(address)
    }
}

extension IPAddress {
    /// Being "all addresses": of IPv6 with those of IPv4, or of IPv4 alone.
    fileprivate func mayHold(_ other: IPAddress) -> Bool { !isIPv4 || other.isIPv4 }
}

/// One `server`, or one address of `servers`: a host that may still need resolving.
public struct ServerSettings: Equatable, Sendable {
    /// From the configuration; nil where the address is the name.
    public var name: String?
    public var host: String
    public var port: UInt16
    /// Of a UNIX socket, in place of host and port.
    public var path: String?
    /// `https://`: connections to it are secured.
    public var isSecure = false
    /// From `servers`: every address of the host is a server of its own.
    public var isEachAddress: Bool
    /// 1 to `Server.maximumWeight`; 0 takes no new requests.
    public var weight = 1
    /// Requests at once; nil is the backend's `maxconn`.
    public var maxconn: Int?
    public var isBackup = false
    public var isDisabled = false
    public var position: Position

    /// `host:port`, brackets around IPv6; or `unix:/path`.
    public var authority: String {
        if let path { return "unix:\(path)" }
        return host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// How servers are checked.
public enum HealthCheckKind: Equatable, Sendable {
    /// `GET /health`; any complete answer below 500 passes.
    case auto
    /// A request of its own; what passes is `healthExpect`.
    case http(method: String, path: String)
    /// A connection.
    case tcp
    case off
}

/// One `[tls]`: paths, of which none was opened, and rules.
public struct TLSSettings: Sendable, Equatable {
    public enum ClientVerification: String, CaseIterable, Sendable { case off, optional, required }

    /// Nil of `[tls]`.
    public var name: String?
    public var certificates: [String] = []
    public var keys: [String] = []
    public var passphrase: String?
    public var clientAuthorities: String?
    public var clientRevocations: String?
    public var clientVerification = ClientVerification.off
    public var clientNames: [String] = []
    public var minimumVersion = "1.2"
    /// Of TLS 1.2 and of TLS 1.3; empty is the default.
    public var ciphers: [String] = []
    public var suites: [String] = []
    public var groups = ["X25519", "P-256", "P-384"]
    public var hasTickets = true
    /// Where each file is named.
    public var places: [String: Position] = [:]
    public var position: Position

    public init(name: String?, position: Position) {
        self.name = name
        self.position = position
    }

    /// As messages call it.
    public var text: String { name.map { "[tls \($0)]" } ?? "[tls]" }
}

/// How a backend's connections to `https` servers are secured.
public struct ServerTLSSettings: Sendable, Equatable {
    public var verifies = true
    /// Nil is the machine's.
    public var authorities: String?
    /// Nil is each server's own.
    public var name: String?
    public var certificate: String?
    public var key: String?
    public var passphrase: String?
    /// Where each file is named.
    public var places: [String: Position] = [:]

    public init() {}
}

/// One `[backend]`, or the one that global settings make. Durations of zero are "no limit" where the schema allows them.
public struct BackendSettings: Sendable {
    public var name: String
    /// Path prefixes without a slash at the end; `/` alone is empty. None serves every path.
    public var paths: [String] = []
    /// Host names in lower case; `*.x` is one label. None serves every host.
    public var hosts: [String] = []
    /// Ports that serve this backend alone.
    public var listeners: [ListenerSettings] = []
    public var servers: [ServerSettings] = []
    public var balance = PolicyCatalog.defaultName
    /// Requests at once for each server; 0 is no limit.
    public var maxconn = 0
    public var queue = 1000
    public var timeoutQueue = Duration.seconds(30)
    public var timeoutConnect = Duration.seconds(5)
    public var timeoutResponse = Duration.seconds(3600)
    public var timeoutIdle = Duration.seconds(300)
    /// From a request's head to the end of its response; zero is no limit.
    public var timeoutRequest = Duration.zero
    /// Bytes of a request's body; 0 is no limit.
    public var bodyLimit = 0
    /// Silence in a tunnel, in both directions.
    public var timeoutTunnel = Duration.seconds(3600)
    /// Protocols, in lower case, that a connection may switch to.
    public var upgrade = ["websocket"]
    public var requestFields = FieldRules()
    public var responseFields = FieldRules()
    /// Prefixes that are taken off the path, without a slash at the end.
    public var stripPrefixes: [String] = []
    /// Responses say which server made them.
    public var servedBy = false
    public var tls = ServerTLSSettings()
    /// Responses are compressed with gzip.
    public var compresses = false
    /// Media types in lower case; `text/*` is all that begin so.
    public var compressTypes = BackendSettings.compressibleTypes
    /// Bytes of a response that is worth it, and how hard zlib tries: 1 to 9.
    public var compressMinimum = 1 << 10
    public var compressLevel = 4
    public var compressesCookies = false
    static let compressibleTypes = [
        "application/json", "application/x-ndjson", "application/javascript", "application/xml", "image/svg+xml",
        "text/*",
    ]
    public var poolIdle = Duration.seconds(4)
    public var poolSize = 128
    public var health = HealthCheckKind.auto
    public var healthEvery = Duration.seconds(3)
    public var healthTimeout = Duration.seconds(2)
    public var healthFall = 3
    public var healthRise = 2
    public var healthBusy = Duration.seconds(300)
    /// Statuses that pass; nil is below 500 for `auto`, 2xx and 3xx otherwise.
    public var healthExpect: StatusSet?
    /// Host of a check; nil is the server's address.
    public var healthHost: String?
    public var ejectOn = Causes(connect: true, reset: true, timeout: true)
    public var ejectAfter = 5
    public var ejectFor = Duration.seconds(10)
    public var ejectLimit = 50
    public var slowStart = Duration.zero
    public var retries = 1
    public var retryOn = Causes(connect: true, reset: true)
    public var replay = Replay.idempotent
    public var retryBudget = 20

    public init(name: String) { self.name = name }
}

/// Somebody who may look at ballast's own page, with a password or its hash as crypt(3) makes it.
public struct Credential: Sendable, Equatable {
    public let name: String
    public let secret: String
    public let position: Position

    public init(name: String, secret: String, position: Position) {
        self.name = name
        self.secret = secret
        self.position = position
    }

    public static func == (left: Credential, right: Credential) -> Bool {
        left.name == right.name && left.secret == right.secret
    }

    /// It is no password itself.
    public var isHash: Bool { secret.hasPrefix("$") }
}

/// `[stats]`, or `[metrics]`.
public struct StatsSettings: Sendable {
    public var listeners: [ListenerSettings] = []
    /// The section says where: then a port that is taken is fatal, and not just told.
    public var isWritten = false
    /// `auth = none`: anybody who can connect may look.
    public var isOpen = false
    /// Who may look, and act.
    public var credentials: [Credential] = []
    /// Hosts that the page may be called by, in lower case.
    public var names: [String] = []
    /// `off` or `autoscaling`.
    public var aliases = "off"

    public static let defaultText = "127.0.0.1:8404"

    public init() {}
}

/// Everything a configuration says.
public struct Settings: Sendable {
    public var listeners: [ListenerSettings] = []
    /// Nil is `auto`: one for each processor.
    public var threads: Int?
    public var maxConnections = 10_000
    /// Connections at a time, and new ones a second, of one client address; 0 is no limit.
    public var maxConnectionsPerClient = 0
    public var connectionRatePerClient = 0
    public var requestsPerConnection = 10_000
    public var headLimit = 32 << 10
    public var targetLimit = 8 << 10
    public var fieldsLimit = 128
    public var emptyLinesLimit = 2
    public var chunkLineLimit = 256
    public var chunkExtensionsLimit = 4 << 10
    public var trailersLimit = 8 << 10
    public var interimLimit = 32
    public var responseHeadLimit = 60 << 10
    public var responseFieldsLimit = 256
    /// Bytes a second that a client that is waited for has to send, or to take; 0 is no limit.
    public var minimumSendRate = 256
    public var minimumReadRate = 256
    public var timeoutHead = Duration.seconds(10)
    public var timeoutKeepalive = Duration.seconds(75)
    public var timeoutClient = Duration.seconds(60)
    public var trustedProxies: [CIDR] = []
    /// So are peers on UNIX sockets.
    public var trustsLocalSockets = false
    /// Requests get a Forwarded field as well.
    public var writesForwarded = false
    /// A client that has finished sending may still read.
    public var servesHalfClosed = false
    /// Empty is `off`.
    public var via = "ballast"
    public var passesUnderscores = false
    /// Bytes of a request's body that are kept for replay, and of all bodies together.
    public var bodyBuffer = 1 << 20
    public var replayMemory = 64 << 20
    /// Bytes of all responses that are being compressed.
    public var compressMemory = 64 << 20
    public var logLevel = "info"
    /// `off`, `stderr` or a path.
    public var accessLog = "off"
    /// `text` or `json`.
    public var accessLogFormat = "text"
    /// `auto`, `text` or `json`.
    public var logFormat = "auto"
    /// A folder with bodies for ballast's own answers; nil has none.
    public var errorFolder: String?
    public var shutdownTimeout = Duration.seconds(60)
    /// Between the signal to stop and the end of accepting.
    public var shutdownDelay = Duration.zero
    /// Nil writes none.
    public var pidFile: String?
    /// `NAME` or `NAME:GROUP`; nil stays who it is.
    public var user: String?
    public var tls: [TLSSettings] = []
    /// The value of Strict-Transport-Security; nil for none.
    public var strictTransport: String?
    /// A client that asks for a name that no certificate has is refused.
    public var refusesUnknownNames = false
    /// How often the files of certificates are looked at; zero is never.
    public var certificateCheck = Duration.seconds(60)
    public var backends: [BackendSettings] = []
    public var stats = StatsSettings()
    public var metrics = StatsSettings()

    public init() {}

    /// Every `listen`, wherever it stands.
    public var allListeners: [ListenerSettings] {
        listeners + backends.flatMap(\.listeners) + stats.listeners + metrics.listeners
    }
}
