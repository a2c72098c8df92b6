// Who gets in to ballast's own listeners: by a name and its secret, by where a request was made, by how the page was called.
import Addresses
import Configuration
import EventLoop

/// What one of the sections [stats] and [metrics] says of it. Changes with the configuration.
final class OwnAccess: Sendable {
    let hasPage: Bool
    let credentials: [Credential]
    private let names: [String]

    init(_ settings: StatsSettings, hasPage: Bool) {
        self.hasPage = hasPage
        credentials = settings.credentials
        names = settings.names + [Machine.hostName.lowercased()]
    }

    /// Asks for a secret that nobody knows.
    static let nobody: OwnAccess = {
        var settings = StatsSettings()
        let secret = Digest(Digest.randomKey).base64
        settings.credentials = [Credential(name: "", secret: secret, position: Position(file: "", line: 0, column: 0))]
        return OwnAccess(settings, hasPage: false)
    }()

    /// Somebody has to say who he is; and can act, because of that.
    var isGuarded: Bool { !credentials.isEmpty }

    func credential(of name: String) -> Credential? { credentials.first { $0.name == name } }

    /// What may not be done, in words for whoever asked; nil for what may.
    /// - Parameter isAction: it would change something.
    func refusal(of request: OwnRequest, isAction: Bool, isSecure: Bool) -> String? {
        // A page of somebody else's, whose name was made to lead here, would read this one (DNS rebinding). Where a secret is
        // asked for, browsers do not have it under that name.
        if isAction || !isGuarded, !isKnown(request.host) {
            let name = Self.shown(Self.name(request.host))
            return "unknown Host '\(name)': write names = \(name) into [stats], or come by the address"
        }
        guard isAction else { return nil }
        guard isGuarded else { return "nobody may act here: write auth = NAME:SECRET into [stats]" }
        switch (request.origin, request.fetchSite) {
        case (let origin?, let site) where origin == "\(isSecure ? "https" : "http")://\(request.host)":
            if site == nil || site == "same-origin" { return nil }
        case (nil, "same-origin"?): return nil
        case (nil, nil) where request.hasOwnField: return nil
        case (nil, nil):
            return "add the field 'X-Ballast: 1' (curl -H 'X-Ballast: 1'), which no other site's page can send"
        case _: break
        }
        return "a page of another site may not act here"
    }

    /// Its host is an address, this machine, or one that the configuration knows.
    private func isKnown(_ authority: String) -> Bool {
        let host = Self.name(authority)
        return host == "localhost" || IPAddress(host) != nil || names.contains(host)
    }

    /// Without port, brackets and a last dot.
    private static func name(_ authority: String) -> String {
        var host = authority.lowercased()[...]
        if host.hasPrefix("["), let end = host.firstIndex(of: "]") {
            return String(host[host.index(after: host.startIndex)..<end])
        }
        if let colon = host.lastIndex(of: ":") { host = host[..<colon] }
        return String(host.hasSuffix(".") ? host.dropLast() : host)
    }

    private static func shown(_ host: String) -> String {
        String(decoding: host.utf8.prefix(100).filter { $0 > 0x20 && $0 < 0x7f && $0 != 0x27 }, as: UTF8.self)
    }
}

/// A name and a password, as a client says them (RFC 7617).
struct Claim: Sendable {
    let name: String
    let password: String

    /// - Parameter field: the value of Authorization.
    init?(_ field: String) {
        let parts = field.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "basic", let text = Self.decoded(parts[1]) else { return nil }
        guard let colon = text.firstIndex(of: ":") else { return nil }
        name = String(text[..<colon])
        password = String(text[text.index(after: colon)...])
    }

    /// RFC 4648, 4.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in text.utf8 {
            let value: UInt8
            switch byte {
            case 0x41...0x5a: value = byte - 0x41
            case 0x61...0x7a: value = byte - 0x61 + 26
            case 0x30...0x39: value = byte - 0x30 + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="), 0x20: continue
            case _: return nil
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

/// Judges claims for one worker, and remembers what it has seen: who was right, and which addresses were wrong too often.
final class Doorkeeper {
    enum Verdict: Equatable {
        case allowed, refused
        /// A hash has to be computed, beside the loop.
        case asked
        /// Its address was wrong too often: for so many seconds nothing is looked at.
        case throttled(Int)
        /// Too many are being looked at.
        case busy
    }

    /// Wrong claims of one address in one time.
    private static let mostFailures = 5
    private static let failureTime = Duration.seconds(60)
    /// Addresses that are remembered; the one that was wrong first is forgotten for the next.
    private static let mostAddresses = 1024
    /// Hashes that may be waited for.
    private static let mostAsked = 8
    private static let mostRemembered = 64

    private struct Failures {
        let client: ConnectionGate.Client
        var count: Int
        let since: Duration
    }

    private let key = Digest.randomKey
    private var remembered: [(credential: Credential, digest: Digest)] = []
    private var failures: [Failures] = []
    private var asked = 0

    private func digest(_ claim: Claim) -> Digest { Digest("\(claim.name):\(claim.password)".utf8, key: key) }

    func judge(_ claim: Claim, _ access: OwnAccess, from client: ConnectionGate.Client?, now: Duration) -> Verdict {
        let digest = digest(claim)
        let isRemembered = remembered.contains { known in
            known.credential.name == claim.name && known.digest.equals(digest)
                && access.credentials.contains(known.credential)
        }
        if isRemembered { return .allowed }
        failures.removeAll { now - $0.since >= Self.failureTime }
        if let client, let known = failures.first(where: { $0.client == client }), known.count >= Self.mostFailures {
            return .throttled(max(1, Int((Self.failureTime - (now - known.since)) / .seconds(1))))
        }
        let known = access.credential(of: claim.name)
        guard known?.isHash ?? access.credentials.contains(where: \.isHash) else {
            guard let known, Digest("\(known.name):\(known.secret)".utf8, key: key).equals(digest) else {
                note(client, now)
                return .refused
            }
            remember(known, digest)
            return .allowed
        }
        guard asked < Self.mostAsked else { return .busy }
        asked += 1
        // Counted as wrong until it is right: who asks many at a time has no more tries, and who hangs up no other.
        note(client, now)
        return .asked
    }

    /// Computes what a hash needs. Takes its time.
    static func isRight(_ claim: Claim, _ access: OwnAccess) -> Bool {
        guard let own = access.credential(of: claim.name) else {
            // Somebody unknown takes as long as somebody known.
            if let other = access.credentials.first(where: \.isHash) {
                _ = PasswordHash.verify(claim.password, other.secret)
            }
            return false
        }
        return PasswordHash.verify(claim.password, own.secret)
    }

    /// What was asked is known.
    func answered(
        _ claim: Claim, isRight: Bool, _ access: OwnAccess, from client: ConnectionGate.Client?
    ) {
        asked -= 1
        guard isRight, let credential = access.credential(of: claim.name) else { return }
        if let index = failures.firstIndex(where: { $0.client == client }) {
            failures[index].count -= 1
            if failures[index].count == 0 { failures.remove(at: index) }
        }
        remember(credential, digest(claim))
    }

    /// Who was right stays so, whoever is wrong from the same address.
    private func remember(_ credential: Credential, _ digest: Digest) {
        remembered.removeAll { $0.credential.name == credential.name }
        if remembered.count == Self.mostRemembered { remembered.removeFirst() }
        remembered.append((credential, digest))
    }

    private func note(_ client: ConnectionGate.Client?, _ now: Duration) {
        guard let client else { return }
        if let index = failures.firstIndex(where: { $0.client == client }) {
            failures[index].count += 1
        } else {
            if failures.count == Self.mostAddresses { failures.removeFirst() }
            failures.append(Failures(client: client, count: 1, since: now))
        }
    }
}
