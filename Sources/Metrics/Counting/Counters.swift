// Counting. Each worker writes its own counters without locks; readers add them up. Nothing here ever resets.
import Synchronization

/// What is counted by one set of counters. Names and labels are the metric table's affair; this is one integer each.
public protocol CounterKey: RawRepresentable<Int>, CaseIterable, Sendable {}

/// Counters of responses by the class of their status.
public protocol ResponseCounterKey: CounterKey {
    static var responses1xx: Self { get }
    static var responses2xx: Self { get }
    static var responses3xx: Self { get }
    static var responses4xx: Self { get }
    static var responses5xx: Self { get }
}

extension ResponseCounterKey {
    /// The counter of responses with `status`'s class.
    public static func responses(status: Int) -> Self {
        switch status / 100 {
        case 1: responses1xx
        case 2: responses2xx
        case 3: responses3xx
        case 4: responses4xx
        case _: responses5xx
        }
    }

    /// Each class as its label is written.
    static var classes: [(code: String, counter: Self)] {
        [
            ("1xx", responses1xx), ("2xx", responses2xx), ("3xx", responses3xx), ("4xx", responses4xx),
            ("5xx", responses5xx),
        ]
    }
}

/// Of the process.
public enum ProcessCounter: Int, CounterKey {
    case acceptDescriptors, acceptTable, acceptMemory, acceptAborted, acceptOther
    /// Accepting paused because `max-connections`, of all or of a listener, was reached.
    case acceptLimit
    /// Requests that were running when the time to stop was up: cut in their answer, refused before it.
    case cutAtStop, refusedAtStop
}

/// Of one listener.
public enum ListenerCounter: Int, CounterKey {
    case accepted, closed
    /// Handshakes of TLS that were finished, and those of them that a ticket shortened.
    case secured, resumed
    case failedPlainHTTP, failedVersion, failedCipher, failedProtocol, failedNoCertificate, failedUnknownCA,
        failedExpired,
        failedRevoked
    case failedWrongName, failedBadCertificate, failedUnknownName, failedRefused, failedClosed, failedTimeout
    case failedMalformed

    /// Handshakes that failed, each with the word of its label.
    public static var handshakeFailures: [(reason: String, counter: Self)] {
        [
            ("plain_http", .failedPlainHTTP), ("version", .failedVersion), ("cipher", .failedCipher),
            ("protocol", .failedProtocol),
            ("no_certificate", .failedNoCertificate), ("unknown_ca", .failedUnknownCA), ("expired", .failedExpired),
            ("revoked", .failedRevoked), ("wrong_name", .failedWrongName), ("bad_certificate", .failedBadCertificate),
            ("unknown_name", .failedUnknownName), ("refused", .failedRefused), ("closed", .failedClosed),
            ("timeout", .failedTimeout), ("malformed", .failedMalformed),
        ]
    }
}

/// Of requests: of one backend's, or of those that came to none.
public enum RequestCounter: Int, ResponseCounterKey {
    case requests, responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    case retriesConnect, retriesConnectTimeout, retriesUpstreamTLS, retriesReset, retriesTimeout, retriesStatus,
        retriesDown
    case failedConnect, failedConnectTimeout, failedUpstreamTLS, failedReset, failedBadResponse
    case failedFirstByteTimeout, failedIdleTimeout, failedHeadTimeout, failedBodyTimeout, failedWriteTimeout
    case failedRequestTimeout, failedTunnelTimeout, failedBodyRate, failedReadRate, failedClientLimit, failedTooLarge
    case failedNoServer, failedQueueFull, failedQueueTimeout, failedNoRoute, failedBadRequest, failedShutdown
    /// The response had begun and was cut; the cause is counted as well.
    case truncated
    /// Both sides switched to another protocol; and were passed through to their end.
    case tunnelsOpened, tunnels
    case clientLeftQueued, clientLeftConnecting, clientLeftUploading, clientLeftWaiting, clientLeftStreaming
}

/// Of one server.
public enum ServerCounter: Int, ResponseCounterKey {
    case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
    /// Attempts that got no whole response, by why; and those that were repeated elsewhere after that.
    case failedConnect, failedConnectTimeout, failedTLS, failedReset, failedResponse, failedTimeout, failedOther
    case retried
    /// Of the failures, those after a head, which is counted as a response as well.
    case cut
    case sentBytes, receivedBytes
    case streamEvents
    case connectionsOpened, connectionsClosed, connectionsKept, connectionsUnkept, staleConnections
    case checksPassed, checksFailed
    /// Handshakes of TLS, and those of them that a ticket shortened.
    case secured, resumed
}

/// One worker's counters of one thing. Written by that worker alone, read by anybody: relaxed loads and stores suffice.
public final class Counters<Key: CounterKey>: Sendable {
    private let values = InlineArray<48, Atomic<Int>> { _ in Atomic(0) }

    public init() { precondition(Key.allCases.count <= 48) }

    public func add(_ counter: Key, _ amount: Int = 1) {
        let value = values[counter.rawValue].load(ordering: .relaxed)
        values[counter.rawValue].store(value &+ amount, ordering: .relaxed)
    }

    public subscript(counter: Key) -> Int { values[counter.rawValue].load(ordering: .relaxed) }
}

/// All workers' counters of one thing, added up at one moment.
public struct Snapshot<Key: CounterKey>: Sendable {
    private var sums = [Int](repeating: 0, count: Key.allCases.count)

    public init(_ counters: some Sequence<Counters<Key>>) {
        for worker in counters {
            for counter in Key.allCases { sums[counter.rawValue] += worker[counter] }
        }
    }

    public subscript(counter: Key) -> Int { sums[counter.rawValue] }

    public static func += (left: inout Snapshot, right: Snapshot) {
        for index in left.sums.indices { left.sums[index] += right.sums[index] }
    }
}

extension Snapshot<ServerCounter> {
    /// Why attempts failed, each with its counter.
    static var failureReasons: [(reason: String, counter: ServerCounter)] {
        [
            ("connect", .failedConnect), ("connect_timeout", .failedConnectTimeout), ("upstream_tls", .failedTLS),
            ("reset", .failedReset), ("bad_response", .failedResponse), ("timeout", .failedTimeout),
            ("other", .failedOther),
        ]
    }

    /// Every attempt that failed.
    public var failures: Int { Self.failureReasons.reduce(0) { $0 + self[$1.counter] } }

    /// Attempts that are over, but for those that switched to another protocol.
    public var attempts: Int {
        self[.responses2xx] + self[.responses3xx] + self[.responses4xx] + self[.responses5xx] + failures - self[.cut]
    }
}

extension Snapshot<RequestCounter> {
    /// Reasons of the metric table, each with its counter.
    static var failureReasons: [(reason: String, counter: RequestCounter)] {
        [
            ("connect", .failedConnect), ("connect_timeout", .failedConnectTimeout),
            ("upstream_tls", .failedUpstreamTLS),
            ("reset", .failedReset),
            ("bad_response", .failedBadResponse), ("first_byte_timeout", .failedFirstByteTimeout),
            ("idle_timeout", .failedIdleTimeout), ("head_timeout", .failedHeadTimeout),
            ("body_timeout", .failedBodyTimeout), ("write_timeout", .failedWriteTimeout),
            ("request_timeout", .failedRequestTimeout), ("tunnel_timeout", .failedTunnelTimeout),
            ("body_rate", .failedBodyRate), ("read_rate", .failedReadRate),
            ("client_limit", .failedClientLimit), ("too_large", .failedTooLarge),
            ("queue_full", .failedQueueFull), ("queue_timeout", .failedQueueTimeout), ("no_server", .failedNoServer),
            ("no_route", .failedNoRoute), ("bad_request", .failedBadRequest), ("shutdown", .failedShutdown),
        ]
    }

    static var phases: [(phase: String, counter: RequestCounter)] {
        [
            ("queued", .clientLeftQueued), ("connecting", .clientLeftConnecting), ("waiting", .clientLeftWaiting),
            ("streaming", .clientLeftStreaming), ("uploading", .clientLeftUploading),
        ]
    }

    static var retryReasons: [(reason: String, counter: RequestCounter)] {
        [
            ("connect", .retriesConnect), ("connect_timeout", .retriesConnectTimeout),
            ("upstream_tls", .retriesUpstreamTLS), ("reset", .retriesReset),
            ("first_byte_timeout", .retriesTimeout), ("status", .retriesStatus), ("down", .retriesDown),
        ]
    }

    /// Every failure of a request, added up.
    public var failures: Int { Self.failureReasons.reduce(0) { $0 + self[$1.counter] } }

    public var clientsLeft: Int { Self.phases.reduce(0) { $0 + self[$1.counter] } }

    public var retries: Int { Self.retryReasons.reduce(0) { $0 + self[$1.counter] } }

    /// Final responses to clients, whoever made them; a switch to another protocol is one.
    public var responses: Int {
        self[.responses2xx] + self[.responses3xx] + self[.responses4xx] + self[.responses5xx] + self[.tunnels]
    }

    /// One line for the log, said when ballast ends.
    public func summary(connections: Int) -> String {
        "\(self[.requests]) requests on \(connections) connections: "
            + "\(self[.responses2xx]) 2xx, \(self[.responses3xx]) 3xx, \(self[.responses4xx]) 4xx, "
            + "\(self[.responses5xx]) 5xx, \(failures) failed, \(retries) retried, \(clientsLeft) clients left"
    }
}
