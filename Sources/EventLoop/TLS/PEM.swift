// Certificates, keys and lists out of PEM files (RFC 7468). It reads no file by itself.
import COpenSSL

/// Everything that is freed with it: OpenSSL's objects while a context is made of them.
@safe
final class CertificateChain {
    /// The server's own, then those that lead to a root.
    let certificates: [OpaquePointer]

    init(_ file: TLSFile) throws(TLSMistake) {
        var found: [OpaquePointer] = unsafe []
        let isWhole = unsafe PEM.forEach(file) { bio in
            guard let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil) else { return false }
            unsafe found.append(certificate)
            return true
        }
        unsafe certificates = found
        guard isWhole else {
            throw unsafe TLSMistake("certificate \(found.count + 1) in it cannot be read", in: file.path)
        }
        guard unsafe !found.isEmpty else {
            // The tag and the length of DER's outermost sequence.
            let isDER = file.bytes.starts(with: [0x30, 0x82])
            let hint = isDER ? " in PEM's form; openssl x509 -inform DER converts it" : ""
            throw TLSMistake("there is no certificate in it\(hint)", in: file.path)
        }
    }

    deinit { for index in 0..<count { unsafe X509_free(certificates[index]) } }

    var count: Int { unsafe certificates.count }
    var leaf: OpaquePointer { unsafe certificates[0] }

    /// Puts those behind the first one into a context, as what leads to a root.
    func addRest(to context: TLSContext, _ path: String) throws(TLSMistake) {
        for index in 1..<count {
            guard unsafe copenssl_add_chain(context.pointer, certificates[index]) == 1 else {
                throw TLSMistake(TLSErrors.take(or: "a certificate of the chain cannot be used"), in: path)
            }
        }
    }
}

/// A private key.
@safe
final class PrivateKey {
    let pointer: OpaquePointer
    let path: String

    /// - Parameter passphrase: for a key that is sealed.
    /// - Returns: nil where there is no key in the file.
    init?(_ file: TLSFile, passphrase: [UInt8]?) throws(TLSMistake) {
        path = file.path
        guard PEM.holdsKey(file.bytes) else { return nil }
        var found: OpaquePointer?
        var phrase = passphrase ?? []
        // Without a callback OpenSSL would ask on the terminal.
        unsafe withUnsafeMutablePointer(to: &phrase) { phrase in
            _ = unsafe PEM.forEach(file) { bio in
                unsafe found = PEM_read_bio_PrivateKey(bio, nil, { unsafe PEM.answer($0, $1, $2, $3) }, phrase)
                return false
            }
        }
        guard let found = unsafe found else {
            let isSealed = file.bytes.containsText("ENCRYPTED")
            let hint =
                !isSealed
                ? "its key cannot be read"
                : passphrase == nil
                    ? "its key is sealed; write passphrase = ${file:PATH}"
                    : "the passphrase does not open its key"
            throw TLSMistake(hint, in: file.path)
        }
        unsafe pointer = found
    }

    deinit { unsafe EVP_PKEY_free(pointer) }
}

enum PEM {
    /// Calls `body` with a BIO over the file's bytes until it has enough, or finds no more.
    /// - Returns: whether nothing in the file is broken, as far as it was read.
    static func forEach(_ file: TLSFile, _ body: (OpaquePointer) -> Bool) -> Bool {
        TLSErrors.clear()
        unsafe file.bytes.withUnsafeBytes { bytes in
            guard let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count)) else { return }
            while unsafe body(bio) {}
            unsafe BIO_free(bio)
        }
        let code = ERR_peek_last_error()
        TLSErrors.clear()
        return code == 0
            || copenssl_error_library(code) == ERR_LIB_PEM && copenssl_error_reason(code) == PEM_R_NO_START_LINE
    }

    static func holdsCertificate(_ bytes: [UInt8]) -> Bool { bytes.containsText("BEGIN CERTIFICATE-----") }
    static func holdsKey(_ bytes: [UInt8]) -> Bool { bytes.containsText("PRIVATE KEY-----") }

    /// Gives OpenSSL the passphrase.
    static func answer(
        _ target: UnsafeMutablePointer<CChar>?, _ room: Int32, _ isSealing: Int32, _ data: UnsafeMutableRawPointer?
    ) -> Int32 {
        guard let target = unsafe target, let data = unsafe data else { return -1 }
        let phrase = unsafe data.assumingMemoryBound(to: [UInt8].self).pointee
        guard !phrase.isEmpty, phrase.count <= Int(room) else { return -1 }
        for index in phrase.indices { unsafe target[index] = CChar(bitPattern: phrase[index]) }
        return Int32(phrase.count)
    }

    /// Puts every certificate of `authorities`, and every list of `revoked`, into a context's store.
    static func load(
        authorities: TLSFile, revoked: TLSFile?, into context: TLSContext, tellsNames: Bool
    ) throws(TLSMistake) -> [TLSCertificate] {
        guard let store = unsafe SSL_CTX_get_cert_store(context.pointer) else { return [] }
        let chain = try CertificateChain(authorities)
        for index in 0..<chain.count {
            let certificate = unsafe chain.certificates[index]
            guard unsafe X509_STORE_add_cert(store, certificate) == 1 else {
                throw TLSMistake(TLSErrors.take(or: "a certificate cannot be used"), in: authorities.path)
            }
            // Clients with several certificates choose by these.
            if tellsNames { _ = unsafe SSL_CTX_add_client_CA(context.pointer, certificate) }
        }
        // What the operator puts there is believed, be it a root, what stands below one, or one certificate alone.
        _ = unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        guard let revoked else { return [] }
        var lists: [TLSCertificate] = []
        var strangers = 0
        let isWhole = unsafe forEach(revoked) { bio in
            guard let list = unsafe PEM_read_bio_X509_CRL(bio, nil, nil, nil) else { return false }
            if unsafe X509_STORE_add_crl(store, list) == 1 {
                unsafe lists.append(TLSCertificate(list: list, path: revoked.path))
            }
            let isOurs = (0..<chain.count).contains {
                unsafe X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(chain.certificates[$0])) == 0
            }
            if !isOurs { strangers += 1 }
            unsafe X509_CRL_free(list)
            return true
        }
        guard isWhole else { throw TLSMistake("list \(lists.count + 1) in it cannot be read", in: revoked.path) }
        guard !lists.isEmpty else { throw TLSMistake("there is no revocation list in it", in: revoked.path) }
        guard strangers == 0 else {
            throw TLSMistake("a list in it is of an authority that is not in '\(authorities.path)'", in: revoked.path)
        }
        // Of the client's own certificate; a list for each authority above it is nobody's everyday.
        _ = unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK))
        return lists
    }
}

extension [UInt8] {
    fileprivate func containsText(_ text: StaticString) -> Bool {
        let wanted = Array(text.description.utf8)
        guard count >= wanted.count else { return false }
        return indices.dropLast(wanted.count - 1).contains { self[$0...].starts(with: wanted) }
    }
}
