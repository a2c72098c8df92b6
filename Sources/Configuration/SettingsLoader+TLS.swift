// What only the whole configuration can show about TLS: certificates without listeners, listeners without certificates, what
// redirects lead to.

extension SettingsLoader {
    mutating func checkTLS() {
        let secure = settings.allListeners.filter(\.isSecure)
        if let first = secure.first, settings.tls.isEmpty {
            fail(
                first.position,
                "\(first.text) needs a certificate; write a section: [tls] with certificate = /PATH and key = /PATH")
        }
        for tls in settings.tls { check(tls) }
        for listener in settings.allListeners where listener.redirectsToHTTPS { checkRedirect(listener) }
        if secure.isEmpty, let tls = settings.tls.first, let section = section(of: tls) {
            errors.append(
                SettingsError(
                    tls.position,
                    "\(tls.text) has no effect: no 'listen' has tls behind it; write for example listen = :443 tls",
                    source: section.source, width: section.source.utf8.count))
        }
        if secure.isEmpty, settings.strictTransport != nil,
            let setting = sections[0].settings.first(where: { $0.key == "hsts" })
        {
            warn(setting, "'hsts' has no effect: no 'listen' has tls behind it")
        }
        for listener in settings.listeners where listener.port == 443 && !listener.isSecure {
            guard let setting = sections[0].settings.first(where: { $0.position == listener.position }) else {
                continue
            }
            warn(setting, "\(listener.text) speaks plain HTTP; write tls behind it if clients shall come with https://")
        }
        for backend in settings.backends { check(backend) }
    }

    private func section(of tls: TLSSettings) -> Section? {
        sections.first { $0.place == .tls && $0.name == tls.name }
    }

    private mutating func check(_ tls: TLSSettings) {
        guard let section = section(of: tls) else { return }
        func setting(_ key: String) -> Setting? { section.settings.first { $0.key == key } }
        if tls.certificates.isEmpty {
            errors.append(
                SettingsError(
                    tls.position, "\(tls.text) has no 'certificate'", source: section.source,
                    width: section.source.utf8.count))
        }
        if tls.clientVerification != .off, tls.clientAuthorities == nil, let setting = setting("client-verify") {
            errors.append(setting.error("'client-verify' needs 'client-ca': whom to believe"))
        }
        guard tls.clientVerification == .off else { return }
        for key in ["client-ca", "client-crl", "client-names"] {
            guard let setting = setting(key) else { continue }
            warn(setting, "'\(key)' has no effect: client-verify is off")
        }
    }

    private mutating func checkRedirect(_ listener: ListenerSettings) {
        if listener.isSecure {
            fail(listener.position, "\(listener.text) is secured already; 'redirect-https' is for one without tls")
        } else if settings.securePort == nil {
            fail(listener.position, "'redirect-https' leads nowhere: no 'listen' has tls behind it")
        }
    }

    private mutating func check(_ backend: BackendSettings) {
        let isSecure = backend.servers.contains(where: \.isSecure)
        let own = (sections.first { $0.place == .backend && $0.name == backend.name } ?? sections[0]).settings
        if !isSecure, let setting = own.first(where: { $0.key.hasPrefix("tls-") }) {
            warn(setting, "'\(setting.key)' has no effect: no server of '\(backend.name)' is https://")
        }
        if isSecure, !backend.tls.verifies, let setting = own.first(where: { $0.key == "tls-verify" }) {
            warn(
                setting,
                "with 'tls-verify = off' whoever stands between ballast and its servers can read and change everything")
        }
        if backend.tls.key != nil, backend.tls.certificate == nil,
            let setting = own.first(where: { $0.key == "tls-key" })
        {
            warn(setting, "'tls-key' has no effect without 'tls-certificate'")
        }
    }
}

extension Settings {
    /// The port that `redirect-https` leads to: of requests' listeners the first that is secured.
    public var securePort: UInt16? {
        let secure = (listeners + backends.flatMap(\.listeners)).filter { $0.isSecure && $0.path == nil }
        // What a socket unit passes has a port that is not known here: the one that everybody means.
        return secure.first.map { $0.inherited == nil ? $0.port : 443 }
    }
}
