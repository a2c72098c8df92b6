// Between OpenSSL's record layer and the loop's network: it reads and writes ciphertext where the session says, and so on a
// simulated network as well. It keeps no byte.
import COpenSSL

enum SocketBIO {
    /// Made once, and never freed: connections may end after everything else.
    nonisolated(unsafe) private static let method: OpaquePointer? = {
        guard let method = unsafe BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ballast") else {
            return nil
        }
        unsafe BIO_meth_set_read(method, readCiphertext)
        unsafe BIO_meth_set_write(method, writeCiphertext)
        unsafe BIO_meth_set_ctrl(method, control)
        return unsafe method
    }()

    /// A BIO for `owner`, which outlives it; nil where there is no memory.
    static func make(for owner: TLSSession) -> OpaquePointer? {
        guard let method = unsafe method, let bio = unsafe BIO_new(method) else { return nil }
        unsafe BIO_set_data(bio, Unmanaged.passUnretained(owner).toOpaque())
        unsafe BIO_set_init(bio, 1)
        return unsafe bio
    }
}

private func owner(_ bio: OpaquePointer?) -> TLSSession? {
    guard let data = unsafe BIO_get_data(bio) else { return nil }
    return unsafe Unmanaged<TLSSession>.fromOpaque(data).takeUnretainedValue()
}

private func readCiphertext(_ bio: OpaquePointer?, _ target: UnsafeMutablePointer<CChar>?, _ count: Int32) -> Int32 {
    unsafe copenssl_clear_retry(bio)
    guard let session = unsafe owner(bio), let target = unsafe target, count > 0 else { return -1 }
    let memory = unsafe UnsafeMutableRawBufferPointer(start: target, count: Int(count))
    switch unsafe session.receiveCiphertext(into: memory) {
    case .moved(let count): return Int32(clamping: count)
    case .wouldBlock:
        unsafe copenssl_retry_read(bio)
        return -1
    case .ended: return 0
    case .failed: return -1
    }
}

private func writeCiphertext(_ bio: OpaquePointer?, _ source: UnsafePointer<CChar>?, _ count: Int32) -> Int32 {
    unsafe copenssl_clear_retry(bio)
    guard let session = unsafe owner(bio), let source = unsafe source, count > 0 else { return -1 }
    switch unsafe session.sendCiphertext(UnsafeRawBufferPointer(start: source, count: Int(count))) {
    case .moved(let count): return Int32(clamping: count)
    case .wouldBlock:
        unsafe copenssl_retry_write(bio)
        return -1
    case .ended, .failed: return -1
    }
}

/// Nothing is buffered, so nothing is left to flush.
private func control(_ bio: OpaquePointer?, _ command: Int32, _ number: Int, _ pointer: UnsafeMutableRawPointer?) -> Int
{
    command == BIO_CTRL_FLUSH ? 1 : 0
}
