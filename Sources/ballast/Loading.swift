// From a command's origin to a plan: the file read, every mistake told, names resolved. All of it before anything runs.
import Addresses
import Balancing
import Configuration
import Engine
import EventLoop

enum Loading {
    /// What a valid configuration comes to.
    struct Loaded {
        let settings: Settings
        /// Text of what is allowed but probably not meant.
        let warnings: String
        /// Every setting in effect.
        let dump: String
    }

    /// Settings, or the text of every mistake.
    enum Outcome {
        case loaded(Loaded)
        case refused(String)
    }

    static func settings(from origin: ConfigurationOrigin) -> Outcome {
        let sources = ConfigurationSources(
            read: { path in path == "-" ? try File.readStandardInput() : try File.read(path) },
            names: { try File.names(in: $0) },
            environment: { File.environment($0) }, descriptorLimit: Machine.raiseDescriptorLimit())
        var loader = SettingsLoader(sources: sources)
        let outcome: LoadOutcome
        switch origin {
        case .file(let path, let defines):
            for text in defines { loader.define(text) }
            outcome = loader.load(path)
        case .words(let listen, let servers, let defines):
            for text in defines { loader.define(text) }
            outcome = loader.load(listen: listen, servers: servers)
        }
        switch outcome {
        case .loaded(let settings):
            return .loaded(Loaded(settings: settings, warnings: loader.warningText, dump: loader.dump))
        case .refused(let errors): return .refused(errors.map(\.text).joined())
        }
    }

    /// What is wrong outside of the files: names without an address, a log that cannot be written. Blocks.
    static func outsideMistakes(_ settings: Settings) -> String? {
        var text = ""
        for backend in settings.backends {
            for entry in backend.servers {
                do throws(Resolver.Failure) { _ = try Resolver.addresses(of: entry.host) } catch {
                    text += "\(entry.position): error: \(error)\n"
                }
            }
        }
        if settings.accessLog.hasPrefix("/"), !File.mayAppend(to: settings.accessLog) {
            text += "error: the access log '\(settings.accessLog)' cannot be written\n"
        }
        return text.isEmpty ? nil : text
    }

    /// A name that has no address, or stands for two servers.
    struct Unusable: Error, CustomStringConvertible {
        let position: Position
        let text: String
        var description: String { "\(position): \(text)" }
    }

    /// Resolves every server's name; blocks.
    static func plan(_ settings: Settings) throws(Unusable) -> Plan {
        var backends: [BackendPlan] = []
        for backend in settings.backends {
            backends.append(BackendPlan(backend, servers: try servers(of: backend)))
        }
        return Plan(settings, backends: backends)
    }

    private static func servers(of backend: BackendSettings) throws(Unusable) -> [Server] {
        var servers: [Server] = []
        // Entries that share a host name take its addresses one after the other.
        var taken: [String: Int] = [:]
        for entry in backend.servers {
            let addresses: [IPAddress]
            do throws(Resolver.Failure) {
                addresses = try Resolver.addresses(of: entry.host)
            } catch {
                throw Unusable(position: entry.position, text: "\(error)")
            }
            if entry.isEachAddress {
                for address in addresses {
                    let endpoint = Endpoint(address, port: entry.port)
                    let server = Server(name: endpoint.description, endpoint: endpoint, maxconn: backend.maxconn)
                    // A name of its own that looks like this address is another server; twice the same is one.
                    if let twin = servers.first(where: { $0.name == server.name }), twin.endpoint != endpoint {
                        throw Unusable(position: entry.position, text: "two servers are called '\(twin.name)'")
                    }
                    if !servers.contains(where: { $0.name == server.name }) { servers.append(server) }
                }
            } else {
                let turn = taken[entry.authority, default: 0]
                taken[entry.authority] = turn + 1
                let endpoint = Endpoint(addresses[turn % addresses.count], port: entry.port)
                servers.append(
                    Server(
                        name: entry.name ?? entry.authority, endpoint: endpoint, weight: entry.weight,
                        maxconn: entry.maxconn ?? backend.maxconn, isBackup: entry.isBackup,
                        isDisabled: entry.isDisabled))
            }
        }
        return servers
    }
}
