// What only the whole configuration can show: what is missing, what contradicts, what is probably not meant.
import Addresses

extension SettingsLoader {
    mutating func checkWhole() {
        // A missing piece may be one that could not be read: say so only when nothing else is wrong.
        guard errors.isEmpty else { return }
        if settings.listeners.isEmpty, settings.backends.allSatisfy(\.listeners.isEmpty) {
            errors.append(SettingsError(whole, "nothing to listen on; write for example: listen = :8080"))
        }
        for backend in settings.backends {
            if backend.servers.isEmpty { failEmpty(backend) }
            checkServers(backend)
            checkQueue(backend)
            checkIdleSettings(backend)
        }
        checkStats()
        checkListeners()
        checkTLS()
        checkRoutes()
        checkDescriptors()
    }

    private func section(of backend: BackendSettings) -> Section? {
        sections.first { $0.place == .backend && $0.name == backend.name }
    }

    private mutating func failEmpty(_ backend: BackendSettings) {
        guard let section = section(of: backend) else {
            errors.append(
                SettingsError(whole, "no servers; write for example: servers = 10.0.0.11:8000 10.0.0.12:8000"))
            return
        }
        errors.append(
            SettingsError(
                section.position, "\(section.text) has no servers; write for example: servers = 10.0.0.11:8000",
                source: section.source, width: section.source.utf8.count))
    }

    private mutating func checkServers(_ backend: BackendSettings) {
        // By what each is called; whether that is a name of its own.
        var called: [String: Bool] = [:]
        for server in backend.servers {
            let name = server.name ?? server.authority
            guard let isNamed = called.updateValue(server.name != nil, forKey: name) else { continue }
            // One entry for each address of a host is what `server` with a name is for.
            let isSame = !isNamed && server.name == nil
            fail(server.position, isSame ? "the server \(name) stands twice" : "two servers are called '\(name)'")
        }
    }

    /// A line forms only where there is a limit.
    private mutating func checkQueue(_ backend: BackendSettings) {
        guard backend.maxconn == 0, backend.servers.allSatisfy({ $0.maxconn ?? 0 == 0 }) else { return }
        let own = section(of: backend)?.settings ?? []
        for setting in own + sections[0].settings where setting.key == "queue" || setting.key == "timeout-queue" {
            let text = "'\(setting.key)' has no effect without 'maxconn'; write for example: maxconn = 10"
            if !warnings.contains(where: { $0.position == setting.position }) { warn(setting, text) }
        }
    }

    /// An error at a place that a setting has, with its line.
    mutating func fail(_ position: Position, _ message: String) {
        let setting = sections.lazy.flatMap(\.settings).first { $0.position == position }
        errors.append(setting?.error(message) ?? SettingsError(position, message))
    }

    /// Settings that say nothing, because another one switches off what they are about.
    private mutating func checkIdleSettings(_ backend: BackendSettings) {
        let own = section(of: backend)?.settings ?? sections[0].settings
        if backend.health == .off, let setting = own.first(where: { $0.key.hasPrefix("health-") }) {
            warn(setting, "'\(setting.key)' has no effect: health is off")
        }
        if backend.retries == 0,
            let setting = own.first(where: { ["retry-on", "replay", "retry-budget"].contains($0.key) })
        {
            warn(setting, "'\(setting.key)' has no effect: retries is 0")
        }
        guard let first = backend.servers.first, backend.servers.allSatisfy({ $0.isDisabled || $0.weight == 0 }) else {
            return
        }
        var warning = SettingsError(
            first.position, "no server of '\(backend.name)' takes requests: all are disabled or have weight 0")
        warning.isWarning = true
        warnings.append(warning)
    }

    mutating func warn(_ setting: Setting, _ text: String) {
        var warning = setting.error(text)
        warning.isWarning = true
        warnings.append(warning)
    }

    private mutating func checkStats() {
        if !settings.stats.isWritten {
            let text = StatsSettings.defaultText
            let port = settings.listeners.first { $0.port == 8404 && ($0.address == nil || $0.address == .loopback) }
            guard port == nil else { return }
            settings.stats.listeners = [
                ListenerSettings(text: text, address: .loopback, port: 8404, position: .nowhere)
            ]
        }
        checkAccess(settings.stats, "[stats]")
        if sections.contains(where: { $0.place == .metrics }), settings.metrics.listeners.isEmpty {
            let section = sections.first { $0.place == .metrics }
            errors.append(
                SettingsError(
                    section?.position ?? whole, "[metrics] listens nowhere; write for example: listen = 127.0.0.1:9090",
                    source: section?.source ?? "", width: section?.source.utf8.count ?? 1))
        }
        checkAccess(settings.metrics, "[metrics]")
    }

    private mutating func checkAccess(_ own: StatsSettings, _ title: String) {
        if own.isOpen, !own.credentials.isEmpty, let listener = own.listeners.first {
            fail(listener.position, "\(title) has 'auth = none' beside a name; leave one of them out")
        }
        for listener in own.listeners where !own.isOpen && own.credentials.isEmpty && !listener.isLocal {
            fail(
                listener.position,
                "\(title) on \(listener.text) would show everything to everybody who can connect; write "
                    + "'auth = NAME:SECRET' into \(title), use a loopback address or a UNIX socket, or write "
                    + "'auth = none' if the network protects it")
        }
        for listener in own.listeners where !own.credentials.isEmpty && !listener.isLocal && !listener.isSecure {
            guard let setting = sections.lazy.flatMap(\.settings).first(where: { $0.position == listener.position })
            else { continue }
            warn(setting, "passwords travel in the clear on \(listener.text); write 'tls' behind it")
        }
    }

    private mutating func checkListeners() {
        let all = settings.allListeners
        for (index, listener) in all.enumerated() {
            guard let name = listener.inherited, all[..<index].contains(where: { $0.inherited == name }) else {
                continue
            }
            fail(listener.position, "the socket \(listener.text) is listened on already")
        }
        for (index, listener) in all.enumerated() {
            guard let path = listener.path, all[..<index].contains(where: { $0.path == path }) else { continue }
            fail(listener.position, "the socket \(listener.text) is listened on already")
        }
        // What a socket unit passes may be a UNIX socket.
        for listener in all
        where listener.hasProxyHeader && !listener.isLocal && settings.trustedProxies.isEmpty
            && !(listener.inherited != nil && settings.trustsLocalSockets)
        {
            fail(
                listener.position,
                "'proxy-protocol' on \(listener.text) would let everybody who can connect say who they are; write the "
                    + "proxies' addresses into 'trusted-proxies'")
        }
        for (index, listener) in all.enumerated() where listener.port != 0 {
            guard let twin = all[..<index].first(where: listener.overlaps) else { continue }
            // The default of [stats] gives way to what is written.
            if listener.position.line == 0, !settings.stats.isWritten, listener.port == 8404, index == all.count - 1 {
                settings.stats.listeners = []
                continue
            }
            fail(
                listener.position,
                "\(listener.text) and \(twin.text) at \(twin.position) are the same port of the same address")
        }
    }

    /// The same host and path may lead to one backend only.
    private mutating func checkRoutes() {
        var routes: [String: String] = [:]
        for backend in settings.backends where backend.isRouted {
            for host in backend.hosts.isEmpty ? [""] : backend.hosts {
                for path in backend.paths.isEmpty ? [""] : backend.paths {
                    guard let other = routes.updateValue(backend.name, forKey: host + path) else { continue }
                    let what = [host.isEmpty ? nil : "the host \(host)", path.isEmpty ? nil : "the path \(path)"]
                        .compactMap { $0 }.joined(separator: " and ")
                    let section = section(of: backend)
                    errors.append(
                        SettingsError(
                            section?.position ?? whole,
                            "[backend \(other)] and [backend \(backend.name)] both serve "
                                + "\(what.isEmpty ? "every request" : what); give one of them another 'path' or 'host'",
                            source: section?.source ?? "", width: section?.source.utf8.count ?? 1))
                    return
                }
            }
        }
    }

    /// A client may need a descriptor towards a server as well.
    private mutating func checkDescriptors() {
        guard let limit = sources.descriptorLimit, settings.maxConnections * 2 + 64 > limit,
            let setting = sections[0].settings.first(where: { $0.key == "max-connections" })
        else { return }
        warn(
            setting,
            "\(settings.maxConnections) connections can take \(settings.maxConnections * 2 + 64) descriptors, and the "
                + "process may open \(limit); raise that limit (ulimit -n, LimitNOFILE) or lower max-connections")
    }
}

extension BackendSettings {
    /// Whether requests of the global listeners may come here: not where a port of its own is all that is said.
    public var isRouted: Bool { listeners.isEmpty || !paths.isEmpty || !hosts.isEmpty }
}
