// A configuration becomes the one in effect: proposed and checked first, then adopted in one step that cannot fail. What
// stays the same keeps its object, and with it its counts, its state and its line. It never reads a file or a name.
public import Addresses
public import Balancing
public import Configuration
public import EventLoop
import Metrics
import Synchronization

/// A configuration of which nothing is in effect yet.
public struct Proposal: Sendable {
    public let plan: Plan
    fileprivate let rosters: [Roster]
    /// Of listeners that are new.
    public fileprivate(set) var opened: [OpenedListener] = []
}

/// A new listener's sockets, on their way to the workers.
public struct OpenedListener: Sendable {
    /// What the configuration says.
    public let text: String
    /// Where it is bound.
    public let endpoint: Endpoint
    let shared: SharedListener
    /// By worker; workers beyond the last one do not listen there.
    let sockets: [ListeningSocket]

    /// It serves ballast's own page; or metrics alone.
    public var isStats: Bool { shared.identity.isStats }
    public var isMetrics: Bool { shared.identity.isMetrics }
    public var isSecure: Bool { shared.identity.isSecure }
}

/// A listener that could not be opened.
public struct ListenFailure: Error, Sendable, CustomStringConvertible {
    let listener: ListenerSettings
    public let reason: String

    public var description: String { "\(listener.position): \(reason)" }
}

/// What came of an adopted plan, once every worker goes by it.
public struct AdoptionReport: Sendable {
    /// How long a loop was held for it at a time, at most.
    public internal(set) var longestHold: Duration
    /// The plan that was in effect before. Freeing it takes time that no loop has: it is for whoever gets this.
    var replaced: Plan?
}

/// What all workers do with one adopted plan, and what it came to.
final class Adoption: Sendable {
    let plan: Plan
    let opened: [OpenedListener]
    private let state: Mutex<State>

    private struct State {
        var missing: Int
        var report: AdoptionReport
        var done: (@Sendable (AdoptionReport) -> Void)?
    }

    init(
        _ proposal: Proposal, replacing replaced: Plan?, workerCount: Int, longestHold: Duration,
        done: @escaping @Sendable (AdoptionReport) -> Void
    ) {
        plan = proposal.plan
        opened = proposal.opened
        let report = AdoptionReport(longestHold: longestHold, replaced: replaced)
        state = Mutex(State(missing: workerCount, report: report, done: done))
    }

    /// A worker was held for so long at a time.
    func note(hold: Duration) { state.withLock { $0.report.longestHold = max($0.report.longestHold, hold) } }

    /// A worker has nothing more to do for it.
    func finish() {
        let end = state.withLock { state -> (@Sendable () -> Void)? in
            state.missing -= 1
            guard state.missing == 0, let done = state.done else { return nil }
            let report = state.report
            state.done = nil
            state.report.replaced = nil
            return { done(report) }
        }
        end?()
    }
}

extension Shared {
    /// Makes a plan of checked settings. Takes its time; one caller at a time, and not while another plan is adopted.
    /// - Parameters:
    ///   - servers: of each backend, resolved.
    ///   - security: what TLS needs, of both sides.
    ///   - answers: bodies for ballast's own answers, where they are not its own.
    ///   - accessLog: gets one line for each request; nil where none is wanted.
    public func propose(
        _ settings: Settings, servers: [[Server]], security: Security = Security(),
        answers: AnswerBodies = AnswerBodies(),
        accessLog: (@Sendable (String) -> Void)? = nil
    ) -> Proposal {
        let traffic = TrafficRules(
            settings, replayBudget: replayBudget, compressBudget: compressBudget, answers: answers, accessLog: accessLog
        )
        var backends: [BackendPlan] = []
        var members: [[SharedServer]] = []
        var rosters: [Roster] = []
        for (backend, servers) in zip(settings.backends, servers) {
            let shared =
                self.backend(backend.name)
                ?? SharedBackend(name: backend.name, workerCount: metrics.count, ledger: ledger)
            let roster = shared.backend.prepare(servers, rules: backend.rules) { byPlace in
                // The configuration was checked: the name is in the catalog.
                PolicyCatalog.make(backend.balance, byPlace) ?? LeastConnections(byPlace)
            }
            backends.append(BackendPlan(backend, shared, traffic))
            members.append(shared.members(servers, of: roster))
            rosters.append(roster)
        }
        let plan = Plan(
            settings, backends: backends, servers: members, listeners: listeners(of: settings), traffic: traffic,
            security: security)
        return Proposal(plan: plan, rosters: rosters)
    }

    private func listeners(of settings: Settings) -> [ListenerPlan] {
        var wanted: [(settings: ListenerSettings, role: ListenerRole, isOptional: Bool)] = []
        wanted += settings.listeners.map { ($0, .routed, false) }
        for (index, backend) in settings.backends.enumerated() {
            wanted += backend.listeners.map { ($0, .backend(index), false) }
        }
        wanted += settings.stats.listeners.map { ($0, .stats, !settings.stats.isWritten) }
        wanted += settings.metrics.listeners.map { ($0, .metrics, false) }
        let page = OwnAccess(settings.stats, hasPage: true)
        let metrics = OwnAccess(settings.metrics, hasPage: false)
        // Several may ask for any free port: each takes over one of those that there are.
        var known = plan?.listeners.map(\.shared) ?? []
        return wanted.map { settings, role, isOptional in
            let identity = SharedListener.Identity(settings, role)
            let position = known.firstIndex { $0.identity == identity }
            let shared =
                position.map { known.remove(at: $0) }
                ?? SharedListener(identity, workerCount: workerCount, ledger: ledger)
            return ListenerPlan(
                settings: settings, role: role, isOptional: isOptional, shared: shared,
                access: role == .stats ? page : role == .metrics ? metrics : nil)
        }
    }

    /// Opens what the proposal's new listeners need, or says why it cannot be.
    /// - Parameters:
    ///   - inherited: sockets that were passed to this process.
    ///   - open: opens a socket for a listener; `joining` where this process listens there already.
    public func openListeners(
        of proposal: inout Proposal, inherited: [InheritedSocket] = [],
        open: (_ endpoint: Endpoint, _ settings: ListenerSettings, _ joining: Bool) throws(SystemError) ->
            ListeningSocket
    ) throws(ListenFailure) {
        let listening = (plan?.listeners ?? []).filter(\.shared.isOpen).map(\.settings)
        for listener in proposal.plan.listeners where !listener.shared.isOpen {
            // A socket of that very address may be there already, as part of a listener for all of them.
            let own = Endpoint(listener.address, port: listener.settings.port)
            if held.contains(where: { $0.endpoint == own && listener.covers(own, of: $0.listener) }) { continue }
            // An address that this process holds in part already is free to it alone.
            let isOurs = listening.contains { $0.overlaps(listener.settings) }
            do throws(ListenFailure) {
                proposal.opened += try openings(of: listener, isOurs, inherited, open)
            } catch {
                guard listener.isOptional else { throw error }
                log.say(
                    .warning, "no statistics: \(error.reason); write [stats] with 'listen' to serve them elsewhere")
            }
        }
    }

    /// One opening for a port, one for each passed socket of a name.
    private func openings(
        of listener: ListenerPlan, _ isOurs: Bool, _ inherited: [InheritedSocket],
        _ open: (_ endpoint: Endpoint, _ settings: ListenerSettings, _ joining: Bool) throws(SystemError) ->
            ListeningSocket
    ) throws(ListenFailure) -> [OpenedListener] {
        let settings = listener.settings
        // One worker is enough for the page.
        let count = listener.shared.identity.isStats ? 1 : metrics.count
        var found: [[ListeningSocket]] = []
        do throws(SystemError) {
            if let name = settings.inherited {
                for socket in inherited where socket.name == name {
                    var copies: [ListeningSocket] = []
                    for _ in 0..<count { copies.append(try socket.copy()) }
                    found.append(copies)
                }
                guard !found.isEmpty else { throw SystemError(call: "listen", code: SystemError.noEntry) }
            } else if let path = settings.path {
                var sockets = [try open(.unix(path), settings, false)]
                for _ in 1..<count { sockets.append(try sockets[0].copy()) }
                found.append(sockets)
            } else {
                // The first tells the port when 0 was asked for; the others join it there.
                var sockets = [try open(Endpoint(listener.address, port: settings.port), settings, isOurs)]
                for _ in 1..<count { sockets.append(try open(sockets[0].endpoint, settings, true)) }
                found.append(sockets)
            }
        } catch {
            throw ListenFailure(listener: settings, reason: reason(error, settings, inherited, isOurs))
        }
        return found.map {
            OpenedListener(text: settings.text, endpoint: $0[0].endpoint, shared: listener.shared, sockets: $0)
        }
    }

    private func reason(
        _ error: SystemError, _ settings: ListenerSettings, _ inherited: [InheritedSocket], _ isOurs: Bool
    ) -> String {
        let names = inherited.map { "'\($0.name)'" }.joined(separator: " ")
        let advice =
            switch error.code {
            case SystemError.noEntry where settings.inherited != nil:
                names.isEmpty
                    ? "no socket was passed to this process; start it by its socket unit"
                    : "no socket of that name was passed; there are \(names)"
            case SystemError.addressInUse where isOurs:
                "this process listens there under another address, which it took as another user; restart it for that"
            case SystemError.addressInUse: "another process listens there"
            case SystemError.exists: "a file that is no socket stands there"
            case SystemError.noEntry: "there is no such folder"
            case SystemError.permissionDenied:
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose another port or grant it"
            case _: error.reason
            }
        return "cannot listen on \(settings.text): \(advice)"
    }

    /// Changes who may connect to UNIX sockets that stay.
    private func changeModes(of next: Plan) {
        let before = plan?.listeners.map(\.settings) ?? []
        for listener in next.listeners.map(\.settings) {
            guard let path = listener.path, before.contains(where: { $0.path == path && $0.mode != listener.mode })
            else {
                continue
            }
            do throws(SystemError) { try ListeningSocket.setMode(listener.mode, at: path) } catch {
                log.say(.warning, "\(listener.text): cannot change who may connect: \(error.reason)")
            }
        }
    }

    /// Puts a proposal into effect. From here on nothing fails.
    /// - Parameter done: called once, from any thread, when every worker goes by it.
    public func adopt(
        _ proposal: Proposal, now: Duration, done: @escaping @Sendable (AdoptionReport) -> Void
    ) {
        var longest = Duration.zero
        for member in (plan?.servers ?? []).joined() { member.setMember(false) }
        for member in proposal.plan.servers.joined() { member.setMember(true) }
        for (index, backend) in proposal.plan.backends.enumerated() {
            let (aftermath, hold) = backend.shared.adopt(
                proposal.rosters[index], proposal.plan.servers[index], now: now)
            longest = max(longest, hold)
            if !aftermath.isEmpty { send(.happened(backend.shared, aftermath), to: 0) }
        }
        hold(proposal.opened, for: proposal.plan)
        changeModes(of: proposal.plan)
        let replaced = setPlan(proposal.plan)
        let adoption = Adoption(
            proposal, replacing: replaced, workerCount: metrics.count, longestHold: longest, done: done)
        sendToAll(.adopt(adoption))
        // The servers that were waited for may be gone.
        noteVerdict()
    }
}
