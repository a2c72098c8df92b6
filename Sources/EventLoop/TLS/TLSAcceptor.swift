// Chooses, while a client says hello, which certificate it gets and what is asked of it. The choice is made before a ticket is
// opened: no ticket of one name leads into another.
import COpenSSL

/// All that a server's connections may need, under one configuration.
public final class TLSAcceptor: Sendable {
    /// The first one is served where no name fits.
    public let contexts: [TLSServerContext]
    let tickets: TicketKeys
    /// A client that asks for a name that no certificate has is refused.
    public let refusesUnknown: Bool
    /// Any of them wants to know who its clients are.
    public let verifiesClients: Bool
    /// By name in lower case; of wildcards what follows the asterisk.
    private let exact: [String: Int]
    private let wildcards: [String: Int]

    /// - Parameters:
    ///   - contexts: at least one; no two have a name in common.
    ///   - tickets: outlive the acceptor, so that a new one opens what an earlier one has sealed.
    public init(_ contexts: [TLSServerContext], tickets: TicketKeys, refusesUnknown: Bool) {
        precondition(!contexts.isEmpty)
        self.contexts = contexts
        self.tickets = tickets
        self.refusesUnknown = refusesUnknown
        var exact: [String: Int] = [:]
        var wildcards: [String: Int] = [:]
        for (index, context) in contexts.enumerated() {
            for name in context.names {
                if name.hasPrefix("*.") {
                    wildcards[String(name.dropFirst())] = index
                } else {
                    exact[name] = index
                }
            }
        }
        self.exact = exact
        self.wildcards = wildcards
        verifiesClients = contexts.contains { $0.verifies != .off }
    }

    /// A connection that a client has made.
    /// - Parameter listener: its name: a ticket of one is worth nothing at another.
    public func makeSession(_ socket: SocketID, listener: String, on network: any Network) -> TLSSession? {
        guard let session = TLSSession(contexts[0].context, .acceptor(self), socket: socket, on: network) else {
            return nil
        }
        unsafe SSL_set_accept_state(session.ssl)
        session.listener = listener
        return session
    }

    /// The context whose certificates are for `name`, exactly or by a wildcard for one label; nil where none is.
    public func context(for name: String) -> TLSServerContext? {
        // Of ASCII alone: other letters have lower forms that are ASCII's.
        var name = String(decoding: name.utf8.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }, as: UTF8.self)[...]
        if name.hasSuffix(".") { name = name.dropLast() }
        if let index = exact[String(name)] { return contexts[index] }
        guard let dot = name.firstIndex(of: "."), dot != name.startIndex else { return nil }
        return wildcards[String(name[dot...])].map { contexts[$0] }
    }

    /// The context that serves requests for `host`.
    public func serving(_ host: String) -> TLSServerContext { context(for: host) ?? contexts[0] }

    /// Lets `session` go on under the rules for the name that it asked for; false refuses it.
    fileprivate func choose(_ name: [UInt8]?, for session: TLSSession) -> Bool {
        var context = contexts[0]
        if let name {
            if let found = self.context(for: String(decoding: name, as: UTF8.self)) {
                context = found
            } else if refusesUnknown {
                return false
            }
        } else if refusesUnknown {
            return false
        }
        session.chosen = context
        let ssl = unsafe session.ssl
        guard unsafe SSL_set_SSL_CTX(ssl, context.context.pointer) != nil else { return false }
        // What the first context said of these was copied when the connection was made.
        _ = unsafe copenssl_set_minimum(ssl, context.rules.minimumVersion.number)
        if context.rules.hasTickets {
            _ = unsafe SSL_clear_options(ssl, copenssl_no_tickets)
        } else {
            _ = unsafe SSL_set_options(ssl, copenssl_no_tickets)
        }
        _ = unsafe SSL_set_num_tickets(ssl, context.rules.hasTickets ? 1 : 0)
        if context !== contexts[0] { _ = unsafe copenssl_set_own_groups(ssl, context.groupList) }
        let scope = context.ticketScope(at: session.listener)
        guard unsafe SSL_set_session_id_context(ssl, scope, UInt32(scope.count)) == 1 else { return false }
        switch context.verifies {
        case .off: unsafe SSL_set_verify(ssl, SSL_VERIFY_NONE, nil)
        case .optional: unsafe SSL_set_verify(ssl, SSL_VERIFY_PEER, judgeClient)
        case .required:
            unsafe SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, judgeClient)
        }
        return true
    }
}

/// The name in a ClientHello's server_name extension (RFC 6066, 3), as it stands there; nil where there is none.
private func serverName(_ ssl: OpaquePointer?) -> [UInt8]? {
    var bytes: UnsafePointer<UInt8>?
    var count = 0
    guard unsafe SSL_client_hello_get0_ext(ssl, UInt32(TLSEXT_TYPE_server_name), &bytes, &count) == 1,
        let start = unsafe bytes
    else { return nil }
    let list = unsafe UnsafeBufferPointer(start: start, count: count)
    // The list's length, one entry's type 0 and length, and the name.
    guard list.count > 5, unsafe list[2] == 0 else { return [] }
    let length = unsafe Int(list[3]) << 8 | Int(list[4])
    guard length > 0, length <= 255, list.count >= 5 + length else { return [] }
    return unsafe Array(list[5..<5 + length])
}

/// `SSL_CTX_set_client_hello_cb(3)`.
func chooseContext(
    _ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let session = unsafe TLSSession.owner(of: ssl), let acceptor = session.acceptor,
        acceptor.choose(unsafe serverName(ssl), for: session)
    else {
        unsafe alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
        return SSL_CLIENT_HELLO_ERROR
    }
    return SSL_CLIENT_HELLO_SUCCESS
}

/// `SSL_CTX_set_alpn_select_cb(3)`: HTTP/1.1, or nothing that a client offers (RFC 7301, 3.2).
func chooseProtocol(
    _ ssl: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenCount: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?, _ count: UInt32,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    let list = unsafe UnsafeBufferPointer(start: offered, count: Int(count))
    var index = 0
    while index < list.count {
        let length = unsafe Int(list[index])
        guard length > 0, index + 1 + length <= list.count else { break }
        if unsafe list[(index + 1)...(index + length)].elementsEqual("http/1.1".utf8) {
            unsafe chosen?.pointee = offered.map { unsafe $0 + index + 1 }
            unsafe chosenCount?.pointee = UInt8(length)
            return SSL_TLSEXT_ERR_OK
        }
        index += 1 + length
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

/// `SSL_CTX_set_tlsext_ticket_key_evp_cb(3)`.
func useTicketKey(
    _ ssl: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ vector: UnsafeMutablePointer<UInt8>?,
    _ cipher: OpaquePointer?, _ digest: OpaquePointer?, _ isSealing: Int32
) -> Int32 {
    guard let session = unsafe TLSSession.owner(of: ssl), let acceptor = session.acceptor, let name = unsafe name,
        let vector = unsafe vector, let cipher = unsafe cipher, let digest = unsafe digest
    else { return -1 }
    return unsafe acceptor.tickets.prepare(
        name: name, vector: vector, cipher: cipher, digest: digest, isSealing: isSealing == 1,
        now: Machine.monotonicTime)
}

/// `SSL_set_verify(3)`: beside the chain, a client's certificate has to have one of the names that are let in.
private func judgeClient(_ isGood: Int32, _ store: OpaquePointer?) -> Int32 {
    guard isGood == 1, unsafe X509_STORE_CTX_get_error_depth(store) == 0 else { return isGood }
    let index = SSL_get_ex_data_X509_STORE_CTX_idx()
    guard let ssl = unsafe X509_STORE_CTX_get_ex_data(store, index),
        let session = unsafe TLSSession.owner(of: OpaquePointer(ssl)), let context = session.chosen,
        let certificate = unsafe X509_STORE_CTX_get_current_cert(store)
    else { return 0 }
    let wanted = context.rules.clientNames
    guard !wanted.isEmpty else { return 1 }
    var names = unsafe CertificateText.names(certificate).filter { $0.kind != .address }.map(\.bytes)
    if let common = unsafe CertificateText.commonName(certificate) { names.append(common) }
    if names.contains(where: { name in wanted.contains { $0.utf8.elementsEqual(name) } }) { return 1 }
    unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)
    return 0
}
