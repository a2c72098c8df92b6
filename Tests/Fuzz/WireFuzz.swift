// libFuzzer's door to the wire: any bytes as a request, as a response and as a chunked body. Built by Scripts/soak in one
// module with the sources of HTTP. Laws: no trap; what arrives in pieces means what it means whole; what is written again
// is read again as the same message.

/// Reads a request from the pieces that end at `ends`; a word for what became of it.
private func verdict(_ bytes: [UInt8], _ ends: [Int]) -> String {
    var parser = RequestParser()
    var head = MessageHead()
    do throws(ProtocolError) {
        for end in ends where try parser.parse(bytes.span.extracting(first: end), limits: .init(), into: &head) {
            check(head, bytes)
            return "accepted \(head.byteCount) \(BodyFraming(request: head))"
        }
        return "incomplete"
    } catch {
        return "\(error)"
    }
}

/// The head that leaves is lawful, and says of its body what the one that came said.
private func check(_ head: borrowing MessageHead, _ bytes: [UInt8]) {
    let framing = BodyFraming(request: head)
    let written = unsafe [UInt8](unsafeUninitializedCapacity: 200_000) { buffer, count in
        var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
        HeadWriter.requestLine(head, bytes.span, to: &output)
        HeadWriter.field(.host, Array("h".utf8).span, to: &output)
        HeadWriter.fields(head, bytes.span, except: FieldNames(.host, .expect), underscores: false, to: &output)
        HeadWriter.framing(framing, to: &output)
        output.put("\r\n")
        count = unsafe output.finalize(for: buffer)
    }
    var parser = RequestParser()
    var again = MessageHead()
    do throws(ProtocolError) {
        let limits = RequestParser.Limits(head: 65_535, target: 32_768, fields: 256)
        guard try parser.parse(written.span, limits: limits, into: &again) else {
            fatalError("the written head does not end")
        }
    } catch {
        fatalError("the written head is refused: \(error)")
    }
    precondition(BodyFraming(request: again) == framing, "another framing was written")
    precondition(again.byteCount == written.count, "the written head ends early")
}

private func responseVerdict(_ bytes: [UInt8], _ ends: [Int]) -> String {
    var parser = ResponseParser()
    var head = MessageHead()
    do throws(ProtocolError) {
        for end in ends where try parser.parse(bytes.span.extracting(first: end), into: &head) {
            return "accepted \(head.byteCount) \(head.status) \(BodyFraming(response: head, to: .get))"
        }
        return "incomplete"
    } catch {
        return "\(error)"
    }
}

/// Data and end of a chunked body, from the pieces that end at `ends`.
private func chunks(_ bytes: [UInt8], _ ends: [Int]) -> String {
    var decoder = ChunkDecoder()
    var position = 0
    var data = 0
    do throws(ProtocolError) {
        for end in ends {
            while case .data(let count) = try decoder.next(bytes.span.extracting(first: end), at: &position) {
                precondition(position + count <= end, "data past the end")
                position += count
                data += count
            }
        }
        return "\(data) \(decoder.isDone) \(position)"
    } catch {
        return "\(error)"
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe [UInt8](UnsafeBufferPointer(start: data, count: count))
    guard count > 1 else { return 0 }
    let split = 1 + Int(bytes[0]) % (count - 1)
    let ends = [split, count]
    precondition(verdict(bytes, [count]) == verdict(bytes, ends), "a request depends on its pieces")
    precondition(responseVerdict(bytes, [count]) == responseVerdict(bytes, ends), "a response depends on its pieces")
    precondition(chunks(bytes, [count]) == chunks(bytes, ends), "a body depends on its pieces")
    return 0
}
