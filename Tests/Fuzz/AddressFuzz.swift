// Any bytes as an address, a range, a listener, a server and a host. Laws: no trap; what is written, read again, is the same;
// what one reader of an address takes, the other one does.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let text = String(decoding: bytes, as: UTF8.self)
    let address = IPAddress(text)
    if let address {
        precondition(IPAddress(address.description) == address, "\(text) became \(address)")
        precondition(CIDR(text)?.contains(address) == true, "\(text) is not in its own range")
    }
    if let range = CIDR(text) {
        precondition(range.contains(range.base), "\(text) does not hold its first address")
    }
    if let (own, port) = try? Values.listener(text), let own {
        let endpoint = Endpoint(own, port: port).description
        precondition((try? Values.listener(endpoint))?.address == own, "\(text) became \(endpoint)")
    }
    if let (host, port) = try? Values.server(text) {
        // With its scheme: a host that is called unix would be taken for a path.
        let written = host.contains(":") ? "http://[\(host)]:\(port)" : "http://\(host):\(port)"
        let again = try? Values.server(written)
        precondition(again?.host == host && again?.port == port, "\(text) became \(written)")
    }
    // Brackets in Host hold what is an IPv6 address elsewhere.
    let inBrackets = Array("[".utf8) + bytes + Array("]".utf8)
    if bytes.count < 50, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7f }), !bytes.contains(UInt8(ascii: "]")) {
        let isHost = HostSyntax.isValid(inBrackets.span, ByteRange(start: 0, count: inBrackets.count))
        precondition(isHost == (address != nil && text.contains(":")), "[\(text)] is a host: \(isHost)")
    }
    return 0
}
