// What ballast tells about itself at one moment, in plain values: the metrics and the page are made from this alone.

public struct Statistics: Sendable {
    /// How often each limit was reached.
    public var limits = Snapshot<LimitCounter>([])

    public struct Build: Sendable {
        public var version: String
        public var swift: String
        public var openssl: String

        public init(version: String, swift: String, openssl: String = "") {
            self.version = version
            self.swift = swift
            self.openssl = openssl
        }
    }

    /// The process as its system sees it; zero where that is not known.
    public struct Process: Sendable {
        public var cpuSeconds = 0.0
        public var residentBytes = 0
        public var virtualBytes = 0
        public var openDescriptors = 0
        public var maximumDescriptors = 0
        /// Seconds since 1970.
        public var startedAt = 0.0

        public init() {}
    }

    public struct Listener: Sendable {
        public var name: String
        public var isSecure: Bool
        public var counts: Snapshot<ListenerCounter>

        public init(name: String, isSecure: Bool = false, counts: Snapshot<ListenerCounter>) {
            self.name = name
            self.isSecure = isSecure
            self.counts = counts
        }

        public var open: Int { counts[.accepted] - counts[.closed] }

        var labels: Labels { Labels(("listener", name)) }
    }

    /// A certificate that is served or shown.
    public struct Certificate: Sendable {
        /// Its file.
        public var path: String
        /// Seconds since 1970.
        public var expiry: Int

        public init(path: String, expiry: Int) {
            self.path = path
            self.expiry = expiry
        }
    }

    public struct Requests: Sendable {
        public var counts: Snapshot<RequestCounter>
        public var duration: Histogram.Snapshot
        public var queue: Histogram.Snapshot
        public var firstByte: Histogram.Snapshot

        public init(_ metrics: [RequestMetrics]) {
            firstByte = Histogram.Snapshot(metrics.map(\.firstByte))
            counts = Snapshot(metrics.map(\.counters))
            duration = Histogram.Snapshot(metrics.map(\.duration))
            queue = Histogram.Snapshot(metrics.map(\.queue))
        }
    }

    public struct Server: Sendable {
        public var name: String
        public var address: String
        /// One of `states`.
        public var state: String
        public var isHealthy: Bool
        public var isBackup: Bool
        public var weight: Int
        public var inflight: Int
        /// Configured requests at once; 0 is no limit.
        public var maxconn: Int
        /// Requests at once now, nil without limit.
        public var limit: Int?
        public var lastCheck: String
        /// Seconds since that check.
        public var lastCheckAge: Double?
        /// Seconds since its state is this one; nil where nobody knows.
        public var stateAge: Double?
        /// Somebody has set its weight, or taken it out, by hand.
        public var hasWeightByHand = false
        /// The configuration has dropped it: it finishes what it has, and nothing can be done about it.
        public var isLeaving = false
        public var isOutByHand = false
        public var counts: Snapshot<ServerCounter>
        public var firstByte: Histogram.Snapshot
        public var streamGap: Histogram.Snapshot
        public var recent = Recent()

        public static let states = ["up", "starting", "busy", "ejected", "draining", "down", "disabled"]

        public init(name: String, address: String, state: String, metrics: [ServerMetrics]) {
            self.name = name
            self.address = address
            self.state = state
            isHealthy = false
            isBackup = false
            weight = 1
            inflight = 0
            maxconn = 0
            lastCheck = ""
            counts = Snapshot(metrics.map(\.counters))
            firstByte = Histogram.Snapshot(metrics.map(\.firstByte))
            streamGap = Histogram.Snapshot(metrics.map(\.streamGap))
        }

        public var idleConnections: Int { counts[.connectionsKept] - counts[.connectionsUnkept] }
        public var activeConnections: Int {
            counts[.connectionsOpened] - counts[.connectionsClosed] - idleConnections
        }
    }

    public struct Backend: Sendable {
        public var name: String
        public var policy: String
        public var waiting: Int
        /// How long the first in line has waited.
        public var longestWait: Duration
        public var queueLimit: Int
        public var requests: Requests
        public var servers: [Server]
        /// Hosts and paths that lead to it, as the configuration has them.
        public var routes: [String] = []
        public var recent = Recent()

        public init(
            name: String, policy: String, waiting: Int, longestWait: Duration, queueLimit: Int, requests: Requests,
            servers: [Server]
        ) {
            self.name = name
            self.policy = policy
            self.waiting = waiting
            self.longestWait = longestWait
            self.queueLimit = queueLimit
            self.requests = requests
            self.servers = servers
        }
    }

    /// Of what happened last, so many are told with the rest.
    public static let shownEvents = 20

    public var build: Build
    public var host = ""
    public var process: Process
    public var recent = Recent()
    /// What happened last, the newest first.
    public var events: [RecentEvent] = []
    /// The names that autoscalers ask for are wanted.
    public var hasAutoscalingAliases = false
    /// Seconds since 1970.
    public var loadedAt: Double
    public var now: Double
    /// The same two as text (RFC 3339, UTC).
    public var loadedStamp = ""
    public var stamp = ""
    public var isReady: Bool
    /// False from a refused configuration on, until the next accepted one.
    public var wasLastLoadAccepted = true
    public var droppedLogLines = 0
    public var certificates: [Certificate] = []
    /// False from files of TLS that were refused on, until they are right.
    public var wasLastCertificateLoadAccepted = true
    public var hasCertificates: Bool { !certificates.isEmpty }
    public var counts: Snapshot<ProcessCounter>
    public var listeners: [Listener]
    public var unrouted: Requests
    public var backends: [Backend]

    public init(
        build: Build, process: Process, loadedAt: Double, now: Double, isReady: Bool,
        counts: Snapshot<ProcessCounter>, listeners: [Listener], unrouted: Requests, backends: [Backend]
    ) {
        self.build = build
        self.process = process
        self.loadedAt = loadedAt
        self.now = now
        self.isReady = isReady
        self.counts = counts
        self.listeners = listeners
        self.unrouted = unrouted
        self.backends = backends
    }
}
