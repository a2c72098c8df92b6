// Every metric, one row each: name, type, help, and where its samples are found. A public contract: names and labels stay.

struct Metric: Sendable {
    enum Kind: String, Sendable { case counter, gauge, histogram }

    let name: String
    let kind: Kind
    let help: String
    let samples: @Sendable (Statistics, inout SampleList) -> Void

    init(
        _ name: String, _ kind: Kind, _ help: String,
        _ samples: @escaping @Sendable (Statistics, inout SampleList) -> Void
    ) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    /// A row whose samples are those of each backend; requests without one carry an empty name.
    static func requests(
        _ name: String, _ kind: Kind, _ help: String,
        _ samples: @escaping @Sendable (Statistics.Requests, Labels, inout SampleList) -> Void
    ) -> Metric {
        Metric(name, kind, help) { statistics, list in
            samples(statistics.unrouted, [("backend", "")], &list)
            for backend in statistics.backends { samples(backend.requests, [("backend", backend.name)], &list) }
        }
    }

    /// A row whose samples are those of each server.
    static func servers(
        _ name: String, _ kind: Kind, _ help: String,
        _ samples: @escaping @Sendable (Statistics.Server, Labels, inout SampleList) -> Void
    ) -> Metric {
        Metric(name, kind, help) { statistics, list in
            for backend in statistics.backends {
                for server in backend.servers {
                    samples(server, [("backend", backend.name), ("server", server.name)], &list)
                }
            }
        }
    }
}

enum MetricTable {
    static let rows: [Metric] = process + listeners + requests + servers

    private static let process: [Metric] = [
        Metric("ballast_build_info", .gauge, "Build of the running binary; always 1") { statistics, list in
            list.add(1, [("version", statistics.build.version), ("swift", statistics.build.swift)])
        },
        Metric("ballast_config_last_reload_successful", .gauge, "1 if the last load was accepted, 0 if refused") {
            $1.add($0.wasLastLoadAccepted ? 1 : 0)
        },
        Metric(
            "ballast_config_last_reload_success_timestamp_seconds", .gauge,
            "When the running configuration was loaded"
        ) { $1.add($0.loadedAt) },
        Metric("ballast_log_lines_dropped_total", .counter, "Log lines given up because the disk was slow or full") {
            $1.add($0.droppedLogLines)
        },
        Metric("process_cpu_seconds_total", .counter, "CPU time, of user and system") { $1.add($0.process.cpuSeconds) },
        Metric("process_resident_memory_bytes", .gauge, "Resident memory") { $1.add($0.process.residentBytes) },
        Metric("process_virtual_memory_bytes", .gauge, "Virtual memory") { $1.add($0.process.virtualBytes) },
        Metric("process_open_fds", .gauge, "Open descriptors") { $1.add($0.process.openDescriptors) },
        Metric("process_max_fds", .gauge, "Descriptors that may be open") { $1.add($0.process.maximumDescriptors) },
        Metric("process_start_time_seconds", .gauge, "When the process started") { $1.add($0.process.startedAt) },
    ]

    private static let listeners: [Metric] = [
        Metric("ballast_open_connections", .gauge, "Open client connections") { statistics, list in
            for listener in statistics.listeners { list.add(listener.open, [("listener", listener.name)]) }
        },
        Metric("ballast_connections_total", .counter, "Accepted client connections") { statistics, list in
            for listener in statistics.listeners {
                list.add(listener.counts[.accepted], [("listener", listener.name)])
            }
        },
        Metric("ballast_tls_handshakes_total", .counter, "TLS handshakes that were finished") { statistics, list in
            for listener in statistics.listeners where listener.isSecure {
                let resumed = listener.counts[.resumed]
                list.add(listener.counts[.secured] - resumed, [("listener", listener.name), ("resumed", "no")])
                list.add(resumed, [("listener", listener.name), ("resumed", "yes")])
            }
        },
        Metric("ballast_tls_handshake_failures_total", .counter, "TLS handshakes that failed") { statistics, list in
            for listener in statistics.listeners where listener.isSecure {
                for (reason, counter) in ListenerCounter.handshakeFailures {
                    list.add(listener.counts[counter], [("listener", listener.name), ("reason", reason)])
                }
            }
        },
        Metric("ballast_certificate_expiry_timestamp_seconds", .gauge, "When the certificate expires") { told, list in
            for certificate in told.certificates {
                list.add(certificate.expiry, [("certificate", certificate.path)])
            }
        },
        Metric("ballast_certificate_load_successful", .gauge, "1 if the last look at TLS's files found them good") {
            if $0.hasCertificates { $1.add($0.wasLastCertificateLoadAccepted ? 1 : 0) }
        },
        Metric("ballast_accept_errors_total", .counter, "Accepts that failed or were put off") { statistics, list in
            let reasons: [(String, ProcessCounter)] = [
                ("emfile", .acceptDescriptors), ("enfile", .acceptTable), ("aborted", .acceptAborted),
                ("nomem", .acceptMemory), ("limit", .acceptLimit), ("other", .acceptOther),
            ]
            for (reason, counter) in reasons { list.add(statistics.counts[counter], [("reason", reason)]) }
        },
        Metric("ballast_limits_reached_total", .counter, "Times that a limit was reached, by its key") { told, list in
            for limit in LimitCounter.allCases { list.add(told.limits[limit], [("limit", limit.key)]) }
        },
    ]

    private static let requests: [Metric] = [
        .requests("ballast_requests_total", .counter, "Requests answered, by status class sent to the client") {
            for (code, counter) in RequestCounter.classes { $2.add($0.counts[counter], $1 + [("code", code)]) }
        },
        .requests("ballast_request_errors_total", .counter, "Requests ballast failed or cut") {
            for (reason, counter) in Snapshot<RequestCounter>.failureReasons {
                $2.add($0.counts[counter], $1 + [("reason", reason)])
            }
            $2.add($0.counts[.truncated], $1 + [("reason", "truncated")])
        },
        .requests("ballast_open_tunnels", .gauge, "Connections that have switched to another protocol") {
            $2.add($0.counts[.tunnelsOpened] - $0.counts[.tunnels], $1)
        },
        .requests("ballast_tunnels_total", .counter, "Connections that had switched to another protocol and are over") {
            $2.add($0.counts[.tunnels], $1)
        },
        .requests("ballast_client_aborts_total", .counter, "Clients that left") {
            for (phase, counter) in Snapshot<RequestCounter>.phases {
                $2.add($0.counts[counter], $1 + [("phase", phase)])
            }
        },
        .requests("ballast_request_duration_seconds", .histogram, "First request byte to last response byte") {
            $2.add($0.duration, $1)
        },
        .requests("ballast_queue_duration_seconds", .histogram, "Wait for a free server slot") { $2.add($0.queue, $1) },
        .requests("ballast_retries_total", .counter, "Attempts repeated on another server") {
            for (reason, counter) in Snapshot<RequestCounter>.retryReasons {
                $2.add($0.counts[counter], $1 + [("reason", reason)])
            }
        },
        Metric("ballast_queued_requests", .gauge, "Requests waiting now") { statistics, list in
            for backend in statistics.backends { list.add(backend.waiting, [("backend", backend.name)]) }
        },
    ]

    private static let servers: [Metric] = [
        .servers("ballast_server_up", .gauge, "1 if the health check passes") { $2.add($0.isHealthy ? 1 : 0, $1) },
        .servers("ballast_server_state", .gauge, "1 for the current state") {
            for state in Statistics.Server.states { $2.add($0.state == state ? 1 : 0, $1 + [("state", state)]) }
        },
        .servers("ballast_server_inflight_requests", .gauge, "Being served now") { $2.add($0.inflight, $1) },
        .servers("ballast_server_inflight_limit", .gauge, "Configured maxconn; 0 is none") { $2.add($0.maxconn, $1) },
        .servers("ballast_server_responses_total", .counter, "Responses from the server, by status class") {
            for (code, counter) in ServerCounter.classes { $2.add($0.counts[counter], $1 + [("code", code)]) }
        },
        .servers("ballast_server_first_byte_seconds", .histogram, "Request sent to first body byte") {
            $2.add($0.firstByte, $1)
        },
        .servers("ballast_server_sent_bytes_total", .counter, "Body bytes to the server") {
            $2.add($0.counts[.sentBytes], $1)
        },
        .servers("ballast_server_received_bytes_total", .counter, "Body bytes from the server") {
            $2.add($0.counts[.receivedBytes], $1)
        },
        .servers("ballast_server_stream_events_total", .counter, "Server-sent events forwarded") {
            $2.add($0.counts[.streamEvents], $1)
        },
        .servers("ballast_server_connections", .gauge, "Connections to the server") {
            let open = $0.counts[.connectionsOpened] - $0.counts[.connectionsClosed]
            let idle = $0.counts[.connectionsKept] - $0.counts[.connectionsUnkept]
            $2.add(idle, $1 + [("state", "idle")])
            $2.add(open - idle, $1 + [("state", "active")])
        },
        .servers("ballast_server_tls_handshakes_total", .counter, "TLS handshakes with the server that were finished") {
            $2.add($0.counts[.secured] - $0.counts[.resumed], $1 + [("resumed", "no")])
            $2.add($0.counts[.resumed], $1 + [("resumed", "yes")])
        },
        .servers("ballast_stale_connections_total", .counter, "Kept connections found dead when leased") {
            $2.add($0.counts[.staleConnections], $1)
        },
        .servers("ballast_server_health_checks_total", .counter, "Health checks") {
            $2.add($0.counts[.checksPassed], $1 + [("result", "pass")])
            $2.add($0.counts[.checksFailed], $1 + [("result", "fail")])
        },
    ]
}
