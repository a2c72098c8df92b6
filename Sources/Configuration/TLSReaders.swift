// Values about TLS with a form of their own: paths, names, lists of suites. It opens none of the files.

enum TLSReaders {
    private static func path(_ text: String) throws(Mistake) -> String {
        guard text.hasPrefix("/"), !text.hasSuffix("/") else {
            throw Mistake("'\(text)' is relative; write a path that begins with '/'")
        }
        return text
    }

    private static func paths(_ setting: Setting) throws(Mistake) -> [String] {
        var paths: [String] = []
        for (index, word) in setting.words.enumerated() {
            do throws(Mistake) { paths.append(try path(word.text)) } catch { throw Mistake(error.message, word: index) }
        }
        return paths
    }

    /// A secret that stood in a file of its own.
    private static func secret(_ setting: Setting) throws(Mistake) -> String {
        let text = try setting.single
        guard setting.words[0].isSecret else {
            throw Mistake(
                "'\(setting.key)' never stands in a configuration; write \(setting.key) = ${file:/PATH}", isSecret: true
            )
        }
        return text
    }

    // MARK: [tls]

    @Sendable static func certificate(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.certificates += try paths(setting)
        tls.note(setting)
    }

    @Sendable static func key(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.keys += try paths(setting)
        tls.note(setting)
    }

    @Sendable static func passphrase(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.passphrase = try secret(setting)
    }

    @Sendable static func clientAuthorities(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.clientAuthorities = try path(try setting.single)
        tls.note(setting)
    }

    @Sendable static func clientRevocations(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.clientRevocations = try path(try setting.single)
        tls.note(setting)
    }

    @Sendable static func clientVerification(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        let words = TLSSettings.ClientVerification.allCases
        let text = try Values.choice(try setting.single, among: words.map(\.rawValue))
        tls.clientVerification = words.first { $0.rawValue == text } ?? .off
    }

    @Sendable static func clientNames(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() {
            guard !word.text.hasPrefix("*") else {
                throw Mistake("names of clients are whole; there are no wildcards", word: index)
            }
            tls.clientNames.append(word.text)
        }
    }

    private static func names(_ setting: Setting, _ example: String) throws(Mistake) -> [String] {
        for (index, word) in setting.words.enumerated() {
            let isName = word.text.utf8.allSatisfy { byte in
                byte >= 0x30 && byte <= 0x39 || byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a || "-_".utf8.contains(byte)
            }
            guard isName else { throw Mistake("'\(word.text)' is not a name like \(example)", word: index) }
        }
        return setting.words.map(\.text)
    }

    @Sendable static func ciphers(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        let names = try names(setting, "ECDHE-ECDSA-AES128-GCM-SHA256")
        tls.suites += names.filter { $0.hasPrefix("TLS_") }
        tls.ciphers += names.filter { !$0.hasPrefix("TLS_") }
    }

    @Sendable static func groups(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.groups = try names(setting, "X25519")
    }

    @Sendable static func tickets(_ tls: inout TLSSettings, _ setting: Setting) throws(Mistake) {
        tls.hasTickets = try Values.flag(try setting.single)
    }

    // MARK: Listeners

    @Sendable static func strictTransport(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let words = setting.words.map(\.text)
        if words == ["off"] { return settings.strictTransport = nil }
        let time = try Values.duration(words[0], in: .zero...(.seconds(10 * 365 * 86_400)))
        var value = "max-age=\(Int(time / .seconds(1)))"
        for (index, word) in words.enumerated().dropFirst() {
            switch word {
            case "include-subdomains": value += "; includeSubDomains"
            case "preload": value += "; preload"
            case _:
                let hint = Suggestion.text(for: word, among: ["include-subdomains", "preload"])
                throw Mistake("'\(word)' is not an option of 'hsts'\(hint)", word: index)
            }
        }
        settings.strictTransport = value
    }

    @Sendable static func unknownName(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        settings.refusesUnknownNames =
            try Values.choice(try setting.single, among: ["default", "refuse"]) == "refuse"
    }

    // MARK: Servers

    @Sendable static func serverVerification(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.tls.verifies = try Values.flag(try setting.single)
    }

    @Sendable static func serverAuthorities(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        backend.tls.authorities = text == "system" ? nil : try path(text)
        if text != "system" { backend.tls.places[text] = setting.position }
    }

    @Sendable static func serverName(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let name = try setting.single
        guard name.utf8.count <= 255, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && !"/?@*".utf8.contains($0) })
        else { throw Mistake("'\(name)' is not a host name") }
        backend.tls.name = name
    }

    @Sendable static func ownCertificate(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.tls.certificate = try path(try setting.single)
        backend.tls.places[setting.words[0].text] = setting.position
    }

    @Sendable static func ownKey(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.tls.key = try path(try setting.single)
        backend.tls.places[setting.words[0].text] = setting.position
    }

    @Sendable static func ownPassphrase(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.tls.passphrase = try secret(setting)
    }
}

extension TLSSettings {
    /// Remembers where the files of `setting` are named.
    fileprivate mutating func note(_ setting: Setting) {
        for word in setting.words {
            places[word.text] = Position(
                file: setting.position.file, line: setting.position.line, column: max(1, word.column))
        }
    }
}
