// Any bytes as a response. Laws: no trap; what arrives in pieces means what it means whole; and the head that is forwarded,
// read again, is the same response: status, framing and fields.

private func verdict(_ bytes: [UInt8], _ ends: [Int]) -> String {
    var parser = ResponseParser()
    var head = MessageHead()
    let limits = isTight(bytes) ? ResponseParser.Limits(head: 120, fields: 3) : ResponseParser.Limits()
    do throws(ProtocolError) {
        for end in ends where try parser.parse(bytes.span.extracting(first: end), limits: limits, into: &head) {
            checkForwarded(head, bytes)
            return "\(head.byteCount) \(head.status) \(head.fieldCount) \(BodyFraming(response: head, to: .get))"
        }
        return "incomplete"
    } catch {
        return "\(error)"
    }
}

private func checkForwarded(_ head: borrowing MessageHead, _ bytes: [UInt8]) {
    let framing = BodyFraming(response: head, to: .get)
    // What is not known to end leaves in chunks.
    let leaving = framing == .untilClose ? BodyFraming.chunked : framing
    let id = Array("id".utf8)
    let date = HTTPDate(seconds: 0)
    let forwarded = written { output in
        if head.status < 200 {
            Forwarding.interim(head, bytes.span, others: nil, to: &output)
        } else {
            Forwarding.response(
                head, bytes.span, framing: leaving, requestID: id.span, date: date.bytes.span, connection: .keep,
                changes: nil,
                to: &output)
        }
    }
    var parser = ResponseParser()
    var again = MessageHead()
    do throws(ProtocolError) {
        let isWhole = try parser.parse(forwarded.span, limits: .init(head: 65_535, fields: 256), into: &again)
        precondition(isWhole && again.byteCount == forwarded.count, "the forwarded head ends elsewhere")
    } catch {
        // Fields are added to a head that has as many as there may be.
        precondition(error == .tooManyFields && head.fieldCount > 250, "the forwarded head is refused: \(error)")
        return
    }
    precondition(head.status == again.status, "another status")
    precondition(BodyFraming(response: again, to: .get) == leaving, "another framing")
    let before = lines(head, bytes, except: FieldNames(.xRequestID, .date), underscores: true)
    let after = lines(again, forwarded, except: FieldNames(.xRequestID, .date), underscores: true)
    precondition(before == after, "other fields: \(before) became \(after)")
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let (whole, split) = arrivals(bytes)
    let (first, second) = (verdict(bytes, whole), verdict(bytes, split))
    precondition(first == second, "depends on its pieces: \(first), \(second)")
    return 0
}
