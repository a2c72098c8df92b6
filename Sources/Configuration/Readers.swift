// Values with a form of their own: words to fields of the settings, each saying what would be right.
import Addresses
import Balancing

/// Values with a form of their own.
enum Readers {
    @Sendable static func listen(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        settings.listeners.append(try listener(setting))
    }

    private static func listener(_ setting: Setting) throws(Mistake) -> ListenerSettings {
        var listener = try place(setting)
        for index in setting.words.indices.dropFirst() {
            do throws(Mistake) { try option(setting.words[index].text, &listener) } catch {
                throw Mistake(error.message, word: index)
            }
        }
        return listener
    }

    private static func option(_ text: String, _ listener: inout ListenerSettings) throws(Mistake) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        switch (parts[0], parts.count == 2 ? parts[1] : nil) {
        case ("max-connections", let number?):
            listener.maxConnections = try Values.count(number, in: 1...1_000_000)
        case ("proxy-protocol", nil):
            listener.hasProxyHeader = true
        case ("tls", nil):
            listener.isSecure = true
        case ("redirect-https", nil):
            listener.redirectsToHTTPS = true
        case ("mode", let digits?):
            guard listener.path != nil else { throw Mistake("'mode' is of UNIX sockets") }
            guard digits.utf8.count == 3, let mode = UInt32(digits, radix: 8) else {
                throw Mistake("'\(digits)' is not who may connect, like 660 or 666 (chmod(1))")
            }
            listener.mode = mode
        case _:
            let hint = Suggestion.text(
                for: text.lowercased(),
                among: ["tls", "redirect-https", "max-connections=N", "proxy-protocol", "mode=660"])
            throw Mistake("'\(text)' is not an option of 'listen'\(hint)")
        }
    }

    private static func place(_ setting: Setting) throws(Mistake) -> ListenerSettings {
        let text = setting.words[0].text
        if text.hasPrefix("systemd:") {
            let name = String(text.dropFirst(8))
            guard Values.isName(name), !name.contains(":") else {
                throw Mistake("'\(text)' has no name behind systemd:, like systemd:http")
            }
            return ListenerSettings(text: text, address: nil, port: 0, inherited: name, position: setting.position)
        }
        if let path = try Values.socketPath(text) {
            var listener = ListenerSettings(text: text, address: nil, port: 0, position: setting.position)
            listener.path = path
            return listener
        }
        for (scheme, option) in [("http://", ""), ("https://", " tls")] where text.hasPrefix(scheme) {
            throw Mistake("'listen' takes no URL; write \(text.dropFirst(scheme.utf8.count))\(option)")
        }
        let (address, port) = try Values.listener(text)
        return ListenerSettings(text: text, address: address, port: port, position: setting.position)
    }

    @Sendable static func threads(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        settings.threads = text == "auto" ? nil : try Values.count(text, in: 1...256)
    }

    @Sendable static func trustedProxies(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() {
            if word.text == "unix" {
                settings.trustsLocalSockets = true
                continue
            }
            guard let range = CIDR(word.text) else {
                throw Mistake("'\(word.text)' is not an address or a range like 10.0.0.0/8, or unix", word: index)
            }
            settings.trustedProxies.append(range)
        }
    }

    @Sendable static func via(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let name = try setting.single
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2c }) else {
            throw Mistake("'via' takes a name of 1 to 64 visible characters, or off")
        }
        settings.via = name == "off" ? "" : name
    }

    @Sendable static func forwarded(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        settings.writesForwarded = try Values.flag(try setting.single)
    }

    @Sendable static func halfClose(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        settings.servesHalfClosed = try Values.choice(try setting.single, among: ["leave", "serve"]) == "serve"
    }

    @Sendable static func underscoreFields(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        settings.passesUnderscores = try Values.choice(try setting.single, among: ["drop", "pass"]) == "pass"
    }

    @Sendable static func accessLog(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        guard text == "off" || text == "stderr" || text.hasPrefix("/") else {
            throw Mistake("'\(text)' is not off, stderr or a path that begins with '/'")
        }
        settings.accessLog = text
    }

    @Sendable static func errorFolder(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        guard text.hasPrefix("/") else { throw Mistake("'\(text)' is not a path from '/' on") }
        settings.errorFolder = text
    }

    @Sendable static func pidFile(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        guard text.hasPrefix("/"), !text.hasSuffix("/") else { throw Mistake("'\(text)' is not a path from '/' on") }
        settings.pidFile = text
    }

    @Sendable static func user(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && Values.isName(String($0)) }) else {
            throw Mistake("'\(text)' is not a user, like ballast or ballast:ballast with a group")
        }
        settings.user = text
    }

    @Sendable static func server(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let words = setting.words
        let isNamed = words.count > 1 && !isOption(words[1].text)
        let place = isNamed ? 1 : 0
        if isNamed, !Values.isName(words[0].text) {
            throw Mistake("a server's name is 1 to 128 characters of printable ASCII")
        }
        var server = try server(words, place, setting.position)
        server.name = isNamed ? words[0].text : nil
        for index in words.indices.dropFirst(place + 1) {
            do throws(Mistake) { try option(words[index].text, &server) } catch {
                throw Mistake(error.message, word: index)
            }
        }
        backend.servers.append(server)
    }

    static let options = ["weight", "maxconn", "backup", "disabled"]

    private static func isOption(_ text: String) -> Bool {
        text.contains("=") || options.contains(text) || text == "check"
    }

    private static func option(_ text: String, _ server: inout ServerSettings) throws(Mistake) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        switch (parts[0], parts.count == 2 ? parts[1] : nil) {
        case ("weight", let value?): server.weight = try Values.count(value, in: 0...Server.maximumWeight)
        case ("maxconn", let value?): server.maxconn = try Values.count(value, in: 0...1_000_000)
        case ("weight", nil), ("maxconn", nil): throw Mistake("write \(parts[0])=N, without blanks")
        case ("backup", nil): server.isBackup = true
        case ("disabled", nil): server.isDisabled = true
        case ("check", nil): throw Mistake("servers are checked unless health = off; leave 'check' out")
        case _:
            let isTLS = ["tls", "ssl", "https"].contains(parts[0].lowercased())
            let hint = isTLS ? "; write https:// before its address" : Suggestion.text(for: parts[0], among: options)
            throw Mistake("'\(text)' is not an option of 'server'\(hint)")
        }
    }

    @Sendable static func servers(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        for index in setting.words.indices {
            var server = try server(setting.words, index, setting.position)
            server.isEachAddress = server.path == nil
            backend.servers.append(server)
        }
    }

    private static func server(_ words: [Word], _ index: Int, _ position: Position) throws(Mistake) -> ServerSettings {
        do throws(Mistake) {
            if let path = try Values.socketPath(words[index].text) {
                return ServerSettings(host: "", port: 0, path: path, isEachAddress: false, position: position)
            }
            let (host, port, isSecure) = try Values.server(words[index].text)
            return ServerSettings(
                host: host, port: port, isSecure: isSecure, isEachAddress: false, position: position)
        } catch {
            throw Mistake(error.message, word: index)
        }
    }

    @Sendable static func health(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let words = setting.words.map(\.text)
        switch (words[0], words.count) {
        case ("auto", 1): backend.health = .auto
        case ("tcp", 1): backend.health = .tcp
        case ("off", 1): backend.health = .off
        case ("GET", 2), ("HEAD", 2):
            guard words[1].hasPrefix("/"), words[1].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x23 }) else {
                throw Mistake("'\(words[1])' is not a path; write for example: GET /health", word: 1)
            }
            backend.health = .http(method: words[0], path: words[1])
        case _:
            let hint =
                words[0].hasPrefix("/") ? "; write GET \(words[0])" : "; the choices are auto, GET /PATH, tcp, off"
            throw Mistake("'\(words.joined(separator: " "))' is not a check\(hint)")
        }
    }

    @Sendable static func healthExpect(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        var set = StatusSet()
        for (index, word) in setting.words.enumerated() { set.insert(try statuses(word.text, index)) }
        backend.healthExpect = set
    }

    @Sendable static func healthHost(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let host = try setting.single
        guard host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2f }) else {
            throw Mistake("'\(host)' is not a host")
        }
        backend.healthHost = host
    }

    /// `404`, `5xx` or `500-599`.
    private static func statuses(_ text: String, _ word: Int) throws(Mistake) -> ClosedRange<Int> {
        let wrong = Mistake("'\(text)' is not a status, like 503, 5xx or 500-599", word: word)
        if text.hasSuffix("xx"), let digit = Int(text.dropLast(2)), (1...5).contains(digit) {
            return digit * 100...digit * 100 + 99
        }
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
        guard ends.count <= 2, let low = ends.first, let high = ends.last, low <= high, low >= 100, high <= 599 else {
            throw wrong
        }
        return low...high
    }

    private static func causes(_ setting: Setting) throws(Mistake) -> Causes {
        var causes = Causes()
        for (index, word) in setting.words.enumerated() {
            switch word.text {
            case "connect": causes.connect = true
            case "reset": causes.reset = true
            case "timeout": causes.timeout = true
            case let text:
                guard text.utf8.first.map({ $0 >= 0x30 && $0 <= 0x39 }) == true else {
                    let hint = Suggestion.text(for: text, among: ["connect", "reset", "timeout"])
                    throw Mistake("'\(text)' is not connect, reset, timeout or a status\(hint)", word: index)
                }
                let range = try statuses(text, index)
                guard range.lowerBound >= 400 else { throw Mistake("'\(text)' is no failure", word: index) }
                causes.statuses.insert(range)
            }
        }
        return causes
    }

    @Sendable static func retryOn(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.retryOn = setting.words.map(\.text) == ["none"] ? Causes() : try causes(setting)
    }

    @Sendable static func ejectOn(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() where word.text == "429" || word.text == "503" {
            throw Mistake("\(word.text) says that a server is busy, not that it is ill: it never ejects", word: index)
        }
        backend.ejectOn = try causes(setting)
    }

    @Sendable static func replay(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let word = try Values.choice(try setting.single, among: Replay.allCases.map(\.rawValue))
        backend.replay = Replay.allCases.first { $0.rawValue == word } ?? backend.replay
    }

    @Sendable static func path(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        for path in try prefixes(setting) where !backend.paths.contains(path) { backend.paths.append(path) }
    }

    /// Prefixes of paths, without the slash at their end.
    static func prefixes(_ setting: Setting) throws(Mistake) -> [String] {
        var prefixes: [String] = []
        for (index, word) in setting.words.enumerated() {
            let segments = word.text.split(separator: "/")
            guard word.text.hasPrefix("/"), word.text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }),
                !word.text.contains(where: { "?#*%\\".contains($0) }), !segments.contains("."), !segments.contains("..")
            else {
                throw Mistake("'\(word.text)' is not a path prefix like /v1/chat", word: index)
            }
            prefixes.append(word.text.hasSuffix("/") ? String(word.text.dropLast()) : word.text)
        }
        return prefixes
    }

    @Sendable static func host(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() {
            var name = word.text.lowercased()
            if name.hasSuffix(".") { name.removeLast() }
            let plain = name.hasPrefix("*.") ? String(name.dropFirst(2)) : name
            let isAddress = plain.hasPrefix("[") && plain.hasSuffix("]")
            guard !plain.isEmpty, plain.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2f && $0 != 0x2a }),
                isAddress || !plain.contains(":")
            else {
                throw Mistake("'\(word.text)' is not a host name; ports and paths do not belong here", word: index)
            }
            if !backend.hosts.contains(name) { backend.hosts.append(name) }
        }
    }

    @Sendable static func backendListen(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.listeners.append(try listener(setting))
    }

    @Sendable static func statsListen(_ stats: inout StatsSettings, _ setting: Setting) throws(Mistake) {
        stats.isWritten = true
        if setting.words.count == 1, setting.words[0].text == "off" { return }
        stats.listeners.append(try listener(setting))
    }

    @Sendable static func statsAuth(_ stats: inout StatsSettings, _ setting: Setting) throws(Mistake) {
        // Whatever is wrong with it, the line is not shown.
        guard setting.words.count == 1 else {
            throw Mistake("'auth' takes NAME:SECRET, in quotes where there are blanks, or none", isSecret: true)
        }
        let text = setting.words[0].text
        if text == "none" {
            stats.isOpen = true
            return
        }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, Values.isName(parts[0]), !parts[1].isEmpty else {
            let isEmpty = parts.count == 2 && parts[1].isEmpty
            throw Mistake(
                isEmpty
                    ? "the secret of 'auth' is empty"
                    : "'auth' takes NAME:SECRET, like admin:${file:/etc/ballast/stats.password}", isSecret: true)
        }
        guard !stats.credentials.contains(where: { $0.name == parts[0] }) else {
            throw Mistake("'auth' has '\(parts[0])' twice", isSecret: true)
        }
        // Passwords that begin so are hashes of other tools, or of accounts that are locked: the text itself would let in.
        guard !["{", "*", "!"].contains(where: { parts[1].hasPrefix($0) }) else {
            throw Mistake("the secret of 'auth' is no password, and no hash that begins with $", isSecret: true)
        }
        stats.credentials.append(Credential(name: parts[0], secret: parts[1], position: setting.position))
    }

    @Sendable static func statsNames(_ stats: inout StatsSettings, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() {
            let isHost = word.text.utf8.allSatisfy { byte in
                (0x61...0x7a).contains(byte | 0x20) || (0x30...0x39).contains(byte) || byte == 0x2d || byte == 0x2e
            }
            guard isHost else { throw Mistake("'\(word.text)' is not a host, like lb.example.com", word: index) }
            stats.names.append(word.text.lowercased())
        }
    }
}
