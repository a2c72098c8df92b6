// A certificate for simulated connections, made when it is needed. Its key and its signatures have always the same length, so
// that every run of a seed sends the same number of bytes.
import COpenSSL
public import EventLoop

public enum TestCertificate {
    /// The name in it.
    public static let name = "model.test"

    /// A self-signed certificate and its key, in one file that is nowhere.
    public static let file: TLSFile = TLSFile(path: "/simulated.pem", bytes: make())

    private static func make() -> [UInt8] {
        var key: OpaquePointer?
        let generator = unsafe EVP_PKEY_CTX_new_id(Int32(EVP_PKEY_ED25519), nil)
        defer { unsafe EVP_PKEY_CTX_free(generator) }
        guard unsafe EVP_PKEY_keygen_init(generator) == 1, unsafe EVP_PKEY_keygen(generator, &key) == 1,
            let certificate = unsafe X509_new()
        else { return [] }
        defer {
            unsafe EVP_PKEY_free(key)
            unsafe X509_free(certificate)
        }
        _ = unsafe X509_set_version(certificate, 2)
        _ = unsafe ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1)
        _ = unsafe X509_gmtime_adj(X509_getm_notBefore(certificate), -86_400)
        _ = unsafe X509_gmtime_adj(X509_getm_notAfter(certificate), 86_400)
        _ = unsafe X509_set_pubkey(certificate, key)
        let subject = unsafe X509_get_subject_name(certificate)
        _ = unsafe X509_NAME_add_entry_by_txt(subject, "CN", Int32(MBSTRING_ASC), name, -1, -1, 0)
        _ = unsafe X509_set_issuer_name(certificate, subject)
        if let names = unsafe X509V3_EXT_conf_nid(nil, nil, NID_subject_alt_name, "DNS:\(name)") {
            _ = unsafe X509_add_ext(certificate, names, -1)
            unsafe X509_EXTENSION_free(names)
        }
        guard unsafe X509_sign(certificate, key, nil) > 0, let output = unsafe BIO_new(BIO_s_mem()) else { return [] }
        defer { unsafe BIO_free(output) }
        _ = unsafe PEM_write_bio_X509(output, certificate)
        _ = unsafe PEM_write_bio_PrivateKey(output, key, nil, nil, 0, nil, nil)
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = unsafe BIO_read(output, &bytes, Int32(bytes.count))
        return Array(bytes.prefix(max(0, Int(count))))
    }

    /// What accepts connections with it.
    public static func acceptor() throws -> TLSAcceptor {
        var rules = TLSServerRules()
        rules.certificates = [file]
        return TLSAcceptor([try TLSServerContext(rules)], tickets: TicketKeys(), refusesUnknown: false)
    }

    /// What believes it.
    public static func clientContext() throws -> TLSClientContext {
        var rules = TLSClientRules()
        rules.authorities = file
        return try TLSClientContext(rules)
    }
}
