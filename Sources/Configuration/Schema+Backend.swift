// The rows of keys that stand in sections: those of a backend, and those of [stats].
import Balancing

extension Schema {
    static let backendKeys: [Key] = trafficKeys + compressionKeys + serverTLSKeys + conditionKeys

    private static let compressionKeys: [Key] = [
        .backend(
            "compress", .words(Readers.compress), default: "off",
            "gzip compresses responses for clients that accept it: of compress-types, not encoded already, not a part, not an event stream, not marked no-transform, and not with Set-Cookie. What requests bring is never touched."
        ),
        .backend(
            "compress-types", .words(Readers.compressTypes),
            default: BackendSettings.compressibleTypes.joined(separator: " "),
            "Media types that are compressed; text/* is all that begin so."),
        .backend(
            "compress-min-size", .size(\.compressMinimum, 0...(1 << 30)), default: "1k",
            "Bytes of a response that is worth it; one whose length is not known is."),
        .backend(
            "compress-level", .count(\.compressLevel, 1...9), default: "4",
            "How hard zlib tries: 1 is fast, 9 is small."),
        .backend(
            "compress-cookies", .words(Readers.compressCookies), default: "off",
            "on compresses responses with Set-Cookie too: where they show what strangers wrote, their size can tell the secret beside it (BREACH)."
        ),
    ]

    private static let trafficKeys: [Key] = [
        .backend(
            "path", .words(Readers.path), default: nil, sample: "/", repeats: true,
            "Path prefixes that this backend serves, matched at slashes; the longest that fits wins. None is every path. Where any backend has one, paths with dot segments, %00, %2e, %2f, %5c or a backslash are answered with 400."
        ),
        .backend(
            "host", .words(Readers.host), default: nil, sample: "model.example.com", repeats: true,
            "Hosts that this backend serves; *.x is any one label before x. None is every host."),
        .backend(
            "listen", .words(Readers.backendListen), default: nil, sample: "127.0.0.1:8090", repeats: true,
            "In a [backend]: where clients of this backend alone are accepted, whatever their host and path. Options as of the global one."
        ),
        .backend(
            "server", .words(Readers.server), default: nil, sample: "gpu1 127.0.0.1:8001 weight=1", repeats: true,
            "One server: [NAME] HOST:PORT, [NAME] https://HOST[:PORT] or [NAME] unix:/PATH, then weight=N, maxconn=N, backup or disabled."
        ),
        .backend(
            "servers", .words(Readers.servers), default: nil, sample: "127.0.0.1:8002 127.0.0.1:8003", repeats: true,
            "Servers by address, one for each address that a host name has; or unix:/PATH."),
        .backend(
            "balance", .choice(\.balance, PolicyCatalog.rows.map(\.name)), default: PolicyCatalog.defaultName,
            "How a server is chosen. " + PolicyCatalog.rows.map { "\($0.name): \($0.help)" }.joined(separator: "; ")
                + "."),
        .backend(
            "maxconn", .count(\.maxconn, 0...1_000_000), default: "0",
            "Requests at once for each server, exactly, over all workers; further ones wait in line. 0 is no limit."),
        .backend(
            "queue", .count(\.queue, 0...1_000_000), default: "1000",
            "Requests of this backend that may wait for a slot, over all workers; further ones are answered with 503."),
        .backend(
            "timeout-queue", .duration(\.timeoutQueue, .milliseconds(10)...longest), default: "30s",
            "How long a request waits for a slot, before it is answered with 503."),
        .backend(
            "timeout-connect", .duration(\.timeoutConnect, .milliseconds(1)...longest), default: "5s",
            "For a connection to a server."),
        .backend(
            "timeout-response", .duration(\.timeoutResponse, .zero...longest), default: "1h",
            "From the last part of the request that the server took to the first byte of the response's body; 0 is no limit."
        ),
        .backend(
            "timeout-idle", .duration(\.timeoutIdle, .zero...longest), default: "5m",
            "Silence inside a response's body; 0 is no limit."),
        .backend(
            "timeout-request", .duration(\.timeoutRequest, .zero...longest), default: "0",
            "For a whole request, from its head to the end of its response; then 504, or the response is cut. 0 is no limit."
        ),
        .backend(
            "timeout-tunnel", .duration(\.timeoutTunnel, .zero...longest), default: "1h",
            "Silence in both directions of a tunnel; 0 is no limit."),
        .backend(
            "upgrade", .words(Readers.upgrade), default: "websocket",
            "Protocols that a connection may switch to with Upgrade, when its server answers 101; or off."),
        .backend(
            "set-request-header", .words(Readers.setRequestField), default: nil, sample: "X-Client {client}",
            repeats: true,
            "NAME VALUE: a field that requests get, in place of any that they have. In a [backend] these stand in place of all global ones, not beside them; so with the next three. {client}, {request-id}, {backend}, {server}, {scheme} and {host} are replaced."
        ),
        .backend(
            "remove-request-header", .words(Readers.removeRequestField), default: nil, sample: "Cookie", repeats: true,
            "Fields that requests lose, ballast's own ones included."),
        .backend(
            "set-response-header", .words(Readers.setResponseField), default: nil,
            sample: "Strict-Transport-Security max-age=63072000", repeats: true,
            "NAME VALUE: a field that servers' responses get, as above."),
        .backend(
            "remove-response-header", .words(Readers.removeResponseField), default: nil, sample: "Server",
            repeats: true, "Fields that servers' responses lose."),
        .backend(
            "strip-prefix", .words(Readers.stripPrefix), default: nil, sample: "/chat", repeats: true,
            "Prefixes that are taken off a request's path, at slashes, before its server gets it; X-Forwarded-Prefix says which one was."
        ),
        .backend(
            "served-by", .words(Readers.servedBy), default: "off",
            "on adds X-Served-By to servers' responses: the backend and the server."),
        .backend(
            "body-limit", .size(\.bodyLimit, 0...(1 << 40)), default: "0",
            "Bytes of a request's body; more is answered with 413. 0 is no limit: bodies stream."),
    ]

    private static let conditionKeys: [Key] = [
        .backend(
            "pool-idle", .duration(\.poolIdle, .zero...longest), default: "4s",
            "How long a connection to a server is kept without a request."),
        .backend(
            "pool-size", .count(\.poolSize, 0...100_000), default: "128",
            "Connections kept for each server and worker."),
        .backend(
            "health", .words(Readers.health), default: "auto",
            "auto asks GET /health, where any answer below 500 passes; GET /PATH or HEAD /PATH passes with 2xx and 3xx; tcp with a connection; off checks nothing."
        ),
        .backend(
            "health-expect", .words(Readers.healthExpect), default: nil, sample: "200-399",
            "Statuses that pass a check: 200, 2xx or 200-299."),
        .backend(
            "health-host", .words(Readers.healthHost), default: nil, sample: "model.example.com",
            "Host of a check; the server's address unless set."),
        .backend(
            "health-every", .duration(\.healthEvery, .milliseconds(10)...longest), default: "3s",
            "From one check to the next, up to a tenth less; after a failure at most 1s."),
        .backend(
            "health-timeout", .duration(\.healthTimeout, .milliseconds(10)...longest), default: "2s",
            "For the answer to a check."),
        .backend(
            "health-fall", .count(\.healthFall, 1...1000), default: "3", "Failures in a row that take a server out."),
        .backend(
            "health-rise", .count(\.healthRise, 1...1000), default: "2", "Passes in a row that bring it back."),
        .backend(
            "health-busy", .duration(\.healthBusy, .zero...longest), default: "5m",
            "A server that has requests in flight and lets checks time out is busy, not down; after so long without a byte from it, it is down."
        ),
        .backend(
            "eject-on", .words(Readers.ejectOn), default: "connect reset timeout",
            "What counts against a server: connect, reset, timeout, and statuses like 500 or 5xx; 429 and 503 never do."
        ),
        .backend(
            "eject-after", .count(\.ejectAfter, 0...1_000_000), default: "5",
            "Such failures in a row that eject a server; 0 ejects none."),
        .backend(
            "eject-for", .duration(\.ejectFor, .milliseconds(10)...longest), default: "10s",
            "How long a server is ejected at first; each time twice as long, up to 5m."),
        .backend(
            "eject-limit", .percent(\.ejectLimit, 0...100), default: "50%",
            "Servers that may be ejected at a time; the last one that can serve never is."),
        .backend(
            "slow-start", .duration(\.slowStart, .zero...longest), default: "0",
            "How long a server that came back takes to get its full part of weight and maxconn."),
        .backend(
            "retries", .count(\.retries, 0...(Exclusions.capacity - 1)), default: "1",
            "How often a request that reached a server is sent to another one; 0 tries one server only. Servers that refuse the connection are skipped without counting, at most 8 in all."
        ),
        .backend(
            "retry-on", .words(Readers.retryOn), default: "connect reset",
            "What is tried again on another server, before a byte of a response has come: connect (no connection), reset (it closed), timeout (no byte in time), and statuses; or none. Only requests that may run twice (replay) or were not sent; 429 and 503 say that nothing ran: any request."
        ),
        .backend(
            "replay", .words(Readers.replay), default: "idempotent",
            "Which requests may run twice. idempotent: GET, HEAD, PUT, DELETE and OPTIONS; keyed: also what has an Idempotency-Key; always: all. A body that is not kept (body-buffer) is never sent twice."
        ),
        .backend(
            "retry-budget", .percent(\.retryBudget, 0...100), default: "20%",
            "Retries at a time, in percent of the running requests; 3 are always allowed. Further ones wait in line for those."
        ),
    ]

    static let statsKeys: [Key] = [
        .stats(
            "listen", .words(Readers.statsListen), default: StatsSettings.defaultText, repeats: true,
            "Where the page, /metrics, /healthz and /readyz are served, with tls behind it over TLS; off serves them nowhere."
        ),
        auth,
        .stats(
            "names", .words(Readers.statsNames), default: nil, sample: "lb.example.com", repeats: true,
            "Hosts that browsers may call the page by, besides IP addresses and localhost: others are refused actions, and without auth the page as well."
        ),
        .stats(
            "aliases", .choice(\.aliases, ["off", "autoscaling"]), default: "off",
            "autoscaling adds two metrics by the names that autoscalers ask for: request_queue_depth and prediction_latency_p99_seconds."
        ),
    ]

    static let metricsKeys: [Key] = [
        .stats(
            "listen", .words(Readers.statsListen), default: nil, sample: "10.0.0.5:9090", repeats: true,
            "Where /metrics, /healthz and /readyz are served besides [stats], without the page; the options are those of 'listen'."
        ),
        auth,
    ]

    private static let auth = Key.stats(
        "auth", .words(Readers.statsAuth), default: nil, sample: "admin:${file:/etc/ballast/stats.password}",
        repeats: true,
        "NAME:SECRET, who may look and act, with a password or its hash as crypt(3) makes it; or none, which lets anybody look who can connect. Without it only loopback addresses and UNIX sockets are served. /healthz and /readyz ask for nothing."
    )
}
