// Every key there is, one row each: the single source of names, bounds, defaults and help.
import Addresses
import Balancing

/// The table of keys.
enum Schema {
    private static let longest = Duration.seconds(7 * 86_400)

    static let keys: [Key] = globalKeys + backendKeys

    /// The key called `name`, hyphens written.
    static func key(_ name: String) -> Key? { keys.first { $0.name == name } }

    static let sections = ["backend"]

    private static let globalKeys: [Key] = [
        .global(
            "listen", .words(Readers.listen), default: nil, repeats: true,
            "Where clients are accepted: [ADDRESS]:PORT; without an address on all of the machine."),
        .global(
            "threads", .words(Readers.threads), default: "auto",
            "Worker threads; auto is one for each processor this process may use."),
        .global(
            "max-connections", .count(\.maxConnections, 1...1_000_000), default: "10000",
            "Client connections at a time; further ones wait to be accepted."),
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
            "Field lines of a request; more is answered with 431."),
        .global(
            "timeout-head", .duration(\.timeoutHead, .milliseconds(100)...longest), default: "10s",
            "For a whole request head to arrive."),
        .global(
            "timeout-keepalive", .duration(\.timeoutKeepalive, .milliseconds(100)...longest), default: "75s",
            "For the next request on a client's connection to begin."),
        .global(
            "timeout-client", .duration(\.timeoutClient, .milliseconds(100)...longest), default: "60s",
            "Silence inside a request's body, or of a client that stops reading."),
        .global(
            "trusted-proxies", .words(Readers.trustedProxies), default: nil,
            "Addresses or ranges whose X-Forwarded-For is believed."),
        .global("via", .words(Readers.via), default: "ballast", "The name in Via towards servers, or off."),
        .global(
            "underscore-fields", .words(Readers.underscoreFields), default: "drop",
            "drop or pass fields whose names contain an underscore."),
        .global(
            "log-level", .choice(\.logLevel, ["error", "warning", "info", "debug"]), default: "info",
            "How much is logged: error, warning, info or debug."),
        .global(
            "shutdown-timeout", .duration(\.shutdownTimeout, .zero...longest), default: "60s",
            "How long running requests may take to finish after TERM."),
        .include("include", "Further files to read: a path or a pattern with *, relative to this file."),
    ]

    private static let backendKeys: [Key] = [
        .backend(
            "server", .words(Readers.server), default: nil, repeats: true,
            "One server: [NAME] HOST:PORT."),
        .backend(
            "servers", .words(Readers.servers), default: nil, repeats: true,
            "Servers by address, one for each address that a host name has."),
        .backend(
            "balance", .choice(\.balance, PolicyCatalog.rows.map(\.name)), default: PolicyCatalog.defaultName,
            "How a server is chosen: " + PolicyCatalog.rows.map(\.name).joined(separator: ", ") + "."),
        .backend(
            "timeout-connect", .duration(\.timeoutConnect, .milliseconds(1)...longest), default: "5s",
            "For a connection to a server."),
        .backend(
            "timeout-response", .duration(\.timeoutResponse, .zero...longest), default: "1h",
            "From the request's end to the first byte of the response's body; 0 is no limit."),
        .backend(
            "timeout-idle", .duration(\.timeoutIdle, .zero...longest), default: "5m",
            "Silence inside a response's body; 0 is no limit."),
        .backend(
            "pool-idle", .duration(\.poolIdle, .zero...longest), default: "4s",
            "How long a connection to a server is kept without a request."),
        .backend(
            "pool-size", .count(\.poolSize, 0...100_000), default: "128",
            "Connections kept for each server and worker."),
        .backend(
            "health", .words(Readers.health), default: "auto",
            "auto asks GET /health, where any answer below 500 passes; off checks nothing."),
        .backend(
            "health-every", .duration(\.healthEvery, .milliseconds(10)...longest), default: "3s",
            "From one check to the next."),
        .backend(
            "health-timeout", .duration(\.healthTimeout, .milliseconds(10)...longest), default: "2s",
            "For the answer to a check."),
        .backend(
            "health-fall", .count(\.healthFall, 1...1000), default: "3", "Failures in a row that take a server out."),
        .backend(
            "health-rise", .count(\.healthRise, 1...1000), default: "2", "Passes in a row that bring it back."),
    ]
}

/// Values with a form of their own.
enum Readers {
    @Sendable static func listen(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        guard setting.words.count == 1 else {
            throw Mistake("'\(setting.words[1].text)' is not an option of 'listen'", word: 1)
        }
        let text = setting.words[0].text
        let (address, port) = try Values.listener(text)
        settings.listeners.append(
            ListenerSettings(text: text, address: address, port: port, position: setting.position))
    }

    @Sendable static func threads(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        let text = try setting.single
        settings.threads = text == "auto" ? nil : try Values.count(text, in: 1...256)
    }

    @Sendable static func trustedProxies(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        for (index, word) in setting.words.enumerated() {
            guard let range = CIDR(word.text) else {
                throw Mistake("'\(word.text)' is not an address or a range like 10.0.0.0/8", word: index)
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

    @Sendable static func underscoreFields(_ settings: inout Settings, _ setting: Setting) throws(Mistake) {
        settings.passesUnderscores = try Values.choice(try setting.single, among: ["drop", "pass"]) == "pass"
    }

    @Sendable static func server(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        let words = setting.words
        guard words.count <= 2 else { throw Mistake("'\(words[2].text)' is not an option of 'server'", word: 2) }
        let (host, port) = try address(words, words.count - 1)
        backend.servers.append(
            ServerSettings(
                name: words.count == 2 ? words[0].text : nil, host: host, port: port, isEachAddress: false,
                position: setting.position))
    }

    @Sendable static func servers(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        for index in setting.words.indices {
            let (host, port) = try address(setting.words, index)
            backend.servers.append(
                ServerSettings(name: nil, host: host, port: port, isEachAddress: true, position: setting.position))
        }
    }

    private static func address(_ words: [Word], _ index: Int) throws(Mistake) -> (host: String, port: UInt16) {
        do throws(Mistake) {
            return try Values.server(words[index].text)
        } catch {
            throw Mistake(error.message, word: index)
        }
    }

    @Sendable static func health(_ backend: inout BackendSettings, _ setting: Setting) throws(Mistake) {
        backend.health = try Values.choice(try setting.single, among: ["auto", "off"]) == "off" ? .off : .auto
    }
}
