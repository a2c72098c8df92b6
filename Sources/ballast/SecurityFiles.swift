// The files that TLS needs, made into contexts: with a configuration, and again when the files have changed. What is wrong
// with one changes nothing.
import Configuration
import Engine
import EventLoop
import HTTP
import Metrics

/// Contexts, and the files that they were made of as those were.
struct LoadedSecurity: Sendable {
    var security: Security
    var marks: [FileMark]
    var certificates: [TLSCertificate]

    /// The same certificates and rules.
    func isSame(as other: LoadedSecurity) -> Bool {
        security.acceptor === other.security.acceptor
            && security.backends.map { ObjectIdentifier($0.context) }
                == other.security.backends.map { ObjectIdentifier($0.context) }
    }
}

extension LoadedSecurity {
    var serials: [String] { certificates.map(\.serial) }
}

extension TLSCertificate {
    /// One line for the log.
    var announcement: String {
        let date = expiry == .max ? "" : ", until \(CivilDate.timestamp(Double(expiry)).prefix(10))"
        let what = isList ? "revocation list \(serial)" : "certificate \(serial) for \(names.joined(separator: " "))"
        return "'\(path)': \(what) is in use\(date)"
    }

    /// In words, as it is at a moment; nil while it does not end soon.
    /// - Parameter now: seconds since 1970.
    func warning(now: Double) -> String? {
        let left = Double(expiry) - now
        // Lists are made anew every few days.
        guard left < (isList ? 86_400 : 14 * 86_400) else { return nil }
        let what = isList ? "the revocation list" : "the certificate"
        let when =
            left < 0 ? "has expired" : left < 86_400 ? "expires within a day" : "expires in \(Int(left / 86_400)) days"
        return "'\(path)': \(what) \(when)\(isList && left < 0 ? "; until there is a new one no client is let in" : "")"
    }

    /// For metrics.
    var told: Statistics.Certificate { Statistics.Certificate(path: path, expiry: Int(expiry)) }
}

/// Reads the files of one configuration.
struct SecurityFiles {
    private let settings: Settings
    private let before: LoadedSecurity?
    private let tickets: TicketKeys
    private var marks: [FileMark] = []
    private var certificates: [TLSCertificate] = []
    private var mistakes = ""

    /// - Parameters:
    ///   - before: contexts that stay where nothing has changed.
    ///   - mistakes: gets a line for everything that is wrong.
    static func load(
        _ settings: Settings, before: LoadedSecurity?, tickets: TicketKeys, mistakes: inout String
    ) -> LoadedSecurity {
        var files = SecurityFiles(settings: settings, before: before, tickets: tickets)
        let acceptor = files.acceptor()
        let backends = settings.backends.compactMap { backend in files.context(of: backend).map { (backend.name, $0) } }
        mistakes += files.mistakes
        return LoadedSecurity(
            security: Security(acceptor: acceptor, backends: backends), marks: files.marks,
            certificates: files.certificates)
    }

    private init(settings: Settings, before: LoadedSecurity?, tickets: TicketKeys) {
        self.settings = settings
        self.before = before
        self.tickets = tickets
    }

    // MARK: Clients

    private mutating func acceptor() -> TLSAcceptor? {
        var contexts: [TLSServerContext] = []
        for tls in settings.tls {
            guard let rules = rules(of: tls) else { continue }
            do throws(TLSMistake) {
                let known = before?.security.acceptor?.contexts.first { $0.isMade(of: rules) }
                let context = if let known { known } else { try TLSServerContext(rules) }
                certificates += context.certificates + context.revocations
                for other in contexts {
                    for name in context.names where other.names.contains(name) {
                        let first = other.rules.name.isEmpty ? "[tls]" : "[tls \(other.rules.name)]"
                        throw TLSMistake("\(name) is in a certificate of \(first) as well; put both into one section")
                    }
                }
                contexts.append(context)
            } catch {
                complain(error, tls.places, tls.position)
            }
        }
        guard !contexts.isEmpty, settings.allListeners.contains(where: \.isSecure) else { return nil }
        if let known = before?.security.acceptor, known.refusesUnknown == settings.refusesUnknownNames,
            known.contexts.count == contexts.count, zip(known.contexts, contexts).allSatisfy({ $0 === $1 })
        {
            return known
        }
        return TLSAcceptor(contexts, tickets: tickets, refusesUnknown: settings.refusesUnknownNames)
    }

    /// Nil where a file cannot be read; each of them is told.
    private mutating func rules(of tls: TLSSettings) -> TLSServerRules? {
        let count = mistakes.utf8.count
        var rules = TLSServerRules()
        rules.name = tls.name ?? ""
        func file(_ path: String) -> TLSFile? { read(path, tls.places, tls.position) }
        // Before the first key is read, which may stand in a certificate's file.
        Machine.guardMemory()
        rules.certificates = tls.certificates.compactMap { file($0) }
        rules.keys = tls.keys.compactMap { file($0) }
        rules.passphrase = tls.passphrase.map { Array($0.utf8) }
        switch tls.clientVerification {
        case .off: break
        case .optional: rules.clientVerification = .optional
        case .required: rules.clientVerification = .required
        }
        if tls.clientVerification != .off {
            rules.clientAuthorities = tls.clientAuthorities.flatMap { file($0) }
            rules.clientRevocations = tls.clientRevocations.flatMap { file($0) }
            rules.clientNames = tls.clientNames
        }
        rules.minimumVersion = TLSVersion(rawValue: tls.minimumVersion) ?? .tls12
        (rules.ciphers, rules.suites, rules.groups) = (tls.ciphers, tls.suites, tls.groups)
        rules.hasTickets = tls.hasTickets
        return mistakes.utf8.count == count ? rules : nil
    }

    // MARK: Servers

    private mutating func context(of backend: BackendSettings) -> TLSClientContext? {
        guard let server = backend.servers.first(where: \.isSecure) else { return nil }
        let count = mistakes.utf8.count
        func file(_ path: String?) -> TLSFile? { path.flatMap { read($0, backend.tls.places, server.position) } }
        if backend.tls.certificate != nil { Machine.guardMemory() }
        var rules = TLSClientRules()
        rules.verifies = backend.tls.verifies
        rules.name = backend.tls.name
        rules.authorities = file(backend.tls.authorities)
        rules.certificate = file(backend.tls.certificate)
        rules.key = file(backend.tls.key)
        rules.passphrase = backend.tls.passphrase.map { Array($0.utf8) }
        guard mistakes.utf8.count == count else { return nil }
        do throws(TLSMistake) {
            let known = before?.security.context(of: backend.name)
            let context = if let known, known.isMade(of: rules) { known } else { try TLSClientContext(rules) }
            certificates += context.certificates
            return context
        } catch {
            complain(error, backend.tls.places, server.position)
            return nil
        }
    }

    // MARK: Files

    /// Certificates and lists of them are small.
    private static let largest = 4 << 20

    /// Nil where it cannot be used, which is told.
    private mutating func read(_ path: String, _ places: [String: Position], _ otherwise: Position) -> TLSFile? {
        do throws(SystemError) {
            // Before it is read: what changes meanwhile is seen the next time.
            let mark = FileMark(missing: path).now
            if !marks.contains(mark) { marks.append(mark) }
            let file = TLSFile(path: path, bytes: try File.read(path, limit: Self.largest, waits: false))
            guard file.holdsKey, mark.isForEverybody else { return file }
            complain(
                TLSMistake("everybody on this machine can use the private key in it; chmod 640 or 600", in: path),
                places, otherwise)
        } catch {
            complain(TLSMistake(error.reason, in: path), places, otherwise)
        }
        return nil
    }

    private mutating func complain(_ mistake: TLSMistake, _ places: [String: Position], _ otherwise: Position) {
        mistakes += "\(mistake.file.flatMap { places[$0] } ?? otherwise): error: \(mistake)\n"
    }
}
