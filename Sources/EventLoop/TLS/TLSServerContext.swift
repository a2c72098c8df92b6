// What one [tls] says, ready for connections: certificates with their keys, whom clients have to be, and the rules of
// versions and suites. It chooses nothing; the acceptor does.
import COpenSSL
import Synchronization

/// What a server's connections are made with.
public struct TLSServerRules: Sendable {
    public enum Verification: String, CaseIterable, Sendable { case off, optional, required }

    /// As the configuration calls it.
    public var name = ""
    /// Certificates with what leads to a root; of each kind of key one.
    public var certificates: [TLSFile] = []
    /// Keys, in any order; a certificate's file may hold its own.
    public var keys: [TLSFile] = []
    public var passphrase: [UInt8]?
    public var clientAuthorities: TLSFile?
    public var clientRevocations: TLSFile?
    public var clientVerification = Verification.off
    /// Names of which a client's certificate has to have one; none is any.
    public var clientNames: [String] = []
    public var minimumVersion = TLSVersion.tls12
    /// OpenSSL's names of TLS 1.2's suites, and of TLS 1.3's, the most wanted first; empty is the default.
    public var ciphers: [String] = []
    public var suites: [String] = []
    /// Of the key exchange, the most wanted first.
    public var groups = ["X25519", "P-256", "P-384"]
    public var hasTickets = true

    public init() {}
}

/// One certificate that is served or shown, or a revocation list: what ends.
public struct TLSCertificate: Sendable, Equatable {
    public let path: String
    /// It is a list of revoked certificates.
    public let isList: Bool
    /// Lower case; `*.x` is one label.
    public let names: [String]
    /// Seconds since 1970.
    public let expiry: Int64
    /// In hex.
    public let serial: String
    /// `RSA`, `EC` or what OpenSSL calls it.
    public let kind: String
}

public final class TLSServerContext: Sendable {
    /// Without keys.
    public let rules: TLSServerRules
    /// A digest of what it was made of, keys included.
    private let origin: [UInt8]
    public let certificates: [TLSCertificate]
    /// Lists of revoked certificates.
    public let revocations: [TLSCertificate]
    let context: TLSContext
    let groupList: String
    /// What a ticket is good for: the same clients under the same rules, at the same listener.
    private let scope: [UInt8]
    private let scopes = Mutex<[String: [UInt8]]>([:])
    var verifies: TLSServerRules.Verification { rules.clientVerification }

    /// Mozilla's intermediate list: forward secrecy and authenticated encryption alone.
    public static let ciphers = [
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    ]
    public static let suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]

    public init(_ rules: TLSServerRules) throws(TLSMistake) {
        origin = rules.digest
        var shown = rules
        (shown.keys, shown.certificates, shown.passphrase) = ([], [], nil)
        self.rules = shown
        context = try TLSContext(isServer: true)
        certificates = try Self.load(rules, into: context)
        revocations =
            if let authorities = rules.clientAuthorities {
                try PEM.load(
                    authorities: authorities, revoked: rules.clientRevocations, into: context, tellsNames: true)
            } else { [] }
        scope = Self.scope(rules)
        groupList = rules.groups.joined(separator: ":")
        let pointer = unsafe context.pointer
        _ = unsafe copenssl_set_min_version(pointer, rules.minimumVersion.number)
        let ciphers = rules.ciphers.isEmpty ? Self.ciphers : rules.ciphers
        for cipher in rules.ciphers where !Self.isSuite(cipher, in: context) {
            throw TLSMistake("'\(cipher)' is no suite of TLS 1.2 that this machine's OpenSSL allows")
        }
        guard unsafe SSL_CTX_set_cipher_list(pointer, ciphers.joined(separator: ":")) == 1 else {
            throw TLSMistake(TLSErrors.take(or: "the suites of TLS 1.2 cannot be used"))
        }
        let suites = rules.suites.isEmpty ? Self.suites : rules.suites
        guard unsafe SSL_CTX_set_ciphersuites(pointer, suites.joined(separator: ":")) == 1 else {
            throw TLSMistake("not every one is a suite of TLS 1.3: \(suites.joined(separator: " "))")
        }
        guard unsafe copenssl_set_groups(pointer, groupList) == 1 else {
            throw TLSMistake("not every one is a group: \(rules.groups.joined(separator: " "))")
        }
        // Tickets alone: what workers would have to share is sealed and kept by the client.
        _ = unsafe copenssl_set_cache_mode(pointer, Int(SSL_SESS_CACHE_OFF))
        _ = unsafe SSL_CTX_set_timeout(pointer, 7200)
        if !rules.hasTickets {
            _ = unsafe SSL_CTX_set_options(pointer, copenssl_no_tickets)
            _ = unsafe SSL_CTX_set_num_tickets(pointer, 0)
        }
        unsafe copenssl_set_ticket_callback(pointer, useTicketKey)
        unsafe SSL_CTX_set_client_hello_cb(pointer, chooseContext, nil)
        unsafe SSL_CTX_set_alpn_select_cb(pointer, chooseProtocol, nil)
    }

    /// OpenSSL skips names that it does not know, and knows names of many suites.
    private static func isSuite(_ name: String, in context: TLSContext) -> Bool {
        defer { TLSErrors.clear() }
        guard unsafe SSL_CTX_set_cipher_list(context.pointer, name) == 1,
            let all = unsafe SSL_CTX_get_ciphers(context.pointer)
        else { return false }
        return (0..<(unsafe copenssl_cipher_count(all))).contains {
            unsafe String(cString: SSL_CIPHER_get_name(copenssl_cipher(all, $0))) == name
        }
    }

    func ticketScope(at listener: String) -> [UInt8] {
        scopes.withLock { scopes in
            if let known = scopes[listener] { return known }
            let made = CertificateText.digest(scope + Array(listener.utf8))
            scopes[listener] = made
            return made
        }
    }

    /// Puts every certificate with its key into `context`.
    private static func load(
        _ rules: TLSServerRules, into context: TLSContext
    ) throws(TLSMistake) -> [TLSCertificate] {
        var keys: [PrivateKey] = []
        for file in rules.keys {
            guard let key = try PrivateKey(file, passphrase: rules.passphrase) else {
                let isCertificate = PEM.holdsCertificate(file.bytes)
                let hint = isCertificate ? ", but a certificate: are 'certificate' and 'key' swapped?" : ""
                throw TLSMistake("there is no private key in it\(hint)", in: file.path)
            }
            keys.append(key)
        }
        var found: [TLSCertificate] = []
        for file in rules.certificates {
            let chain = try CertificateChain(file)
            let own = try PrivateKey(file, passphrase: rules.passphrase)
            guard
                let key = (keys + (own.map { [$0] } ?? [])).first(where: {
                    unsafe X509_check_private_key(chain.leaf, $0.pointer) == 1
                })
            else {
                TLSErrors.clear()
                let isBehind = (1..<chain.count).contains { place in
                    keys.contains { unsafe X509_check_private_key(chain.certificates[place], $0.pointer) == 1 }
                }
                TLSErrors.clear()
                guard !isBehind else {
                    throw TLSMistake("its first certificate is not the server's, which stands behind it", in: file.path)
                }
                let names = keys.map { "'\($0.path)'" }.joined(separator: " or ")
                throw TLSMistake(
                    names.isEmpty
                        ? "no key is in it, and 'key' names none" : "the key in \(names) is not this certificate's",
                    in: file.path)
            }
            let certificate = unsafe TLSCertificate(chain.leaf, key.pointer, path: file.path)
            if let twin = found.first(where: { $0.kind == certificate.kind }) {
                throw TLSMistake("'\(twin.path)' is \(certificate.kind) as well; give each a [tls NAME]", in: file.path)
            }
            try use(chain, key, in: context, file.path)
            found.append(certificate)
        }
        return found
    }

    private static func use(
        _ chain: CertificateChain, _ key: PrivateKey, in context: TLSContext, _ path: String
    ) throws(TLSMistake) {
        TLSErrors.clear()
        guard unsafe SSL_CTX_use_certificate(context.pointer, chain.leaf) == 1,
            unsafe SSL_CTX_use_PrivateKey(context.pointer, key.pointer) == 1
        else { throw TLSMistake(TLSErrors.take(or: "the certificate cannot be used"), in: path) }
        try chain.addRest(to: context, path)
    }

    /// A digest of everything that decides whether a client is let in: what changes that makes older tickets worthless.
    private static func scope(_ rules: TLSServerRules) -> [UInt8] {
        var text = Array("\(rules.name)\u{0}\(rules.clientVerification.rawValue)\u{0}".utf8)
        text += Array(rules.clientNames.joined(separator: "\u{0}").utf8)
        text += (rules.clientAuthorities?.bytes ?? []) + [0] + (rules.clientRevocations?.bytes ?? [])
        return CertificateText.digest(text)
    }

    /// Whether these are the rules and files that it was made of.
    public func isMade(of rules: TLSServerRules) -> Bool { origin == rules.digest }

    /// The names of all its certificates, each once.
    public var names: [String] {
        certificates.flatMap(\.names).reduce(into: []) { names, name in
            if !names.contains(name) { names.append(name) }
        }
    }
}

extension TLSServerRules {
    /// Keys are compared, and not kept.
    fileprivate var digest: [UInt8] {
        var bytes = Array("\(name)\u{0}\(clientVerification)\u{0}\(minimumVersion)\u{0}\(hasTickets)\u{0}".utf8)
        for list in [clientNames, ciphers, suites, groups] { bytes += Array("\(list)\u{0}".utf8) }
        for file in certificates + keys + [clientAuthorities, clientRevocations].compactMap(\.self) {
            bytes += file.digest
        }
        return CertificateText.digest(bytes + (passphrase ?? []))
    }
}

extension TLSFile {
    /// Of its path and its bytes.
    var digest: [UInt8] { CertificateText.digest(Array(path.utf8) + [0] + bytes) }
}

extension TLSCertificate {
    init(_ certificate: OpaquePointer, _ key: OpaquePointer, path: String) {
        self.path = path
        isList = false
        var found = unsafe CertificateText.names(certificate).filter { $0.kind == .dns }.map(\.bytes)
        if found.isEmpty, let name = unsafe CertificateText.commonName(certificate) { found = [name] }
        // A name with a zero in it is made to deceive.
        names = found.filter { !$0.contains(0) && $0.count < 256 }
            .map { String(decoding: $0, as: UTF8.self).lowercased() }
        expiry = unsafe CertificateText.expiry(certificate)
        serial = unsafe CertificateText.serial(certificate)
        let name = unsafe EVP_PKEY_get0_type_name(key)
        kind = unsafe name.map { unsafe String(cString: $0) } ?? "key"
    }
}

extension TLSCertificate {
    /// A list of revoked certificates, which ends when the next one is due.
    init(list: OpaquePointer, path: String) {
        self.path = path
        isList = true
        (names, kind) = ([], "list")
        let next = unsafe X509_CRL_get0_nextUpdate(list)
        expiry = unsafe next == nil ? .max : CertificateText.seconds(next)
        var number = ""
        if let raw = unsafe X509_CRL_get_ext_d2i(list, NID_crl_number, nil, nil) {
            let integer = unsafe raw.assumingMemoryBound(to: ASN1_INTEGER.self)
            number = unsafe "\(ASN1_INTEGER_get(integer))"
            unsafe ASN1_INTEGER_free(integer)
        }
        serial = number
    }
}
