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
    var lines: [String] { Loading.logLines(text) }
}

extension OpenedListener {
    var announcement: String {
        // Where any port was asked for, the one that it became.
        let place = text.hasSuffix(":0") || text.hasPrefix("systemd:") ? endpoint.description : text
        if isMetrics { return "metrics on \(isSecure ? "https" : "http")://\(place)/metrics" }
        if isStats { return "statistics on \(isSecure ? "https" : "http")://\(place)/" }
        return "listening on \(place)\(isSecure ? " with TLS" : "")"
    }
}

enum Loading {
    /// Settings with the servers of each backend.
    struct Ready: Sendable {
        let settings: Settings
        let servers: [[Server]]
        let effective: EffectiveSettings
        /// Whom `user` names.
        let account: Account?
        /// What `error-folder` holds.
        let answers: AnswerBodies
        /// What its files of TLS hold.
        let security: LoadedSecurity
        let warnings: [String]
    }

    /// The lines of `text`.
    static func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }

    /// The same for a log: where it says that each is an error, or a warning, it needs no saying again.
    static func logLines(_ text: String) -> [String] {
        text.split(separator: "\n").map { line in
            for word in ["error: ", "warning: "] {
                if line.hasPrefix(word) { return String(line.dropFirst(word.utf8.count)) }
                let parts = line.split(separator: " " + word, maxSplits: 1, omittingEmptySubsequences: false)
                // Behind a place in a file.
                if parts.count == 2, parts[0].hasSuffix(":"), !parts[0].contains(" ") {
                    return "\(parts[0]) \(parts[1])"
                }
            }
            return String(line)
        }
    }

    /// How the log is written: what the configuration says, or what reads it.
    static func form(_ settings: Settings) -> LogForm {
        switch settings.logFormat {
        case "json": .json
        case "text": .text
        case _: Machine.isStandardErrorJournal ? .journal : .text
        }
    }

    /// - Parameter isReload: nobody waits for pipes, whose writers may never come.
    private static func load(
        _ origin: ConfigurationOrigin, isReload: Bool = false
    ) -> (loader: SettingsLoader, outcome: LoadOutcome) {
        let sources = ConfigurationSources(
            read: { path in path == "-" ? try File.readStandardInput() : try File.read(path, waits: !isReload) },
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

    /// Where the pid file is said to be; even of a configuration with mistakes, because what runs must be reachable.
    static func pidFile(from origin: ConfigurationOrigin) -> (path: String?, mistakes: Refusal?) {
        let (loader, outcome) = load(origin)
        switch outcome {
        case .loaded(let settings): return (settings.pidFile, nil)
        case .refused(let errors): return (loader.pidFile, Refusal(errors.map(\.text).joined()))
        }
    }

    /// A configuration of which everything is right, its names looked up. Blocks.
    /// - Parameters:
    ///   - known: the one in effect: of several addresses, a server keeps the one that it has.
    ///   - inUse: files that are open already.
    ///   - security: what TLS goes by now.
    static func ready(
        from origin: ConfigurationOrigin, known: EffectiveSettings? = nil, inUse: [String] = [],
        security: LoadedSecurity? = nil
    ) throws(Refusal) -> Ready {
        let (loader, outcome) = load(origin, isReload: known != nil)
        guard case .loaded(let settings) = outcome else {
            guard case .refused(let errors) = outcome else { throw Refusal("", isOutside: false) }
            throw Refusal(errors.map(\.text).joined(), isOutside: false)
        }
        var text = ""
        var servers: [[Server]] = []
        let names = Resolver.resolve(
            settings.backends.flatMap { $0.servers.filter { $0.path == nil }.map(\.host) })
        for backend in settings.backends {
            let before = known?.servers(of: backend.name) ?? []
            servers.append(self.servers(of: backend, before: before, names, mistakes: &text))
        }
        let account = settings.user.flatMap { Account($0) }
        if let user = settings.user, account == nil {
            text += "error: there is no user or group '\(user)' on this machine\n"
        }
        for credential in settings.stats.credentials + settings.metrics.credentials
        where credential.isHash && !PasswordHash.isKnown(credential.secret) {
            text +=
                "\(credential.position): error: the secret of '\(credential.name)' begins like a hash, and is no whole one of a kind that crypt(3) knows here\n"
        }
        text += unwritable(settings, account, but: inUse)
        var warnings = lines(loader.warningText)
        var answers = AnswerBodies()
        var secured = security
        // As whom it is read again later.
        asLater(account) {
            secured = SecurityFiles.load(settings, before: security, tickets: tickets, mistakes: &text)
            answers = ErrorFolder.bodies(in: settings.errorFolder, mistakes: &text, warnings: &warnings)
        }
        guard text.isEmpty, let secured else { throw Refusal(text) }
        return Ready(
            settings: settings, servers: servers,
            effective: loader.effective.with(servers: servers, of: settings), account: account, answers: answers,
            security: secured, warnings: warnings)
    }

    /// Of the process: a reload changes nothing about them.
    static let tickets = TicketKeys()

    /// Files that cannot be written: the log by whom it is written later, the pid file by whom ballast starts as.
    private static func unwritable(_ settings: Settings, _ account: Account?, but inUse: [String]) -> String {
        var text = ""
        func attempt(_ path: String, _ what: String) {
            do throws(SystemError) { try File.tryAppending(to: path) } catch {
                text += "error: cannot write \(what) '\(path)': \(error.reason)\n"
            }
        }
        for listener in settings.allListeners {
            guard let path = listener.path else { continue }
            do throws(SystemError) { try ListeningSocket.tryPath(path) } catch {
                text += "\(listener.position): error: cannot listen on \(listener.text): \(error.reason)\n"
            }
        }
        if let path = settings.pidFile, !inUse.contains(path) { attempt(path, "the pid file") }
        guard settings.accessLog.hasPrefix("/"), !inUse.contains(settings.accessLog) else { return text }
        let path = settings.accessLog
        asLater(account) { attempt(path, "the access log") }
        return text
    }

    /// Does what the process will do again when it has become another user.
    private static func asLater(_ account: Account?, _ body: () -> Void) {
        if let account, Account.mayChange { account.temporarily(body) } else { body() }
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

    /// Says what memory the configuration can lead to, and whether the machine has it.
    static func tellMemory(_ settings: Settings, _ servers: [[Server]], workers: Int, _ log: EventLog) {
        let ceiling = MemoryCeiling(settings, servers: servers.map(\.count), workers: workers).total
        let text = MemoryCeiling.text(ceiling)
        let what = "\(text) of memory at most, with \(settings.maxConnections) connections that all wait for a reader"
        guard let machine = Machine.memory, ceiling > machine else { return log.say(.info, what) }
        log.say(
            .warning,
            "\(what); this machine has \(MemoryCeiling.text(machine)): lower max-connections if strangers can connect")
    }

    static func openListeners(
        of proposal: inout Proposal, _ shared: Shared, inherited: [InheritedSocket]
    ) throws(Refusal) {
        do throws(ListenFailure) {
            try shared.openListeners(of: &proposal, inherited: inherited) {
                endpoint, settings, joining throws(SystemError) in
                try open(endpoint, settings, joining: joining)
            }
        } catch {
            throw Refusal("\(error)")
        }
    }

    /// Opens a port; waits a moment for one that a stopping ballast is about to close.
    private static func open(
        _ endpoint: Endpoint, _ settings: ListenerSettings, joining: Bool
    ) throws(SystemError) -> ListeningSocket {
        var tries = 1
        while true {
            do throws(SystemError) {
                if case .unix(let path) = endpoint { return try ListeningSocket(at: path, mode: settings.mode) }
                return try ListeningSocket(on: endpoint, joining: joining)
            } catch {
                guard error.code == SystemError.addressInUse, tries < openTries else { throw error }
                tries += 1
                Machine.pause(.milliseconds(50))
            }
        }
    }

    private static let openTries = 6

    // MARK: Names

    /// Resolves every server of a backend; adds what cannot be to `mistakes`.
    /// - Parameters:
    ///   - before: the servers in effect.
    ///   - names: what each name leads to; addresses lead to themselves.
    private static func servers(
        of backend: BackendSettings, before: [Server], _ names: [String: Result<[IPAddress], Resolver.Failure>],
        mistakes: inout String
    ) -> [Server] {
        var choices = AddressChoices(before)
        var found: [(entry: ServerSettings, addresses: [IPAddress])] = []
        for entry in backend.servers {
            guard entry.path == nil else {
                found.append((entry, []))
                continue
            }
            do throws(Resolver.Failure) {
                let addresses =
                    if let result = names[entry.host] { try result.get() } else {
                        try Resolver.addresses(of: entry.host)
                    }
                found.append((entry, addresses))
                if !entry.isEachAddress { choices.keep(for: entry, of: addresses) }
            } catch {
                mistakes += "\(entry.position): error: \(error)\n"
            }
        }
        var servers: [Server] = []
        var endpoints: [String: Endpoint] = [:]
        for (entry, addresses) in found {
            guard entry.isEachAddress else {
                let name = entry.name ?? entry.authority
                let endpoint =
                    entry.path.map { Endpoint.unix($0) }
                    ?? Endpoint(choices.address(for: entry, of: addresses), port: entry.port)
                endpoints[name] = endpoint
                servers.append(
                    Server(
                        name: name, endpoint: endpoint, secureName: entry.isSecure ? entry.host : nil,
                        weight: entry.weight,
                        maxconn: entry.maxconn ?? backend.maxconn, isBackup: entry.isBackup,
                        isDisabled: entry.isDisabled))
                continue
            }
            for address in addresses {
                let endpoint = Endpoint(address, port: entry.port)
                let server = Server(
                    name: endpoint.description, endpoint: endpoint, secureName: entry.isSecure ? entry.host : nil,
                    maxconn: backend.maxconn)
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

/// Which of a name's addresses each of its servers gets: the one that it has, else one that no other has. Resolvers turn
/// their answers, and a server whose address changes is another one.
private struct AddressChoices {
    /// By server.
    private let known: [String: IPAddress]
    private var kept: [String: IPAddress] = [:]
    /// By host and port.
    private var taken: [String: [IPAddress]] = [:]
    private var turns: [String: Int] = [:]

    init(_ before: [Server]) {
        let addresses = before.compactMap { server in server.endpoint.address.map { (server.name, $0) } }
        known = Dictionary(addresses) { first, _ in first }
    }

    /// Keeps what the server has, if its name still leads there; for every server, before the first one gets another.
    mutating func keep(for entry: ServerSettings, of addresses: [IPAddress]) {
        let name = entry.name ?? entry.authority
        guard let address = known[name], addresses.contains(address),
            taken[entry.authority]?.contains(address) != true
        else { return }
        kept[name] = address
        taken[entry.authority, default: []].append(address)
    }

    mutating func address(for entry: ServerSettings, of addresses: [IPAddress]) -> IPAddress {
        if let address = kept[entry.name ?? entry.authority] { return address }
        let sorted = addresses.sorted { $0.bits < $1.bits }
        let others = taken[entry.authority, default: []]
        if let free = sorted.first(where: { !others.contains($0) }) {
            taken[entry.authority, default: []].append(free)
            return free
        }
        // More servers than addresses: they go round.
        let turn = turns[entry.authority, default: 0]
        turns[entry.authority] = turn + 1
        return sorted[turn % sorted.count]
    }
}
