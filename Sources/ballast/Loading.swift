// From a command's origin to settings whose every name is resolved: all of it before anything changes. It opens nothing
// but what it reads and, when asked, ports.
import Addresses
import Balancing
import Configuration
import Engine
import EventLoop
import Metrics

/// Why a configuration cannot be used: every reason that was found.
struct Refusal: Error {
    /// The text as a terminal shows it, with its lines.
    let text: String
    /// The files are right; the machine is not as they need it now.
    let isOutside: Bool

    init(_ text: String, isOutside: Bool = true) {
        self.text = text.hasSuffix("\n") ? text : text + "\n"
        self.isOutside = isOutside
    }

    /// For a log.
    var lines: [String] { Loading.lines(text) }
}

/// A port that was opened.
struct OpenedPort {
    let text: String
    let endpoint: Endpoint
    let isStats: Bool

    var announcement: String {
        // Where any port was asked for, the one that it became.
        let place = text.hasSuffix(":0") || text.hasPrefix("systemd:") ? endpoint.description : text
        return isStats ? "statistics on http://\(place)/" : "listening on \(place)"
    }
}

enum Loading {
    /// What a valid configuration comes to.
    struct Loaded {
        let settings: Settings
        let effective: EffectiveSettings
        /// Text of what is allowed but probably not meant.
        let warnings: String
    }

    /// Settings with the servers of each backend.
    struct Ready: Sendable {
        let settings: Settings
        let servers: [[Server]]
        let effective: EffectiveSettings
        let warnings: [String]
    }

    static func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }

    private static func load(_ origin: ConfigurationOrigin) -> (loader: SettingsLoader, outcome: LoadOutcome) {
        let sources = ConfigurationSources(
            read: { path in path == "-" ? try File.readStandardInput() : try File.read(path) },
            names: { try File.names(in: $0) },
            environment: { File.environment($0) }, descriptorLimit: Machine.raiseDescriptorLimit())
        var loader = SettingsLoader(sources: sources)
        switch origin {
        case .file(let path, let defines):
            for text in defines { loader.define(text) }
            let outcome = loader.load(path)
            return (loader, outcome)
        case .words(let listen, let servers, let defines):
            for text in defines { loader.define(text) }
            let outcome = loader.load(listen: listen, servers: servers)
            return (loader, outcome)
        }
    }

    static func settings(from origin: ConfigurationOrigin) throws(Refusal) -> Loaded {
        let (loader, outcome) = load(origin)
        switch outcome {
        case .loaded(let settings):
            return Loaded(settings: settings, effective: loader.effective, warnings: loader.warningText)
        case .refused(let errors): throw Refusal(errors.map(\.text).joined(), isOutside: false)
        }
    }

    /// Where the pid file is said to be; even of a configuration with mistakes, because what runs must be reachable.
    static func pidFile(from origin: ConfigurationOrigin) -> (path: String?, mistakes: Refusal?) {
        let (loader, outcome) = load(origin)
        switch outcome {
        case .loaded(let settings): return (settings.pidFile, nil)
        case .refused(let errors): return (loader.pidFile, Refusal(errors.map(\.text).joined()))
        }
    }

    /// A configuration of which everything is right, its names looked up. Blocks.
    static func ready(from origin: ConfigurationOrigin) throws(Refusal) -> Ready {
        let loaded = try settings(from: origin)
        var text = ""
        var servers: [[Server]] = []
        for backend in loaded.settings.backends { servers.append(self.servers(of: backend, mistakes: &text)) }
        let settings = loaded.settings
        if settings.accessLog.hasPrefix("/") {
            do throws(SystemError) { try File.tryAppending(to: settings.accessLog) } catch {
                text += "error: \(LogWriter.Unwritable(path: settings.accessLog, error: error))\n"
            }
        }
        if let user = settings.user, Account(user) == nil {
            text += "error: there is no user or group '\(user)' on this machine\n"
        }
        guard text.isEmpty else { throw Refusal(text) }
        return Ready(
            settings: settings, servers: servers,
            effective: loaded.effective.with(servers: servers, of: settings), warnings: lines(loaded.warnings))
    }

    static func level(_ settings: Settings) -> LogLevel {
        LogLevel.allCases.first { $0.word == settings.logLevel } ?? .info
    }

    /// Every client may need a descriptor towards a server as well; without enough, fewer clients are let in.
    static func within(descriptors limit: Int, _ settings: Settings, _ log: EventLog) -> Settings {
        var settings = settings
        let room = max(1, (limit - 64) / 2)
        if settings.maxConnections > room {
            // A little less than asked for is nothing to bother anybody with.
            log.say(
                room * 10 < settings.maxConnections * 9 ? .warning : .debug,
                "max-connections is lowered from \(settings.maxConnections) to \(room): the process may open "
                    + "\(limit) descriptors, and a client can take two; raise the limit (ulimit -n, LimitNOFILE)")
            settings.maxConnections = room
        }
        return settings
    }

    static func openListeners(
        of proposal: inout Proposal, _ shared: Shared, inherited: [InheritedSocket]
    ) throws(Refusal) -> [OpenedPort] {
        do throws(ListenFailure) {
            let opened = try shared.openListeners(of: &proposal, inherited: inherited) {
                endpoint, joining throws(SystemError) in
                try ListeningSocket(on: endpoint, joining: joining)
            }
            return opened.map { OpenedPort(text: $0.text, endpoint: $0.endpoint, isStats: $0.isStats) }
        } catch {
            throw Refusal("\(error)")
        }
    }

    // MARK: Names

    /// Resolves every server of a backend; adds what cannot be to `mistakes`.
    private static func servers(of backend: BackendSettings, mistakes: inout String) -> [Server] {
        var servers: [Server] = []
        var endpoints: [String: Endpoint] = [:]
        // Entries that share a host name take its addresses one after the other.
        var taken: [String: Int] = [:]
        for entry in backend.servers {
            let addresses: [IPAddress]
            do throws(Resolver.Failure) {
                addresses = try Resolver.addresses(of: entry.host)
            } catch {
                mistakes += "\(entry.position): error: \(error)\n"
                continue
            }
            guard entry.isEachAddress else {
                let turn = taken[entry.authority, default: 0]
                taken[entry.authority] = turn + 1
                let endpoint = Endpoint(addresses[turn % addresses.count], port: entry.port)
                let server = Server(
                    name: entry.name ?? entry.authority, endpoint: endpoint, weight: entry.weight,
                    maxconn: entry.maxconn ?? backend.maxconn, isBackup: entry.isBackup, isDisabled: entry.isDisabled)
                endpoints[server.name] = endpoint
                servers.append(server)
                continue
            }
            for address in addresses {
                let endpoint = Endpoint(address, port: entry.port)
                let server = Server(name: endpoint.description, endpoint: endpoint, maxconn: backend.maxconn)
                // A name of its own that looks like this address is another server; twice the same is one.
                switch endpoints.updateValue(endpoint, forKey: server.name) {
                case nil: servers.append(server)
                case endpoint?: break
                case _?: mistakes += "\(entry.position): error: two servers are called '\(server.name)'\n"
                }
            }
        }
        return servers
    }
}
