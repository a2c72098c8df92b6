// What of a certificate is shown or compared: names, times, fingerprints. It verifies nothing.
import Addresses
import COpenSSL

/// A client's certificate, as its request's server is told of it: printable ASCII, bounded.
public struct ClientCertificate: Sendable {
    /// RFC 4514; empty where it is longer than `longest`: a part of it would be another's.
    public let subject: [UInt8]
    /// `DNS:a.example, URI:spiffe://b/c`, as many as `longest` bytes hold; what is in no name stands as `%XX`.
    public let names: [UInt8]
    /// SHA-256 of the certificate, in hex.
    public let fingerprint: [UInt8]

    public static let longest = 1024

    init?(_ certificate: OpaquePointer) {
        guard let fingerprint = unsafe CertificateText.fingerprint(certificate) else { return nil }
        self.fingerprint = fingerprint
        subject = unsafe CertificateText.subject(certificate)
        var text = ""
        for name in unsafe CertificateText.names(certificate).map(\.text) {
            let longer = text.isEmpty ? name : text + ", " + name
            if longer.utf8.count <= Self.longest { text = longer }
        }
        names = Array(text.utf8)
    }
}

/// One of the names in a certificate.
struct CertificateName: Equatable {
    enum Kind { case dns, email, uri, address }

    let kind: Kind
    /// As it stands there; of an address its raw bytes.
    let bytes: [UInt8]

    /// Printable: `DNS:a.example`.
    var text: String {
        switch kind {
        case .dns: "DNS:" + Self.escaped(bytes)
        case .email: "email:" + Self.escaped(bytes)
        case .uri: "URI:" + Self.escaped(bytes)
        case .address: "IP:" + Self.address(bytes)
        }
    }

    private static func address(_ bytes: [UInt8]) -> String {
        switch bytes.count {
        case 4: "\(IPAddress(v4: bytes.reduce(0) { $0 << 8 | UInt32($1) }))"
        case 16: "\(IPAddress(bits: bytes.reduce(0) { $0 << 8 | UInt128($1) }))"
        case _: "%" + String(decoding: CertificateText.hex(bytes), as: UTF8.self)
        }
    }

    /// What is not printable, and what separates names, cannot be taken for anything else.
    static func escaped(_ bytes: [UInt8]) -> String {
        var text = ""
        for byte in bytes {
            let isPlain = byte > 0x20 && byte < 0x7f && byte != 0x2c && byte != 0x22 && byte != 0x25
            text += isPlain ? String(UnicodeScalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return text
    }
}

enum CertificateText {
    /// SHA-256.
    static func digest(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        _ = unsafe EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
        return digest
    }

    static func fingerprint(_ certificate: OpaquePointer) -> [UInt8]? {
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        guard unsafe X509_digest(certificate, EVP_sha256(), &digest, &count) == 1 else { return nil }
        return hex(digest.prefix(Int(count)))
    }

    static func hex(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        return bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    }

    /// RFC 4514's form; what is not ASCII, and controls, are escaped.
    static func subject(_ certificate: OpaquePointer) -> [UInt8] {
        guard let bio = unsafe BIO_new(BIO_s_mem()) else { return [] }
        defer { unsafe BIO_free(bio) }
        let subject = unsafe X509_get_subject_name(certificate)
        guard unsafe X509_NAME_print_ex(bio, subject, 0, copenssl_subject_form) >= 0 else { return [] }
        var text = [UInt8](repeating: 0, count: ClientCertificate.longest + 1)
        let count = unsafe BIO_read(bio, &text, Int32(text.count))
        guard count <= ClientCertificate.longest else { return [] }
        // Whatever a library may print: no byte of it can end a field.
        return text.prefix(max(0, Int(count))).map { $0 >= 0x20 && $0 < 0x7f ? $0 : UInt8(ascii: "?") }
    }

    /// The names of the certificate's own extension, in their order; bounded.
    static func names(_ certificate: OpaquePointer) -> [CertificateName] {
        guard let raw = unsafe X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return [] }
        let stack = OpaquePointer(raw)
        defer { unsafe copenssl_free_names(stack) }
        var names: [CertificateName] = []
        for index in 0..<min(1000, unsafe copenssl_name_count(stack)) {
            var kind: Int32 = 0
            var count: Int32 = 0
            guard let name = unsafe copenssl_name(stack, index),
                let bytes = unsafe copenssl_name_bytes(name, &kind, &count)
            else { continue }
            let copy = unsafe Array(UnsafeBufferPointer(start: bytes, count: Int(count)))
            switch kind {
            case GEN_DNS: names.append(CertificateName(kind: .dns, bytes: copy))
            case GEN_EMAIL: names.append(CertificateName(kind: .email, bytes: copy))
            case GEN_URI: names.append(CertificateName(kind: .uri, bytes: copy))
            case _: names.append(CertificateName(kind: .address, bytes: copy))
            }
        }
        return names
    }

    /// The last common name of the subject: what certificates without other names are called by.
    static func commonName(_ certificate: OpaquePointer) -> [UInt8]? {
        guard let subject = unsafe X509_get_subject_name(certificate) else { return nil }
        var last: Int32 = -1
        while true {
            let next = unsafe X509_NAME_get_index_by_NID(subject, NID_commonName, last)
            guard next >= 0 else { break }
            last = next
        }
        guard last >= 0, let entry = unsafe X509_NAME_get_entry(subject, last) else { return nil }
        // Whatever kind of string it is: its bytes alone could be another's name.
        var text: UnsafeMutablePointer<UInt8>?
        let count = unsafe ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry))
        guard count > 0, let text = unsafe text else { return nil }
        defer { unsafe CRYPTO_free(text, "", 0) }
        return unsafe Array(UnsafeBufferPointer(start: text, count: Int(count)))
    }

    /// When it expires: seconds since 1970.
    static func expiry(_ certificate: OpaquePointer) -> Int64 { unsafe seconds(X509_get0_notAfter(certificate)) }

    /// Seconds since 1970.
    static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard let epoch = unsafe ASN1_TIME_set(nil, 0) else { return 0 }
        defer { unsafe ASN1_TIME_free(epoch) }
        guard unsafe ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return 0 }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    static func serial(_ certificate: OpaquePointer) -> String {
        guard let number = unsafe ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nil) else { return "" }
        defer { unsafe BN_free(number) }
        guard let text = unsafe BN_bn2hex(number) else { return "" }
        defer { unsafe CRYPTO_free(text, "", 0) }
        return unsafe String(cString: text).lowercased()
    }
}
