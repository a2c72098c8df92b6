// Keys of tickets over time: sealed with the newest, opened with the last three, and nobody else's.
import COpenSSL
import Testing

@testable import EventLoop

@Suite struct TicketKeysTests {
    private struct Prepared: Equatable {
        var result: Int32
        var name: [UInt8]
    }

    /// What OpenSSL would be told of a ticket.
    private func prepare(_ keys: TicketKeys, _ name: [UInt8], isSealing: Bool, now: Duration) -> Prepared {
        var name = name
        var vector = [UInt8](repeating: 7, count: 16)
        let mac = unsafe EVP_MAC_fetch(nil, "HMAC", nil)
        guard let cipher = unsafe EVP_CIPHER_CTX_new(), let digest = unsafe EVP_MAC_CTX_new(mac) else {
            return Prepared(result: -9, name: [])
        }
        defer {
            unsafe EVP_CIPHER_CTX_free(cipher)
            unsafe EVP_MAC_CTX_free(digest)
            unsafe EVP_MAC_free(mac)
        }
        let result = unsafe name.withUnsafeMutableBufferPointer { name in
            unsafe vector.withUnsafeMutableBufferPointer { vector -> Int32 in
                guard let name = name.baseAddress, let vector = vector.baseAddress else { return -9 }
                return unsafe keys.prepare(
                    name: name, vector: vector, cipher: cipher, digest: digest, isSealing: isSealing, now: now)
            }
        }
        return Prepared(result: result, name: name)
    }

    private let nameless = [UInt8](repeating: 0, count: 16)

    @Test func keysAreRenewedAndKept() {
        let keys = TicketKeys()
        let first = prepare(keys, nameless, isSealing: true, now: .zero)
        #expect(first.result == 1 && first.name != nameless)
        // Within the hour it is the same key, and a good ticket.
        #expect(prepare(keys, nameless, isSealing: true, now: .seconds(3599)).name == first.name)
        #expect(prepare(keys, first.name, isSealing: false, now: .seconds(3599)).result == 1)
        // Then another one; the older ones open tickets, which are to be made anew.
        let second = prepare(keys, nameless, isSealing: true, now: .seconds(3600))
        #expect(second.result == 1 && second.name != first.name)
        #expect(prepare(keys, first.name, isSealing: false, now: .seconds(3601)).result == 2)
        #expect(prepare(keys, first.name, isSealing: false, now: .seconds(7201)).result == 2)
        // At least two hours after it was sealed, nobody opens it.
        #expect(prepare(keys, first.name, isSealing: false, now: .seconds(10_802)).result == 0)
        #expect(prepare(keys, second.name, isSealing: false, now: .seconds(10_802)).result == 2)
    }

    @Test func nobodyElsesTicketIsOpened() {
        let (one, other) = (TicketKeys(), TicketKeys())
        let sealed = prepare(one, nameless, isSealing: true, now: .zero)
        #expect(prepare(other, sealed.name, isSealing: false, now: .zero).result == 0)
        #expect(prepare(one, nameless, isSealing: false, now: .zero).result == 0)
    }
}
