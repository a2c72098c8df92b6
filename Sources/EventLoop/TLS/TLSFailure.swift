// Why a secured connection could not be made or went wrong: in a word for counting, in a clause for people.
import COpenSSL

/// What ended a handshake, or a secured connection.
public struct TLSFailure: Error, Equatable, Sendable {
    /// The words of metrics.
    public enum Reason: String, CaseIterable, Sendable {
        /// The peer speaks HTTP without TLS.
        case plainHTTP = "plain_http"
        /// No version, no suite or group, no protocol behind TLS that both sides have.
        case version, cipher
        case application = "protocol"
        /// Of the peer's certificate: there is none, nobody known signed it, its time is over, it was revoked, it is not
        /// for this name, or anything else is wrong with it.
        case noCertificate = "no_certificate"
        case unknownCA = "unknown_ca"
        case expired, revoked
        case wrongName = "wrong_name"
        case badCertificate = "bad_certificate"
        /// No certificate here is for the name that the peer asked for.
        case unknownName = "unknown_name"
        /// The peer does not accept what it was offered: an alert says why.
        case refused
        /// The peer went away, or took too long.
        case closed, timeout
        /// What it sent is not TLS.
        case malformed

        /// The peer's certificate is not accepted.
        public var isOfCertificate: Bool {
            switch self {
            case .noCertificate, .unknownCA, .expired, .revoked, .wrongName, .badCertificate: true
            case .plainHTTP, .version, .cipher, .application, .unknownName, .refused, .closed, .timeout, .malformed:
                false
            }
        }
    }

    public let reason: Reason
    /// One clause for people.
    public let text: String

    public init(_ reason: Reason, _ text: String) {
        self.reason = reason
        self.text = text
    }
}

/// OpenSSL's queue of errors, which is one for each thread.
enum TLSErrors {
    static func clear() { ERR_clear_error() }

    /// The clause of the first error that is queued; empties the queue.
    static func take(or fallback: String) -> String {
        let code = ERR_get_error()
        ERR_clear_error()
        return code == 0 ? fallback : text(code) ?? fallback
    }

    private static func text(_ code: UInt) -> String? {
        guard let reason = unsafe ERR_reason_error_string(code) else { return nil }
        return unsafe String(cString: reason)
    }

    /// What the queue says of a failed call on a connection; empties it.
    /// - Parameter verdict: of the peer's certificate, `X509_V_OK` where it is right or was not looked at.
    static func takeFailure(verdict: Int) -> TLSFailure {
        var code = ERR_get_error()
        // What the lower layers say comes before what it means.
        while code != 0, copenssl_error_library(code) != ERR_LIB_SSL, ERR_peek_error() != 0 { code = ERR_get_error() }
        ERR_clear_error()
        guard code != 0, copenssl_error_library(code) == ERR_LIB_SSL else {
            return TLSFailure(code == 0 ? .closed : .malformed, text(code) ?? "the connection closed")
        }
        let text = text(code) ?? "an error without a name"
        switch copenssl_error_reason(code) {
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: return TLSFailure(.plainHTTP, text)
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH,
            SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
            return TLSFailure(.version, "it takes no version of TLS that is taken here (\(text))")
        case SSL_R_WRONG_VERSION_NUMBER: return TLSFailure(.malformed, "it does not speak TLS (\(text))")
        case SSL_R_NO_APPLICATION_PROTOCOL:
            return TLSFailure(.application, "it offers other protocols than http/1.1 (ALPN)")
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_GROUPS,
            SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
            return TLSFailure(.cipher, text)
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return TLSFailure(.noCertificate, text)
        case SSL_R_CERTIFICATE_VERIFY_FAILED: return certificateFailure(verdict)
        // The callback that chooses a certificate has refused.
        case SSL_R_CALLBACK_FAILED: return TLSFailure(.unknownName, "no certificate is for that name")
        case let reason where reason >= Self.alerts: return TLSFailure(.refused, text)
        case _: return TLSFailure(.malformed, text)
        }
    }

    /// Alerts of the peer are errors from here on.
    private static let alerts: Int32 = 1000

    private static func certificateFailure(_ verdict: Int) -> TLSFailure {
        let text = unsafe "its certificate is not accepted: \(String(cString: X509_verify_cert_error_string(verdict)))"
        switch Int32(truncatingIfNeeded: verdict) {
        case X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID: return TLSFailure(.expired, text)
        case X509_V_ERR_CERT_REVOKED: return TLSFailure(.revoked, text)
        case X509_V_ERR_CERT_REJECTED: return TLSFailure(.wrongName, "its certificate has none of 'client-names'")
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: return TLSFailure(.wrongName, text)
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            return TLSFailure(.unknownCA, text)
        case _: return TLSFailure(.badCertificate, text)
        }
    }
}
