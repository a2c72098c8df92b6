// What connections to servers are secured with: whom to believe, what to show, and the tickets that shorten the next
// handshake. It never falls back to anything less.
import Addresses
import COpenSSL

/// What a backend's connections to its servers are made with.
public struct TLSClientRules: Sendable {
    /// A server's certificate has to be right.
    public var verifies = true
    /// Whom to believe; nil is the system's.
    public var authorities: TLSFile?
    /// Shown to servers that ask for it.
    public var certificate: TLSFile?
    public var key: TLSFile?
    public var passphrase: [UInt8]?
    /// In place of the server's own name.
    public var name: String?

    public init() {}

    /// Keys are compared, and not kept.
    fileprivate var digest: [UInt8] {
        var bytes = Array("\(verifies)\u{0}\(name ?? "")\u{0}".utf8)
        for file in [authorities, certificate, key] { bytes += file?.digest ?? [0] }
        return CertificateText.digest(bytes + (passphrase ?? []))
    }
}

public final class TLSClientContext: Sendable {
    private let name: String?
    let verifies: Bool
    /// What is shown to servers.
    public let certificates: [TLSCertificate]
    /// A digest of what it was made of, keys included.
    private let origin: [UInt8]
    let context: TLSContext

    public init(_ rules: TLSClientRules) throws(TLSMistake) {
        (name, verifies, origin) = (rules.name, rules.verifies, rules.digest)
        context = try TLSContext(isServer: false)
        let pointer = unsafe context.pointer
        _ = unsafe copenssl_set_min_version(pointer, TLS1_2_VERSION)
        if let authorities = rules.authorities {
            _ = try PEM.load(authorities: authorities, revoked: nil, into: context, tellsNames: false)
        } else if rules.verifies {
            guard unsafe SSL_CTX_set_default_verify_paths(pointer) == 1 else {
                throw TLSMistake(TLSErrors.take(or: "the system's certificates cannot be read"))
            }
        }
        certificates = if let file = rules.certificate { [try Self.show(file, rules, in: context)] } else { [] }
        unsafe SSL_CTX_set_verify(pointer, rules.verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nil)
        let mode = SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
        _ = unsafe copenssl_set_cache_mode(pointer, Int(mode))
        unsafe SSL_CTX_sess_set_new_cb(pointer, keepTicket)
    }

    private static func show(
        _ file: TLSFile, _ rules: TLSClientRules, in context: TLSContext
    ) throws(TLSMistake) -> TLSCertificate {
        let chain = try CertificateChain(file)
        guard let key = try PrivateKey(rules.key ?? file, passphrase: rules.passphrase) else {
            throw TLSMistake("there is no private key in it", in: (rules.key ?? file).path)
        }
        TLSErrors.clear()
        guard unsafe SSL_CTX_use_certificate(context.pointer, chain.leaf) == 1,
            unsafe SSL_CTX_use_PrivateKey(context.pointer, key.pointer) == 1
        else { throw TLSMistake(TLSErrors.take(or: "the key is not this certificate's"), in: file.path) }
        try chain.addRest(to: context, file.path)
        return unsafe TLSCertificate(chain.leaf, key.pointer, path: file.path)
    }

    /// Whether these are the rules and files that it was made of.
    public func isMade(of rules: TLSClientRules) -> Bool { origin == rules.digest }

    /// A connection to the server called `name`, or to what the rules say.
    /// - Parameter resumption: of that server, for this loop.
    public func makeSession(
        _ socket: SocketID, name: String, resumption: TLSResumption?, on network: any Network
    ) -> TLSSession? {
        guard let session = TLSSession(context, .client(self, resumption), socket: socket, on: network) else {
            return nil
        }
        let ssl = unsafe session.ssl
        let name = self.name ?? name
        unsafe SSL_set_connect_state(ssl)
        let isAddress = IPAddress(name) != nil
        // An address is in no server_name extension (RFC 6066, 3).
        if !isAddress, unsafe copenssl_set_server_name(ssl, name) != 1 { return nil }
        if verifies {
            let parameters = unsafe SSL_get0_param(ssl)
            unsafe X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            let isSet =
                unsafe isAddress
                ? X509_VERIFY_PARAM_set1_ip_asc(parameters, name) : X509_VERIFY_PARAM_set1_host(parameters, name, 0)
            guard isSet == 1 else { return nil }
        }
        resumption?.offer(to: session, under: self)
        return session
    }
}

/// The last ticket of one server, for one loop.
@safe
public final class TLSResumption {
    private var session: OpaquePointer?
    /// The rules that it was made under.
    private weak var context: TLSClientContext?

    public init() {}

    deinit { if let session = unsafe session { unsafe SSL_SESSION_free(session) } }

    func offer(to connection: TLSSession, under context: TLSClientContext) {
        guard self.context === context, let session = unsafe session else { return }
        _ = unsafe SSL_set_session(connection.ssl, session)
    }

    /// Takes `next` over.
    fileprivate func keep(_ next: OpaquePointer, of context: TLSClientContext) {
        if let session = unsafe session { unsafe SSL_SESSION_free(session) }
        unsafe session = next
        self.context = context
    }
}

/// `SSL_CTX_sess_set_new_cb(3)`: 1 keeps the session.
private func keepTicket(_ ssl: OpaquePointer?, _ session: OpaquePointer?) -> Int32 {
    guard let owner = unsafe TLSSession.owner(of: ssl), let resumption = owner.resumption,
        let context = owner.clientContext, let session = unsafe session
    else { return 0 }
    unsafe resumption.keep(session, of: context)
    return 1
}
