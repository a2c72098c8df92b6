// The keys of session tickets (RFC 5077, 4; RFC 8446, 4.6.1): made in memory, shared by all workers, changed every hour. They
// leave the process in no way.
import COpenSSL
import Synchronization

/// The keys that tickets are sealed with.
public final class TicketKeys: Sendable {
    /// How long tickets are sealed with one key, and how many keys back one is still opened: a ticket lives for at least two
    /// hours.
    static let period = Duration.seconds(3600)
    private static let kept = 3

    private struct Key {
        var name: InlineArray<16, UInt8>
        var cipher: InlineArray<32, UInt8>
        var digest: InlineArray<32, UInt8>
        let madeAt: Duration
    }

    /// The newest first.
    private let keys = Mutex<[Key]>([])

    public init() {}

    /// Seals or opens one ticket. The values are those of `SSL_CTX_set_tlsext_ticket_key_evp_cb(3)`: 0 for a ticket that
    /// nobody here sealed, 1 for one that is good, 2 for one that should be made anew, -1 for a failure.
    func prepare(
        name: UnsafeMutablePointer<UInt8>, vector: UnsafeMutablePointer<UInt8>, cipher: OpaquePointer,
        digest: OpaquePointer, isSealing: Bool, now: Duration
    ) -> Int32 {
        keys.withLock { keys in
            if keys.first.map({ now - $0.madeAt >= Self.period }) ?? true { Self.renew(&keys, now: now) }
            let index = isSealing ? 0 : keys.firstIndex { unsafe Self.isName($0, at: name) }
            guard let index, keys.indices.contains(index) else { return 0 }
            let length = Int(EVP_MAX_IV_LENGTH)
            if isSealing {
                for place in 0..<16 { unsafe name[place] = keys[index].name[place] }
                guard unsafe RAND_bytes(vector, Int32(min(length, 16))) == 1 else { return -1 }
            }
            guard unsafe Self.load(&keys[index], vector, cipher, digest, isSealing) else { return -1 }
            return isSealing || index == 0 ? 1 : 2
        }
    }

    private static func isName(_ key: Key, at name: UnsafeMutablePointer<UInt8>) -> Bool {
        for place in 0..<16 where unsafe name[place] != key.name[place] { return false }
        return true
    }

    private static func renew(_ keys: inout [Key], now: Duration) {
        var key = Key(
            name: InlineArray(repeating: 0), cipher: InlineArray(repeating: 0), digest: InlineArray(repeating: 0),
            madeAt: now)
        guard fill(&key.name), fill(&key.cipher), fill(&key.digest) else { return }
        keys.insert(key, at: 0)
        if keys.count > kept { keys.removeLast() }
    }

    private static func fill<let count: Int>(_ bytes: inout InlineArray<count, UInt8>) -> Bool {
        var span = bytes.mutableSpan
        return unsafe span.withUnsafeMutableBufferPointer { unsafe RAND_priv_bytes($0.baseAddress, Int32($0.count)) }
            == 1
    }

    private static func load(
        _ key: inout Key, _ vector: UnsafeMutablePointer<UInt8>, _ cipher: OpaquePointer, _ digest: OpaquePointer,
        _ isSealing: Bool
    ) -> Bool {
        let isReady = unsafe key.cipher.span.withUnsafeBufferPointer { secret in
            unsafe EVP_CipherInit_ex2(
                cipher, EVP_aes_256_cbc(), secret.baseAddress, vector, isSealing ? 1 : 0, nil) == 1
        }
        guard isReady else { return false }
        var secret = key.digest.mutableSpan
        return unsafe secret.withUnsafeMutableBufferPointer {
            unsafe copenssl_set_digest_key(digest, $0.baseAddress, $0.count) == 1
        }
    }
}
