// The owner of one SSL_CTX, which is made by one thread and then used by all. It knows neither side's rules.
import COpenSSL

/// OpenSSL's context: certificates, keys and rules that connections share.
///
/// Sent between threads unchecked: it is changed only while it is made, before anybody else knows it; from then on OpenSSL
/// counts its users and locks what they share.
@safe
public final class TLSContext: @unchecked Sendable {
    let pointer: OpaquePointer

    init(isServer: Bool) throws(TLSMistake) {
        guard let method = unsafe isServer ? TLS_server_method() : TLS_client_method(),
            let pointer = unsafe SSL_CTX_new(method)
        else { throw TLSMistake(TLSErrors.take(or: "no memory for TLS")) }
        unsafe self.pointer = pointer
        unsafe copenssl_set_read_ahead(pointer, 1)
        // A body may move between tries; a record is tried whole; an idle connection keeps no buffers.
        let mode =
            SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS
        _ = unsafe copenssl_set_mode(pointer, Int(mode))
        _ = unsafe SSL_CTX_set_options(pointer, copenssl_options)
        unsafe SSL_CTX_set_msg_callback(pointer, noteMessage)
    }

    deinit { unsafe SSL_CTX_free(pointer) }
}

/// `SSL_CTX_set_msg_callback(3)`: messages of handshakes are counted where a handshake is over.
private func noteMessage(
    _ isSent: Int32, _ version: Int32, _ kind: Int32, _ bytes: UnsafeRawPointer?, _ count: Int, _ ssl: OpaquePointer?,
    _ argument: UnsafeMutableRawPointer?
) {
    guard isSent == 0, kind == SSL3_RT_HANDSHAKE else { return }
    unsafe TLSSession.owner(of: ssl)?.noteMessage()
}

/// What is wrong with what the configuration says about TLS.
public struct TLSMistake: Error, Sendable, CustomStringConvertible {
    /// The file that it is about; nil where it is about none.
    public var file: String?
    public let text: String

    public init(_ text: String, in file: String? = nil) {
        self.text = text
        self.file = file
    }

    public var description: String { file.map { "'\($0)': \(text)" } ?? text }
}

/// A file's name and what stands in it.
public struct TLSFile: Sendable, Equatable {
    public let path: String
    public let bytes: [UInt8]

    public init(path: String, bytes: [UInt8]) {
        self.path = path
        self.bytes = bytes
    }

    /// A private key stands in it.
    public var holdsKey: Bool { PEM.holdsKey(bytes) }
}

/// The versions that there are to choose from.
public enum TLSVersion: String, CaseIterable, Sendable {
    case tls12 = "1.2"
    case tls13 = "1.3"

    var number: Int32 { self == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION }
}
