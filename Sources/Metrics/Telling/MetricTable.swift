// Every metric, one row each: name, type, help, and where its samples are found. A public contract: names and labels stay.

struct Metric: Sendable {
    enum Kind: String, Sendable { case counter, gauge, histogram }

    let name: String
    let kind: Kind
    let help: String
    /// Names of its labels.
    let labels: [String]
    let samples: @Sendable (Told, inout SampleList) -> Void

    init(
        _ name: String, _ kind: Kind, _ labels: [String], _ help: String,
        _ samples: @escaping @Sendable (Told, inout SampleList) -> Void
    ) {
        self.name = name
        self.kind = kind
        self.labels = labels
        self.help = help
        self.samples = samples
    }

    /// A row whose samples are those of each backend; requests without one carry an empty name.
    static func requests(
        _ name: String, _ kind: Kind, _ labels: [String], _ help: String,
        _ samples: @escaping @Sendable (Statistics.Requests, Labels, inout SampleList) -> Void
    ) -> Metric {
        Metric(name, kind, ["backend"] + labels, help) { told, list in
            samples(told.statistics.unrouted, told.unrouted, &list)
            for (index, backend) in told.statistics.backends.enumerated() {
                samples(backend.requests, told.backends[index].labels, &list)
            }
        }
    }

    /// A row whose samples are those of each server.
    static func servers(
        _ name: String, _ kind: Kind, _ labels: [String], _ help: String,
        _ samples: @escaping @Sendable (Statistics.Server, Labels, inout SampleList) -> Void
    ) -> Metric {
        Metric(name, kind, ["backend", "server"] + labels, help) { told, list in
            for (index, backend) in told.statistics.backends.enumerated() {
                for (position, server) in backend.servers.enumerated() {
                    samples(server, told.backends[index].servers[position], &list)
                }
            }
        }
    }
}

/// What is told, with the labels that many samples have in common.
struct Told {
    let statistics: Statistics
    /// Of what came to no backend.
    let unrouted = Labels(("backend", ""))
    let backends: [(labels: Labels, servers: [Labels])]

    init(_ statistics: Statistics) {
        self.statistics = statistics
        backends = statistics.backends.map { backend in
            let servers = backend.servers.map { Labels(("backend", backend.name), ("server", $0.name)) }
            return (Labels(("backend", backend.name)), servers)
        }
    }
}

enum MetricTable {
    static let rows: [Metric] = process + listeners + requests + servers

    private static let process: [Metric] = [
        Metric(
            "ballast_build_info", .gauge, ["version", "swift", "openssl"], "Build of the running binary; always 1"
        ) {
            let build = $0.statistics.build
            $1.add(1, Labels(("version", build.version), ("swift", build.swift), ("openssl", build.openssl)))
        },
        Metric("ballast_config_last_reload_successful", .gauge, [], "1 if the last load was accepted, 0 if refused") {
            $1.add($0.statistics.wasLastLoadAccepted ? 1 : 0)
        },
        Metric(
            "ballast_config_last_reload_success_timestamp_seconds", .gauge, [],
            "When the running configuration was loaded"
        ) { $1.add($0.statistics.loadedAt) },
        Metric(
            "ballast_log_lines_dropped_total", .counter, [], "Log lines given up because the disk was slow or full"
        ) { $1.add($0.statistics.droppedLogLines) },
        Metric("process_cpu_seconds_total", .counter, [], "CPU time, of user and system") {
            $1.add($0.statistics.process.cpuSeconds)
        },
        Metric("process_resident_memory_bytes", .gauge, [], "Resident memory") {
            $1.add($0.statistics.process.residentBytes)
        },
        Metric("process_virtual_memory_bytes", .gauge, [], "Virtual memory") {
            $1.add($0.statistics.process.virtualBytes)
        },
        Metric("process_open_fds", .gauge, [], "Open descriptors") { $1.add($0.statistics.process.openDescriptors) },
        Metric("process_max_fds", .gauge, [], "Descriptors that may be open") {
            $1.add($0.statistics.process.maximumDescriptors)
        },
        Metric("process_start_time_seconds", .gauge, [], "When the process started") {
            $1.add($0.statistics.process.startedAt)
        },
    ]

    private static let listeners: [Metric] = [
        Metric("ballast_open_connections", .gauge, ["listener"], "Open client connections") { told, list in
            for listener in told.statistics.listeners { list.add(listener.open, listener.labels) }
        },
        Metric("ballast_connections_total", .counter, ["listener"], "Accepted client connections") { told, list in
            for listener in told.statistics.listeners { list.add(listener.counts[.accepted], listener.labels) }
        },
        Metric(
            "ballast_tls_handshakes_total", .counter, ["listener", "resumed"], "TLS handshakes that were finished"
        ) { told, list in
            for listener in told.statistics.listeners where listener.isSecure {
                let resumed = listener.counts[.resumed]
                list.add(listener.counts[.secured] - resumed, listener.labels, "resumed", "no")
                list.add(resumed, listener.labels, "resumed", "yes")
            }
        },
        Metric(
            "ballast_tls_handshake_failures_total", .counter, ["listener", "reason"], "TLS handshakes that failed"
        ) { told, list in
            for listener in told.statistics.listeners where listener.isSecure {
                for (reason, counter) in ListenerCounter.handshakeFailures {
                    list.add(listener.counts[counter], listener.labels, "reason", reason)
                }
            }
        },
        Metric(
            "ballast_certificate_expiry_timestamp_seconds", .gauge, ["certificate"], "When the certificate expires"
        ) { told, list in
            for certificate in told.statistics.certificates {
                list.add(certificate.expiry, Labels(("certificate", certificate.path)))
            }
        },
        Metric(
            "ballast_certificate_load_successful", .gauge, [], "1 if the last look at TLS's files found them good"
        ) {
            if $0.statistics.hasCertificates { $1.add($0.statistics.wasLastCertificateLoadAccepted ? 1 : 0) }
        },
        Metric("ballast_accept_errors_total", .counter, ["reason"], "Accepts that failed or were put off") {
            told, list in
            let reasons: [(String, ProcessCounter)] = [
                ("emfile", .acceptDescriptors), ("enfile", .acceptTable), ("aborted", .acceptAborted),
                ("nomem", .acceptMemory), ("limit", .acceptLimit), ("other", .acceptOther),
            ]
            for (reason, counter) in reasons { list.add(told.statistics.counts[counter], Labels(), "reason", reason) }
        },
        Metric("ballast_limits_reached_total", .counter, ["limit"], "Times that a limit was reached, by its key") {
            told, list in
            for limit in LimitCounter.allCases { list.add(told.statistics.limits[limit], Labels(), "limit", limit.key) }
        },
    ]

    private static let requests: [Metric] = [
        .requests("ballast_requests_total", .counter, ["code"], "Requests answered, by status class sent to the client")
        {
            for (code, counter) in RequestCounter.classes { $2.add($0.counts[counter], $1, "code", code) }
        },
        .requests("ballast_request_errors_total", .counter, ["reason"], "Requests ballast failed or cut") {
            for (reason, counter) in Snapshot<RequestCounter>.failureReasons {
                $2.add($0.counts[counter], $1, "reason", reason)
            }
            $2.add($0.counts[.truncated], $1, "reason", "truncated")
        },
        .requests("ballast_open_tunnels", .gauge, [], "Connections that have switched to another protocol") {
            $2.add($0.counts[.tunnelsOpened] - $0.counts[.tunnels], $1)
        },
        .requests(
            "ballast_tunnels_total", .counter, [], "Connections that had switched to another protocol and are over"
        ) {
            $2.add($0.counts[.tunnels], $1)
        },
        .requests("ballast_client_aborts_total", .counter, ["phase"], "Clients that left") {
            for (phase, counter) in Snapshot<RequestCounter>.phases { $2.add($0.counts[counter], $1, "phase", phase) }
        },
        .requests("ballast_request_duration_seconds", .histogram, [], "First request byte to last response byte") {
            $2.add($0.duration, $1)
        },
        .requests(
            "ballast_request_first_byte_seconds", .histogram, [],
            "First request byte to the first body byte of the response, the wait in line included"
        ) { $2.add($0.firstByte, $1) },
        .requests("ballast_queue_duration_seconds", .histogram, [], "Wait for a free server slot") {
            $2.add($0.queue, $1)
        },
        .requests("ballast_retries_total", .counter, ["reason"], "Attempts repeated on another server") {
            for (reason, counter) in Snapshot<RequestCounter>.retryReasons {
                $2.add($0.counts[counter], $1, "reason", reason)
            }
        },
        Metric("ballast_queued_requests", .gauge, ["backend"], "Requests waiting now") { told, list in
            for (index, backend) in told.statistics.backends.enumerated() {
                list.add(backend.waiting, told.backends[index].labels)
            }
        },
    ]

    private static let servers: [Metric] = [
        .servers("ballast_server_up", .gauge, [], "1 if the health check passes") { $2.add($0.isHealthy ? 1 : 0, $1) },
        .servers("ballast_server_state", .gauge, ["state"], "1 for the current state") {
            for state in Statistics.Server.states { $2.add($0.state == state ? 1 : 0, $1, "state", state) }
        },
        .servers("ballast_server_inflight_requests", .gauge, [], "Being served now") { $2.add($0.inflight, $1) },
        .servers("ballast_server_inflight_limit", .gauge, [], "Configured maxconn; 0 is none") {
            $2.add($0.maxconn, $1)
        },
        .servers("ballast_server_responses_total", .counter, ["code"], "Responses from the server, by status class") {
            for (code, counter) in ServerCounter.classes { $2.add($0.counts[counter], $1, "code", code) }
        },
        .servers("ballast_server_failures_total", .counter, ["reason"], "Attempts that got no whole response") {
            for (reason, counter) in Snapshot<ServerCounter>.failureReasons {
                $2.add($0.counts[counter], $1, "reason", reason)
            }
        },
        .servers(
            "ballast_server_first_byte_seconds", .histogram, [],
            "Request sent to first body byte (time to first token when streaming)"
        ) { $2.add($0.firstByte, $1) },
        .servers(
            "ballast_server_stream_gap_seconds", .histogram, [], "Pause between streamed chunks (about time per token)"
        ) { $2.add($0.streamGap, $1, bounds: Histogram.gapBounds) },
        .servers(
            "ballast_server_stream_events_total", .counter, [], "Server-sent events forwarded (about one per token)"
        ) { $2.add($0.counts[.streamEvents], $1) },
        .servers("ballast_server_sent_bytes_total", .counter, [], "Body bytes to the server") {
            $2.add($0.counts[.sentBytes], $1)
        },
        .servers("ballast_server_received_bytes_total", .counter, [], "Body bytes from the server") {
            $2.add($0.counts[.receivedBytes], $1)
        },
        .servers("ballast_server_connections", .gauge, ["state"], "Connections to the server") {
            $2.add($0.idleConnections, $1, "state", "idle")
            $2.add($0.activeConnections, $1, "state", "active")
        },
        .servers(
            "ballast_server_tls_handshakes_total", .counter, ["resumed"],
            "TLS handshakes with the server that were finished"
        ) {
            $2.add($0.counts[.secured] - $0.counts[.resumed], $1, "resumed", "no")
            $2.add($0.counts[.resumed], $1, "resumed", "yes")
        },
        .servers("ballast_stale_connections_total", .counter, [], "Kept connections found dead when leased") {
            $2.add($0.counts[.staleConnections], $1)
        },
        .servers("ballast_server_health_checks_total", .counter, ["result"], "Health checks") {
            $2.add($0.counts[.checksPassed], $1, "result", "pass")
            $2.add($0.counts[.checksFailed], $1, "result", "fail")
        },
    ]

    /// The names that autoscalers ask for, told where `aliases = autoscaling` is set.
    static let aliases: [Metric] = [
        Metric("request_queue_depth", .gauge, ["backend"], "Requests waiting now") { told, list in
            for (index, backend) in told.statistics.backends.enumerated() {
                list.add(backend.waiting, told.backends[index].labels)
            }
        },
        Metric(
            "prediction_latency_p99_seconds", .gauge, ["backend", "server"],
            "Of the requests of the last minute, the duration that 99 of 100 do not exceed; 0 without requests"
        ) { told, list in
            for (index, backend) in told.statistics.backends.enumerated() {
                list.add(backend.recent.latency99 ?? 0, told.backends[index].labels)
                for (position, server) in backend.servers.enumerated() {
                    list.add(server.recent.latency99 ?? 0, told.backends[index].servers[position])
                }
            }
        },
    ]
}

extension MetricTable {
    /// What stands in the labels that are nobody's names.
    private static var labelValues: [(label: String, values: [String])] {
        [
            ("`code`", RequestCounter.classes.map(\.code)),
            (
                "`reason` of `ballast_request_errors_total`",
                Snapshot<RequestCounter>.failureReasons.map(\.reason) + ["truncated"]
            ),
            ("`reason` of `ballast_retries_total`", Snapshot<RequestCounter>.retryReasons.map(\.reason)),
            ("`reason` of `ballast_server_failures_total`", Snapshot<ServerCounter>.failureReasons.map(\.reason)),
            ("`reason` of `ballast_tls_handshake_failures_total`", ListenerCounter.handshakeFailures.map(\.reason)),
            ("`reason` of `ballast_accept_errors_total`", ["emfile", "enfile", "aborted", "nomem", "limit", "other"]),
            ("`phase`", Snapshot<RequestCounter>.phases.map(\.phase)),
            ("`state` of `ballast_server_state`", Statistics.Server.states),
            ("`state` of `ballast_server_connections`", ["idle", "active"]),
            ("`result`", ["pass", "fail"]), ("`resumed`", ["no", "yes"]),
            ("`limit`", LimitCounter.allCases.map(\.key)),
        ]
    }

    /// `Config/reference/metrics.md`.
    static var markdown: String {
        var text = """
            # Metrics

            Every metric, from the table in `Sources/Metrics`. They are served at `/metrics` of `[stats]` and `[metrics]`, as
            Prometheus text 0.0.4 or OpenMetrics 1.0.0 by `Accept`, with gzip by `Accept-Encoding`. Names and labels are a
            contract: they stay. Units are base units; every series is there from the start, at 0; what clients send never
            becomes a label. What came to no backend carries `backend=""`.

            | metric | type | labels | meaning |
            |---|---|---|---|

            """
        func row(_ metric: Metric) -> String {
            let labels = metric.labels.map { "`\($0)`" }.joined(separator: " ")
            return "| `\(metric.name)` | \(metric.kind.rawValue) | \(labels) | \(metric.help) |\n"
        }
        for metric in rows { text += row(metric) }
        text += "\n| label | values |\n|---|---|\n"
        for (label, values) in labelValues { text += "| \(label) | \(values.joined(separator: ", ")) |\n" }
        text += "\nA response that had begun and was cut counts by its cause and once more as `truncated`.\n"
        text +=
            "\nHistograms have the bounds \(Histogram.texts.joined(separator: ", ")) (seconds); the pauses of streams those up to \(Histogram.texts[Histogram.gapBounds - 1]).\n"
        text += "\nWith `aliases = autoscaling` in `[stats]`, these are told as well:\n\n"
        text += "| metric | type | labels | meaning |\n|---|---|---|---|\n"
        for metric in aliases { text += row(metric) }
        return text
            + "\n`prediction_latency_p99_seconds` is told of each backend without `server`, and of each server; it slides in steps of \(Track.interval) seconds.\n"
    }
}
