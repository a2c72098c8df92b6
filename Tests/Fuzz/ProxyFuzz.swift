// Any bytes as a header of the PROXY protocol. Laws: no trap; what arrives in pieces is what it is whole; nothing behind it
// changes it; it is never longer than it may be.

private func read(_ bytes: [UInt8], _ end: Int) -> Result<ProxyHeader?, ProxyHeader.Malformed> {
    Result { () throws(ProxyHeader.Malformed) in try ProxyHeader.parse(bytes.span.extracting(first: end)) }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let whole = read(bytes, bytes.count)
    if case .success(let header?) = whole {
        precondition(header.byteCount > 0 && header.byteCount <= min(bytes.count, ProxyHeader.longest), "its length")
        precondition(read(bytes + [0x47], bytes.count + 1) == whole, "what follows changes it")
        // Not a byte earlier.
        for end in 0..<header.byteCount { precondition(read(bytes, end) == .success(nil), "\(end)") }
        for end in header.byteCount..<bytes.count { precondition(read(bytes, end) == whole, "\(end)") }
    }
    if case .failure = whole {
        // What is malformed was unknown before it, and stays malformed.
        var hasFailed = false
        for end in 0...bytes.count {
            if case .failure = read(bytes, end) { hasFailed = true } else { precondition(!hasFailed, "\(end)") }
        }
    }
    return 0
}
