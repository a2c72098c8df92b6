// Any bytes as a chunked body. Laws: no trap; what arrives in pieces is what it is whole; and the body that is forwarded, read
// again, is the same data.

private func decoded(_ bytes: [UInt8], _ ends: [Int]) -> (data: [UInt8], verdict: String) {
    var decoder = ChunkDecoder(limits: isTight(bytes) ? .init(line: 16, extensions: 20, trailers: 24) : .init())
    var position = 0
    var data: [UInt8] = []
    do throws(ProtocolError) {
        for end in ends {
            while case .data(let count) = try decoder.next(bytes.span.extracting(first: end), at: &position) {
                precondition(position + count <= end, "data past the end")
                data += bytes[position..<position + count]
                position += count
            }
        }
        return (data, "\(decoder.isDone) \(position)")
    } catch {
        return (data, "\(error)")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let (ends, split) = arrivals(bytes)
    let (whole, pieces) = (decoded(bytes, ends), decoded(bytes, split))
    precondition(whole == pieces, "depends on its pieces: \(whole), \(pieces)")
    let again = written { output in
        if !whole.data.isEmpty { HeadWriter.chunk(whole.data.span, to: &output) }
        output.put(HeadWriter.lastChunk)
    }
    precondition(decoded(again, [again.count]) == (whole.data, "true \(again.count)"), "other data")
    return 0
}
