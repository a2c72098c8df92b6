// Any bytes as a chunked body. Laws: no trap; what arrives in pieces is what it is whole; and the body that is forwarded, read
// again, is the same data with trailers that all may pass.

private func decoded(_ bytes: [UInt8], _ ends: [Int]) -> (data: [UInt8], trailers: [UInt8], verdict: String) {
    var decoder = ChunkDecoder(limits: isTight(bytes) ? .init(line: 16, extensions: 20, trailers: 24) : .init())
    var position = 0
    var data: [UInt8] = []
    var trailers: [UInt8] = []
    do throws(ProtocolError) {
        for end in ends {
            while position < end, !decoder.isDone {
                switch try decoder.next(bytes.span.extracting(first: end), at: &position) {
                case .data(let count):
                    precondition(position + count <= end, "data past the end")
                    data += bytes[position..<position + count]
                    position += count
                case .trailers(let range): trailers += bytes[range]
                case .incomplete, .end: break
                }
            }
        }
        return (data, trailers, "\(decoder.isDone) \(position)")
    } catch {
        // Of what is malformed, how much was told before that shows depends on the pieces.
        return (data, [], "\(error)")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let (ends, split) = arrivals(bytes)
    let (whole, pieces) = (decoded(bytes, ends), decoded(bytes, split))
    precondition(whole == pieces, "depends on its pieces: \(whole), \(pieces)")
    guard whole.verdict.hasPrefix("true") else { return 0 }
    let section = written { TrailerFields.write(whole.trailers.span, .init(), to: &$0) }
    precondition(section.count <= 2 * whole.trailers.count, "more than twice its room")
    let again = written { output in
        if !whole.data.isEmpty { HeadWriter.chunk(whole.data.span, to: &output) }
        output.put(HeadWriter.lastSize)
        output.put(section.span)
        output.put("\r\n")
    }
    // Its limits go by its last byte, which is the same for all that end.
    let read = decoded(again, [again.count])
    precondition(read.data == whole.data && read.verdict == "true \(again.count)" || isTight(again), "other data")
    let twice = written { TrailerFields.write(section.span, .init(), to: &$0) }
    precondition(twice == section, "trailers change when they pass again")
    return 0
}
