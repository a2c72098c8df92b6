// Every key there is, one row each: the single source of names, bounds, defaults and help.
import Addresses
import Balancing

/// The table of keys.
enum Schema {
    static let longest = Duration.seconds(7 * 86_400)

    /// Where a setting stands.
    enum Place: Equatable { case global, tls, backend, stats, metrics }

    static let sections = ["backend", "stats", "metrics", "tls"]

    /// The keys that may stand in `place`; before the first section those of backends may, as defaults.
    static func keys(in place: Place) -> [Key] {
        switch place {
        case .global: globalKeys + backendKeys.filter { key in !globalKeys.contains { $0.name == key.name } }
        case .backend: backendKeys
        case .stats: statsKeys
        case .metrics: metricsKeys
        case .tls: tlsKeys
        }
    }

    /// The key called `name`, hyphens written.
    static func key(_ name: String, in place: Place) -> Key? { keys(in: place).first { $0.name == name } }

    /// Where a key that may not stand in `place` belongs; nil where there is no such key.
    static func advice(for name: String, not place: Place) -> String? {
        if globalKeys.contains(where: { $0.name == name }) { return "is global; move it before the first section" }
        if backendKeys.contains(where: { $0.name == name }) { return "is a backend's; move it into a [backend]" }
        if tlsKeys.contains(where: { $0.name == name }) { return "belongs into [tls]" }
        return statsKeys.contains { $0.name == name } ? "belongs into [stats]" : nil
    }

    static let globalKeys: [Key] = [
        .global(
            "listen", .words(Readers.listen), default: nil, sample: ":8080", repeats: true,
            "Where clients are accepted: [ADDRESS]:PORT, without an address on all of the machine; unix:/PATH, with mode=660 (the default) or another behind it for who may connect; systemd:NAME, a socket that a socket unit passes under this FileDescriptorName. Behind it, tls secures connections with the certificates of [tls]; redirect-https sends every request to the port that is secured; max-connections=N is a limit of its own; with proxy-protocol, connections of trusted-proxies begin with a header of the PROXY protocol (1 or 2) that says whose they are."
        ),
        .global(
            "threads", .words(Readers.threads), default: "auto",
            "Worker threads; auto is one for each processor this process may use."),
        .global(
            "max-connections", .count(\.maxConnections, 1...1_000_000), default: "10000",
            "Client connections at a time; further ones wait to be accepted."),
        .global(
            "max-connections-per-client", .count(\.maxConnectionsPerClient, 0...1_000_000), default: "0",
            "Connections at a time of one client address (of IPv6, of one /64); further ones are answered with 429. Trusted proxies are not counted. 0 is no limit."
        ),
        .global(
            "connection-rate-per-client", .count(\.connectionRatePerClient, 0...1_000_000), default: "0",
            "New connections a second of one client address, with as many at once; further ones are answered with 429. 0 is no limit."
        ),
        .global(
            "requests-per-connection", .count(\.requestsPerConnection, 1...1_000_000_000), default: "10000",
            "Requests on one client connection, after which it closes."),
        .global(
            "head-limit", .size(\.headLimit, 1024...(48 << 10)), default: "32k",
            "Bytes of a request's head; more is answered with 431."),
        .global(
            "target-limit", .size(\.targetLimit, 64...(32 << 10)), default: "8k",
            "Bytes of a request's target; more is answered with 414."),
        .global(
            "fields-limit", .count(\.fieldsLimit, 8...256), default: "128",
            "Field lines of a request, and names in its Connection fields; more is answered with 431."),
        .global(
            "empty-lines-limit", .count(\.emptyLinesLimit, 0...100), default: "2",
            "Empty lines before a request; more is answered with 400."),
        .global(
            "chunk-line-limit", .size(\.chunkLineLimit, 16...(64 << 10)), default: "256",
            "Bytes of a chunk's size line, of requests and responses; more is answered with 400, or 502."),
        .global(
            "chunk-extensions-limit", .size(\.chunkExtensionsLimit, 0...(1 << 20)), default: "4k",
            "Bytes of all chunk extensions of one body; more is answered with 400, or 502."),
        .global(
            "trailers-limit", .size(\.trailersLimit, 2...(16 << 10)), default: "8k",
            "Bytes of a trailer section; more is answered with 400, or 502."),
        .global(
            "interim-limit", .count(\.interimLimit, 0...10_000), default: "32",
            "Interim (1xx) responses to one request; more is answered with 502."),
        .global(
            "response-head-limit", .size(\.responseHeadLimit, 1024...(60 << 10)), default: "60k",
            "Bytes of a response's head; more is answered with 502."),
        .global(
            "response-fields-limit", .count(\.responseFieldsLimit, 8...256), default: "256",
            "Field lines of a response, and names in its Connection fields; more is answered with 502."),
        .global(
            "timeout-head", .duration(\.timeoutHead, .milliseconds(100)...longest), default: "10s",
            "For a whole request head to arrive; else 408. A client that has sent nothing is just closed."),
        .global(
            "timeout-keepalive", .duration(\.timeoutKeepalive, .milliseconds(100)...longest), default: "75s",
            "For the next request on a client's connection to begin."),
        .global(
            "timeout-client", .duration(\.timeoutClient, .milliseconds(100)...longest), default: "60s",
            "Silence inside a request's body, answered with 408; or of a client that stops reading, which is cut."),
        .global(
            "minimum-send-rate", .size(\.minimumSendRate, 0...(1 << 30)), default: "256",
            "Bytes a second of a request's body that a client has to send, on the average of the time that it is waited for, once that is 10s; less is answered with 408. 0 is no limit."
        ),
        .global(
            "minimum-read-rate", .size(\.minimumReadRate, 0...(1 << 30)), default: "256",
            "Bytes a second that a client has to take, on the average of the time that its connection is full, once that is 10s; less is cut. Who takes nothing at all has timeout-client. 0 is no limit."
        ),
        .global(
            "trusted-proxies", .words(Readers.trustedProxies), default: nil, sample: "10.0.0.0/8",
            "Addresses or ranges, or unix for UNIX sockets, whose X-Forwarded-* fields and PROXY headers are believed. The client is then the last address of X-Forwarded-For that is not one of them."
        ),
        .global(
            "forwarded", .words(Readers.forwarded), default: "off",
            "on adds a Forwarded field (RFC 7239) to requests, beside X-Forwarded-For."),
        .global(
            "half-close", .words(Readers.halfClose), default: "leave",
            "A client that finishes sending has left, and its requests end (leave), or still reads its answers (serve)."
        ),
        .global(
            "hsts", .words(TLSReaders.strictTransport), default: "off", sample: "365d include-subdomains",
            "For how long browsers shall use TLS alone for this host, with include-subdomains and preload behind it: Strict-Transport-Security (RFC 6797) in every response over TLS; or off."
        ),
        .global(
            "unknown-name", .words(TLSReaders.unknownName), default: "default",
            "What clients get that ask over TLS for a name that no certificate has, or for none: the first [tls] (default), or refuse."
        ),
        .global(
            "certificate-check", .duration(\.certificateCheck, .zero...longest), default: "60s",
            "How often the files of TLS are looked at; those that have changed are taken up, or refused and told. 0 is with a reload only."
        ),
        .global("via", .words(Readers.via), default: "ballast", "The name in Via towards servers, or off."),
        .global(
            "underscore-fields", .words(Readers.underscoreFields), default: "drop",
            "drop or pass fields whose names contain an underscore."),
        .global(
            "body-buffer", .size(\.bodyBuffer, 0...(1 << 30)), default: "1m",
            "Bytes of a request's body that are kept while it may have to be sent again; a larger body is sent once."),
        .global(
            "replay-memory", .size(\.replayMemory, 0...(1 << 40)), default: "64m",
            "Memory of all bodies that are kept, in blocks of 4k and 64k; beyond, bodies are not kept."),
        .global(
            "compress-memory", .size(\.compressMemory, 0...(1 << 40)), default: "64m",
            "Memory of all responses that are being compressed, 300k each; beyond, they leave as they are."),
        .global(
            "access-log", .words(Readers.accessLog), default: "off",
            "A line for each request: off, stderr or a path from / on."),
        .global(
            "access-log-format", .choice(\.accessLogFormat, ["text", "json"]), default: "text",
            "How the lines of the access log are written: text for people, or json, an object a line."),
        .global(
            "error-folder", .words(Readers.errorFolder), default: nil, sample: "/etc/ballast/errors",
            "A folder with bodies for ballast's own answers: STATUS.html, STATUS.json, STATUS.txt, or 4xx and 5xx in place of the status, each at most 16k, and 32k when it is filled. {status}, {reason}, {type}, {message} and {request-id} in them are replaced."
        ),
        .global(
            "log-level", .choice(\.logLevel, ["error", "warning", "info", "debug"]), default: "info",
            "How much is logged: error, warning, info or debug."),
        .global(
            "log-format", .choice(\.logFormat, ["auto", "text", "json"]), default: "auto",
            "How the lines of the log on standard error are written: text with the time; json, an object a line; or auto, which is text, and under journald text with its priority in place of the time."
        ),
        .global(
            "shutdown-timeout", .duration(\.shutdownTimeout, .zero...longest), default: "60s",
            "How long running requests may take to finish after TERM."),
        .global(
            "shutdown-delay", .duration(\.shutdownDelay, .zero...longest), default: "0",
            "How long clients are still accepted after TERM, while /readyz says 503: until what is in front has noticed."
        ),
        .global(
            "pid-file", .words(Readers.pidFile), default: nil, sample: "/run/ballast/ballast.pid",
            "Where the number of the process is written, and locked while it runs; ballast -s reads it."),
        .global(
            "user", .words(Readers.user), default: nil, sample: "ballast:ballast",
            "NAME or NAME:GROUP that the process becomes when it was started as root and its ports are open."),
        .include(
            "include", sample: "conf.d/*.ini",
            "Further files to read: a path or a pattern with *, relative to this file."),
    ]
}
