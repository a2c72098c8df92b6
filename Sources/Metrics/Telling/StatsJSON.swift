// Statistics for programs: the same that the page shows, as JSON and as CSV.

public enum StatsJSON {
    public static func bytes(_ told: Statistics) -> [UInt8] {
        var json = JSONWriter()
        json.object {
            $0.add("version", told.build.version)
            $0.add("host", told.host)
            $0.add("time", told.stamp)
            $0.add("uptime_seconds", told.now - told.process.startedAt)
            $0.add("ready", told.isReady)
            $0.object("configuration") {
                $0.add("loaded_at", told.loadedStamp)
                $0.add("last_load_accepted", told.wasLastLoadAccepted)
            }
            $0.object("process") {
                $0.add("cpu_seconds", told.process.cpuSeconds)
                $0.add("resident_bytes", told.process.residentBytes)
                $0.add("open_descriptors", told.process.openDescriptors)
                $0.add("maximum_descriptors", told.process.maximumDescriptors)
            }
            recent(told.recent, &$0)
            $0.array("listeners") { list in
                for listener in told.listeners {
                    list.object {
                        $0.add("name", listener.name)
                        $0.add("tls", listener.isSecure)
                        $0.add("open_connections", listener.open)
                        $0.add("connections", listener.counts[.accepted])
                    }
                }
            }
            $0.array("certificates") { list in
                for certificate in told.certificates {
                    list.object {
                        $0.add("file", certificate.path)
                        $0.add("expires_at_seconds", certificate.expiry)
                    }
                }
            }
            $0.object("unrouted") { requests(told.unrouted, &$0) }
            $0.array("backends") { list in
                for value in told.backends {
                    list.line()
                    list.object { backend(value, &$0) }
                }
            }
        }
        json.line()
        return json.writer.bytes
    }

    private static func recent(_ recent: Recent, _ json: inout JSONWriter) {
        json.object("recent") {
            $0.add("requests_per_second", recent.requestsPerSecond)
            $0.add("events_per_second", recent.eventsPerSecond)
            $0.add("error_share_5m", recent.errorShare)
            $0.add("first_byte_p50_seconds", recent.firstByteMedian)
            $0.add("first_byte_p95_seconds", recent.firstByte95)
            $0.add("latency_p99_seconds", recent.latency99)
        }
    }

    private static func requests(_ requests: Statistics.Requests, _ json: inout JSONWriter) {
        let counts = requests.counts
        json.add("requests", counts[.requests])
        json.counts("responses", RequestCounter.classes.map { ($0.code, counts[$0.counter]) })
        let reasons = Snapshot<RequestCounter>.failureReasons.map { ($0.reason, counts[$0.counter]) }
        json.counts("errors", reasons + [("truncated", counts[.truncated])])
        json.counts("retries", Snapshot<RequestCounter>.retryReasons.map { ($0.reason, counts[$0.counter]) })
        json.counts("client_aborts", Snapshot<RequestCounter>.phases.map { ($0.phase, counts[$0.counter]) })
        json.add("tunnels", counts[.tunnels])
        json.add("open_tunnels", counts[.tunnelsOpened] - counts[.tunnels])
    }

    private static func backend(_ backend: Statistics.Backend, _ json: inout JSONWriter) {
        json.add("name", backend.name)
        json.add("balance", backend.policy)
        json.add("waiting", backend.waiting)
        json.add("longest_wait_seconds", backend.longestWait / .seconds(1))
        json.add("queue_limit", backend.queueLimit)
        requests(backend.requests, &json)
        recent(backend.recent, &json)
        json.array("servers") { list in
            for value in backend.servers {
                list.line()
                list.object { server(value, &$0) }
            }
        }
    }

    private static func server(_ server: Statistics.Server, _ json: inout JSONWriter) {
        json.add("name", server.name)
        json.add("address", server.address)
        json.add("state", server.state)
        json.add("state_age_seconds", server.stateAge)
        json.add("healthy", server.isHealthy)
        json.add("backup", server.isBackup)
        json.add("weight", server.weight)
        json.add("by_hand", server.isOutByHand || server.hasWeightByHand)
        json.add("inflight", server.inflight)
        json.add("limit", server.limit)
        json.add("maxconn", server.maxconn)
        json.add("last_check", server.lastCheck)
        json.add("last_check_age_seconds", server.lastCheckAge)
        let counts = server.counts
        json.counts("responses", ServerCounter.classes.map { ($0.code, counts[$0.counter]) })
        json.counts("failures", Snapshot<ServerCounter>.failureReasons.map { ($0.reason, counts[$0.counter]) })
        json.add("retried", counts[.retried])
        json.add("stream_events", counts[.streamEvents])
        json.add("sent_bytes", counts[.sentBytes])
        json.add("received_bytes", counts[.receivedBytes])
        json.counts("connections", [("active", server.activeConnections), ("idle", server.idleConnections)])
        json.counts("checks", [("pass", counts[.checksPassed]), ("fail", counts[.checksFailed])])
        recent(server.recent, &json)
    }

    /// What happened lately, the newest first.
    public static func events(_ events: [RecentEvent]) -> [UInt8] {
        var json = JSONWriter()
        json.object {
            $0.array("events") { list in
                for event in events {
                    list.line()
                    list.object {
                        $0.add("number", event.number)
                        $0.add("time", event.stamp)
                        $0.add("kind", event.kind.rawValue)
                        $0.add("trouble", event.isTrouble)
                        $0.add("backend", event.backend)
                        $0.add("server", event.server)
                        $0.add("text", event.text)
                    }
                }
            }
        }
        json.line()
        return json.writer.bytes
    }
}

public enum StatsCSV {
    /// One line for each backend, whose server is empty, and one for each of its servers.
    public static func bytes(_ told: Statistics) -> [UInt8] {
        var writer = TextWriter()
        writer.raw(
            "backend,server,address,state,weight,inflight,limit,waiting,requests_per_second,events_per_second,"
                + "first_byte_p50_seconds,first_byte_p95_seconds,responses_1xx,responses_2xx,responses_3xx,responses_4xx,"
                + "responses_5xx,failures,stream_events,sent_bytes,received_bytes,last_check\r\n")
        for backend in told.backends {
            let counts = backend.requests.counts
            writer.csv(backend.name)
            writer.raw(",,,,,\(backend.servers.reduce(0) { $0 + $1.inflight }),,\(backend.waiting),")
            rates(backend.recent, &writer)
            for (_, counter) in RequestCounter.classes { writer.raw("\(counts[counter]),") }
            writer.raw("\(counts.failures),,,,\r\n")
            for server in backend.servers { line(server, of: backend, &writer) }
        }
        return writer.bytes
    }

    private static func line(_ server: Statistics.Server, of backend: Statistics.Backend, _ writer: inout TextWriter) {
        let counts = server.counts
        writer.csv(backend.name)
        writer.raw(",")
        writer.csv(server.name)
        writer.raw(",")
        writer.csv(server.address)
        writer.raw(",\(server.state),\(server.weight),\(server.inflight),\(server.limit.map { "\($0)" } ?? ""),,")
        rates(server.recent, &writer)
        for (_, counter) in ServerCounter.classes { writer.raw("\(counts[counter]),") }
        writer.raw("\(counts.failures),\(counts[.streamEvents]),\(counts[.sentBytes]),\(counts[.receivedBytes]),")
        writer.csv(server.lastCheck)
        writer.raw("\r\n")
    }

    private static func rates(_ recent: Recent, _ writer: inout TextWriter) {
        for value in [recent.requestsPerSecond, recent.eventsPerSecond, recent.firstByteMedian, recent.firstByte95] {
            if let value { writer.number(value, places: 6) }
            writer.raw(",")
        }
    }
}
