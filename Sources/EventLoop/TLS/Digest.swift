// Digests of bytes: to compare secrets by, and to name what a page may run. OpenSSL computes them.
import COpenSSL

/// SHA-256 (FIPS 180-4).
public struct Digest: Sendable {
    private let bytes: [UInt8]

    /// - Parameter key: makes it worthless elsewhere; empty for one that others compute as well.
    public init(_ data: some Sequence<UInt8>, key: [UInt8] = []) {
        let input = key + Array(data)
        var bytes = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        // It fails where there is no memory at all: then nothing compares as equal.
        let isDone = unsafe EVP_Digest(input, input.count, &bytes, &count, EVP_sha256(), nil) == 1
        self.bytes = isDone ? Array(bytes.prefix(Int(count))) : []
    }

    /// Compares in a time that does not depend on where they differ.
    public func equals(_ other: Digest) -> Bool {
        guard bytes.count == other.bytes.count, !bytes.isEmpty else { return false }
        var difference: UInt8 = 0
        for index in bytes.indices { difference |= bytes[index] ^ other.bytes[index] }
        return difference == 0
    }

    /// RFC 4648, 4.
    public var base64: String {
        var text = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
        let count = unsafe EVP_EncodeBlock(&text, bytes, Int32(bytes.count))
        return String(decoding: text.prefix(Int(max(0, count))), as: UTF8.self)
    }

    /// A key that nobody else has.
    public static var randomKey: [UInt8] {
        var key = [UInt8](repeating: 0, count: 32)
        _ = unsafe RAND_bytes(&key, Int32(key.count))
        return key
    }
}

/// The library that secures connections.
public enum SecureLibrary {
    /// Like `3.0.15`, of the one that runs.
    public static var version: String {
        unsafe OpenSSL_version(OPENSSL_VERSION_STRING).map { unsafe String(cString: $0) } ?? ""
    }
}
