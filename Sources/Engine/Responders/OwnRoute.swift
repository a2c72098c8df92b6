// What is served at which path of ballast's own listeners, and what is done there.
import Balancing
import Configuration
import HTTP
import Metrics

/// What a request asks for.
enum OwnRoute: Equatable {
    case alive, ready
    case page(OwnPage.Kind)
    /// What has changed on the page, each second.
    case live
    case action(backend: String, server: String, OwnVerb)
    case nothing

    init(_ path: [String], hasPage: Bool, exposition: Exposition) {
        switch path {
        case ["healthz"]: self = .alive
        case ["readyz"]: self = .ready
        case ["metrics"]: self = .page(.metrics(exposition))
        case _ where !hasPage: self = .nothing
        case [], ["stats"]: self = .page(.html)
        case ["api", "stats"]: self = .page(.json)
        case ["api", "stats.csv"]: self = .page(.csv)
        case ["api", "config"]: self = .page(.configuration)
        case ["api", "events"]: self = .page(.events)
        case ["api", "live"]: self = .live
        case _:
            guard path.count == 5, path[0] == "api", path[1] == "servers", let verb = OwnVerb(rawValue: path[4]) else {
                self = .nothing
                return
            }
            self = .action(backend: path[2], server: path[3], verb)
        }
    }

    /// It asks for no name.
    var isOpen: Bool { self == .alive || self == .ready || self == .nothing }

    /// It shows what a browser's other pages shall not see.
    var isForBrowsers: Bool {
        switch self {
        case .alive, .ready, .nothing, .page(.metrics): false
        case .page, .live, .action: true
        }
    }

    var isAction: Bool { if case .action = self { true } else { false } }

    /// Methods that are served there.
    var methods: String { isAction ? "POST" : "GET, HEAD" }

    func serves(_ method: Method) -> Bool { isAction ? method == .post : method == .get || method == .head }
}

/// What may be done to a server.
enum OwnVerb: String, CaseIterable { case drain, resume, disable, weight, check }

/// How an action ended.
struct ActionResult {
    let status: Int
    /// JSON.
    let text: String
}

extension Worker {
    /// Does to a server what somebody asks for. On the worker that checks servers.
    /// - Parameter who: and from where.
    func act(
        _ verb: OwnVerb, backend backendName: String, server serverName: String, weight: String?, who: String
    ) -> ActionResult {
        guard let place = backends.firstIndex(where: { $0.name == backendName }) else {
            return .failed(404, "there is no backend '\(backendName)'")
        }
        let backend = backends[place]
        guard
            let report = backend.shared.backend.report.servers.first(where: {
                $0.isMember && $0.server.name == serverName
            })
        else { return .failed(404, "there is no server '\(serverName)' in '\(backendName)'") }
        let action: ManualAction
        var text: String
        switch verb {
        case .drain: (action, text) = (.drain, "drained")
        case .disable: (action, text) = (.disable, "disabled")
        case .resume: (action, text) = (.resume, "resumed")
        case .check:
            guard let server = backend.server(report.number), prober?.checkNow(server) == true else {
                return .failed(409, "'\(serverName)' is not checked")
            }
            note("checked by \(who)", backendName, serverName)
            return result(of: report.number, backend)
        case .weight:
            if weight == "config" {
                (action, text) = (.weight(nil), "weight as configured, set")
            } else {
                guard let weight, let number = Int(weight), (0...Server.maximumWeight).contains(number) else {
                    return .failed(400, "write weight=N with 0 to \(Server.maximumWeight), or weight=config")
                }
                (action, text) = (.weight(number), "weight \(number), set")
            }
        }
        text += " by \(who)"
        guard let aftermath = backend.shared.backend.act(action, on: report.number, now: now) else {
            return .failed(404, "'\(serverName)' has gone")
        }
        note(text, backendName, serverName)
        carryOut(aftermath, backend.shared, isTold: true)
        if let member = plan.servers[place].first(where: { $0.number == report.number }) {
            _ = prober?.update(member, of: backend, number: 0)
        }
        // It may have been the last that was waited for.
        shared.noteVerdict()
        return result(of: report.number, backend)
    }

    private func note(_ text: String, _ backend: String, _ server: String) {
        log.say(.info, "\(backend)/\(server) \(text)")
        shared.events.note(
            RecentEvent(at: shared.stamp, kind: .action, backend: backend, server: server, text: text))
    }

    private func result(of number: Int, _ backend: WorkerBackend) -> ActionResult {
        guard let report = backend.shared.backend.report.servers.first(where: { $0.number == number }) else {
            return .failed(404, "it has gone")
        }
        var writer = TextWriter()
        writer.raw("{\"backend\":")
        writer.json(backend.name)
        writer.raw(",\"server\":")
        writer.json(report.server.name)
        writer.raw(",\"state\":\"\(report.state.word)\",\"weight\":\(report.weight),")
        writer.raw("\"inflight\":\(report.inflight)}\n")
        return ActionResult(status: 200, text: writer.text)
    }
}

extension ActionResult {
    static func failed(_ status: Int, _ reason: String) -> ActionResult {
        var writer = TextWriter()
        writer.raw("{\"error\":")
        writer.json(reason)
        writer.raw("}\n")
        return ActionResult(status: status, text: writer.text)
    }
}
