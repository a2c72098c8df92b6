// Any bytes as a request. Laws: no trap; what arrives in pieces means what it means whole; and the head that is forwarded,
// read again, is the same request: method, target, host, framing and fields.

private let identity = ClientIdentity(IPAddress("192.0.2.1"), isTrusted: false)
private let settings = FieldSettings(via: Array("ballast".utf8), passesUnderscores: false)
private let proxy = ClientIdentity(IPAddress("10.0.0.1"), isTrusted: true)
private let trusted = [CIDR("10.0.0.0/8")].compactMap { $0 }
private let edits = FieldEdits(
    sets: [.init(name: "X-Set", value: [.client, .host, .requestID])], removes: ["Cookie", "X-A"], own: nil)
private let replaced = FieldNames(
    .host, .xForwardedFor, .xForwardedHost, .xForwardedProto, .xForwardedOther, .xRealIP, .forwarded, .xRequestID,
    .expect,
    .maxForwards, .via)

private func verdict(_ bytes: [UInt8], _ ends: [Int]) -> String {
    var parser = RequestParser()
    var head = MessageHead()
    let limits =
        isTight(bytes) ? RequestParser.Limits(head: 160, target: 20, fields: 4, emptyLines: 0) : RequestParser.Limits()
    do throws(ProtocolError) {
        for end in ends where try parser.parse(bytes.span.extracting(first: end), limits: limits, into: &head) {
            checkForwarded(head, bytes)
            let target = bytes[head.target.indices]
            return "\(head.byteCount) \(head.method) \(target) \(head.fieldCount) \(BodyFraming(request: head))"
        }
        return "incomplete"
    } catch {
        return "\(error)"
    }
}

private func checkForwarded(_ head: borrowing MessageHead, _ bytes: [UInt8]) {
    let framing = BodyFraming(request: head)
    let id = Array("id".utf8)
    let forwarded = written { output in
        Forwarding.request(
            head, bytes.span, framing: framing, client: identity, server: Array("server".utf8), requestID: id.span,
            settings: settings, changes: nil, to: &output)
    }
    checkChanged(head, bytes)
    var again = MessageHead()
    if let error = readAgain(forwarded, framing, into: &again) { fatalError("the forwarded head is refused: \(error)") }
    precondition(
        bytes[head.methodName.indices].elementsEqual(forwarded[again.methodName.indices]), "another method")
    var target = Array(bytes[head.target.indices])
    if target.isEmpty { target = [head.method == .options ? UInt8(ascii: "*") : UInt8(ascii: "/")] }
    if target[0] == UInt8(ascii: "?") { target.insert(UInt8(ascii: "/"), at: 0) }
    precondition(forwarded[again.target.indices].elementsEqual(target), "another target")
    let host = head.effectiveHost.isEmpty ? Array("server".utf8) : Array(bytes[head.effectiveHost.indices])
    precondition(forwarded[again.host.indices].elementsEqual(host), "another host")
    let before = lines(head, bytes, except: replaced, underscores: false)
    let after = lines(again, forwarded, except: replaced, underscores: false)
    precondition(before == after, "other fields: \(before) became \(after)")
}

/// From a trusted peer, with fields set and removed: it is a request still, and nothing gets in by a value.
private func checkChanged(_ head: borrowing MessageHead, _ bytes: [UInt8]) {
    let changes = Forwarding.RequestChanges()
    changes.edits = edits
    let client = ClientIdentity.forwarded(head, bytes.span, trusted: trusted)
    changes.client = client.map { Array($0.description.utf8) }
    changes.values = FieldValues(
        client: changes.client ?? [], requestID: Array("id".utf8), host: Array(bytes[head.effectiveHost.indices]))
    let settings = FieldSettings(via: [], passesUnderscores: true, writesForwarded: true)
    let forwarded = written { output in
        Forwarding.request(
            head, bytes.span, framing: BodyFraming(request: head), client: proxy, server: Array("server".utf8),
            requestID: Array("id".utf8).span, settings: settings, changes: changes, to: &output)
    }
    var again = MessageHead()
    if let error = readAgain(forwarded, BodyFraming(request: head), into: &again) {
        // A field line more than there may be.
        precondition(head.fieldCount > 240, "the changed head is refused: \(error)")
    }
}

/// Reads a head that was forwarded: it ends where it ends, with the same framing.
private func readAgain(_ forwarded: [UInt8], _ framing: BodyFraming, into head: inout MessageHead) -> ProtocolError? {
    var parser = RequestParser()
    do throws(ProtocolError) {
        let limits = RequestParser.Limits(head: 65_535, target: 32_768, fields: 256)
        let isWhole = try parser.parse(forwarded.span, limits: limits, into: &head)
        precondition(isWhole && head.byteCount == forwarded.count, "the forwarded head ends elsewhere")
        precondition(BodyFraming(request: head) == framing, "another framing")
        return nil
    } catch {
        return error
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let (whole, split) = arrivals(bytes)
    let (first, second) = (verdict(bytes, whole), verdict(bytes, split))
    precondition(first == second, "depends on its pieces: \(first), \(second)")
    return 0
}
