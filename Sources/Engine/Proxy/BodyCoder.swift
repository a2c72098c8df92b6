// The framing of one body on its way: taken off as it arrives, put on as it leaves. Values only: it holds no bytes and
// touches no wire.
import HTTP

struct BodyCoder {
    /// What stands at the front of a body's bytes, once framing is read over.
    enum Piece {
        /// So many bytes of data, which the caller has to take.
        case data(Int)
        /// Bytes of trailer fields.
        case trailers(Range<Int>)
        case nothing
    }

    private enum Source {
        case nothing
        case length(UInt64)
        case chunked(ChunkDecoder)
        case untilClose
    }

    private var source: Source
    let isChunkedOut: Bool
    /// Every byte of the body is read.
    private(set) var isSourceDone: Bool
    /// Bytes of the body read so far.
    private(set) var received = 0
    /// Bytes that a body of unknown length may have.
    private let limit: Int

    /// Room that has to be left for what stands around data.
    static let reserve = HeadWriter.chunkOverhead + HeadWriter.lastChunk.utf8CodeUnitCount

    init(_ framing: BodyFraming, leaving: BodyFraming, chunks: ChunkDecoder.Limits, limit: Int) {
        self.limit = limit
        isChunkedOut = leaving == .chunked
        isSourceDone = framing == .none
        switch framing {
        case .none: source = .nothing
        case .length(let count): source = .length(count)
        case .chunked: source = .chunked(ChunkDecoder(limits: chunks))
        case .untilClose: source = .untilClose
        }
    }

    /// The body ends where its source closes.
    var endsAtClose: Bool {
        if case .untilClose = source { return true }
        return false
    }

    /// How many of `count` bytes that have arrived may leave as they are; nil where they have to be coded anew.
    func plainCount(_ count: Int) -> Int? {
        switch source {
        case .nothing: 0
        case .length(let remaining) where !isChunkedOut: Int(min(remaining, UInt64(count)))
        case .untilClose where !isChunkedOut: count
        case .length, .untilClose, .chunked: nil
        }
    }

    /// Reads framing over, from `position` on.
    mutating func next(_ bytes: Span<UInt8>, at position: inout Int) throws(ProtocolError) -> Piece {
        switch source {
        case .nothing: return .nothing
        case .untilClose: return .data(bytes.count - position)
        case .length(let remaining):
            let count = Int(min(remaining, UInt64(bytes.count - position)))
            source = .length(remaining - UInt64(count))
            return .data(count)
        case .chunked(var decoder):
            defer { source = .chunked(decoder) }
            switch try decoder.next(bytes, at: &position) {
            case .data(let count):
                guard count <= limit - received else { throw .bodyTooLarge }
                return .data(count)
            case .trailers(let range): return .trailers(range)
            case .incomplete, .end: return .nothing
            }
        }
    }

    /// Counts data that `next` has found.
    mutating func took(data count: Int) { received += count }

    /// Counts bytes that left as they came.
    mutating func took(plain count: Int) {
        received += count
        guard case .length(let remaining) = source, !isChunkedOut else { return }
        let rest = remaining - UInt64(count)
        source = .length(rest)
        if rest == 0 { isSourceDone = true }
    }

    func write(_ data: Span<UInt8>, to output: inout OutputSpan<UInt8>) {
        if isChunkedOut {
            HeadWriter.chunk(data, to: &output)
        } else {
            output.put(data)
        }
    }

    /// What follows the last byte of data.
    func writeEnd(to output: inout OutputSpan<UInt8>) {
        if isChunkedOut { output.put(HeadWriter.lastChunk) }
    }

    mutating func noteEnd() {
        switch source {
        case .length(let remaining): isSourceDone = remaining == 0
        case .chunked(let decoder): isSourceDone = decoder.isDone
        case .nothing, .untilClose: break
        }
    }

    /// The source has closed, which ends a body that ends there.
    mutating func sourceClosed() { isSourceDone = true }
}
