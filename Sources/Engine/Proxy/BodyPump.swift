// Moves one body from the wire it arrives on to the wire it leaves on, as it arrives: nothing is held back, and nothing
// is read that the other side cannot take. It never decides what an end or a failure means.
import EventLoop
import HTTP

/// How far a body got.
enum Flow: Equatable {
    /// All of it was sent.
    case done
    /// More must arrive first.
    case needsInput
    /// The receiving side must take something first.
    case blocked
    /// There is more to read now; others come first.
    case again
    case sourceEnded
    case sourceFailed
    case sinkFailed
    case malformed(ProtocolError)
}

/// One direction of an exchange.
struct BodyPump {
    private enum Source {
        case nothing
        case length(UInt64)
        case chunked(ChunkDecoder)
        case untilClose
    }

    private var source: Source
    private let isChunkedOut: Bool
    /// Every byte of the body is read; what is left is in the sink's output.
    private(set) var isSourceDone: Bool
    /// Bytes of the body read so far.
    private(set) var received = 0
    /// Bytes that the sink took, framing and heads before the body included.
    private(set) var sent = 0
    /// Where bytes are kept that may have to be sent again; nil keeps none.
    private var replay: ReplayBuffer?
    /// How much of the kept bytes this attempt has sent again; nil while it sends none again.
    private var resent: Int?

    /// - Parameters:
    ///   - framing: how the body arrives.
    ///   - leaving: how it leaves; `.untilClose` and `.length` are its plain bytes.
    init(_ framing: BodyFraming, leaving: BodyFraming) {
        isChunkedOut = leaving == .chunked
        isSourceDone = framing == .none
        switch framing {
        case .none: source = .nothing
        case .length(let count): source = .length(count)
        case .chunked: source = .chunked(ChunkDecoder())
        case .untilClose: source = .untilClose
        }
    }

    /// From now on, keeps what is sent.
    mutating func keep(in replay: ReplayBuffer) { self.replay = replay }

    /// Whether everything that was sent so far is kept.
    var isKept: Bool { replay != nil || received == 0 }

    /// Begins again for another server: first what is kept, then what follows.
    mutating func restart() { resent = replay == nil || received == 0 ? nil : 0 }

    /// Kept bytes have to be sent again before anything else.
    var isResending: Bool { resent != nil }

    /// Nothing will be sent again.
    mutating func dropKept() {
        guard let replay, !isResending else { return }
        replay.release()
        self.replay = nil
    }

    /// Gives everything back.
    mutating func release() {
        replay?.release()
        replay = nil
        resent = nil
    }

    /// The body ends where its source closes.
    var endsAtClose: Bool {
        if case .untilClose = source { return true }
        return false
    }

    /// Moves what can be moved now, reading at most one block.
    mutating func move(from source: inout Wire, to sink: inout Wire, _ loop: borrowing LoopContext) -> Flow {
        var hasRead = false
        while true {
            if let flow = push(from: &source, to: &sink, loop) { return flow }
            guard source.stream.mayRead else { return .needsInput }
            guard !hasRead else { return .again }
            hasRead = true
            switch source.receive(loop) {
            case .moved: continue
            case .wouldBlock: return .needsInput
            case .failed: return .sourceFailed
            case .ended:
                guard endsAtClose, !isSourceDone else { return .sourceEnded }
                isSourceDone = true
                if isChunkedOut { sink.outputBlock(loop).append { $0.put(HeadWriter.lastChunk) } }
            }
        }
    }

    /// Sends until the source's input is used up; nil is then.
    private mutating func push(from source: inout Wire, to sink: inout Wire, _ loop: borrowing LoopContext) -> Flow? {
        while true {
            let direct: Int
            do throws(ProtocolError) { direct = try prepare(&source, &sink, loop) } catch { return .malformed(error) }
            guard sink.hasOutput || direct > 0 else { return isSourceDone ? .done : nil }
            guard sink.stream.maySend else { return .blocked }
            let before = source.inputCount
            let transfer = sink.send(direct > 0 ? source.input : nil, limit: direct, loop)
            took(before - source.inputCount)
            source.releaseInput(loop)
            switch transfer {
            case .moved(let count):
                sent += count
                if !sink.stream.maySend { return .blocked }
            case .wouldBlock: return .blocked
            case .ended, .failed: return .sinkFailed
            }
        }
    }

    /// Writes into the sink's output what has to be coded anew, or returns how many bytes of the input can leave as
    /// they are.
    private mutating func prepare(
        _ wire: inout Wire, _ sink: inout Wire, _ loop: borrowing LoopContext
    ) throws(ProtocolError) -> Int {
        if let position = resent {
            resend(from: position, into: sink.outputBlock(loop))
            sink.releaseOutput(loop)
            return 0
        }
        guard !isSourceDone, let input = wire.input else { return 0 }
        switch source {
        case .nothing: return 0
        case .length(let remaining) where !isChunkedOut && replay == nil:
            return Int(min(remaining, UInt64(input.count)))
        case .untilClose where !isChunkedOut: return input.count
        case .length, .untilClose, .chunked: break
        }
        try recode(input, into: sink.outputBlock(loop))
        wire.releaseInput(loop)
        sink.releaseOutput(loop)
        return 0
    }

    /// Writes kept bytes, framed as the body leaves, as far as there is room.
    private mutating func resend(from position: Int, into output: Buffer) {
        guard let replay else { return }
        let reserve = HeadWriter.chunkOverhead + HeadWriter.lastChunk.utf8CodeUnitCount
        var position = position
        while position < replay.count, output.freeCount > reserve {
            replay.withBytes(from: position) { bytes in
                let count = min(bytes.count, output.freeCount - reserve)
                output.append { write(bytes.extracting(0..<count), to: &$0) }
                position += count
            }
        }
        resent = position < replay.count ? position : nil
        if resent == nil, isSourceDone, isChunkedOut { output.append { $0.put(HeadWriter.lastChunk) } }
    }

    /// Moves data from `input` to `output`, framing taken off and put on, as far as there is room.
    private mutating func recode(_ input: Buffer, into output: Buffer) throws(ProtocolError) {
        let reserve = HeadWriter.chunkOverhead + HeadWriter.lastChunk.utf8CodeUnitCount
        var pump = self
        let used = try input.withBytes { bytes throws(ProtocolError) -> Int in
            try output.append { target -> Result<Int, ProtocolError> in
                var position = 0
                while position < bytes.count, target.freeCapacity > reserve {
                    let room = target.freeCapacity - reserve
                    let window = bytes.extracting(0..<min(bytes.count, position + room))
                    let count: Int
                    do throws(ProtocolError) { count = try pump.nextData(window, at: &position) } catch {
                        return .failure(error)
                    }
                    if count > 0 {
                        pump.write(bytes.extracting(position..<position + count), to: &target)
                        pump.keepCopy(bytes.extracting(position..<position + count))
                        pump.received += count
                        position += count
                    }
                    if pump.finishIfDone(&target) { break }
                    if count == 0, window.count == bytes.count { break }
                }
                return .success(position)
            }.get()
        }
        self = pump
        input.consume(used)
    }

    /// How many bytes of data stand at `position` once framing is read over.
    private mutating func nextData(_ bytes: Span<UInt8>, at position: inout Int) throws(ProtocolError) -> Int {
        switch source {
        case .nothing: return 0
        case .untilClose: return bytes.count - position
        case .length(let remaining):
            let count = Int(min(remaining, UInt64(bytes.count - position)))
            source = .length(remaining - UInt64(count))
            return count
        case .chunked(var decoder):
            defer { source = .chunked(decoder) }
            switch try decoder.next(bytes, at: &position) {
            case .data(let count): return count
            case .incomplete, .end: return 0
            }
        }
    }

    private mutating func keepCopy(_ data: Span<UInt8>) {
        guard let replay, !replay.append(data) else { return }
        self.replay = nil
    }

    private func write(_ data: Span<UInt8>, to output: inout OutputSpan<UInt8>) {
        if isChunkedOut {
            HeadWriter.chunk(data, to: &output)
        } else {
            output.put(data)
        }
    }

    /// Ends the body if its framing says so.
    private mutating func finishIfDone(_ output: inout OutputSpan<UInt8>) -> Bool {
        noteEnd()
        if isSourceDone, isChunkedOut { output.put(HeadWriter.lastChunk) }
        return isSourceDone
    }

    /// Counts bytes that left as they came.
    private mutating func took(_ count: Int) {
        received += count
        guard case .length(let remaining) = source, !isChunkedOut else { return }
        let rest = remaining - UInt64(count)
        source = .length(rest)
        if rest == 0 { isSourceDone = true }
    }

    /// Reads over what has arrived, for a body that nobody wants. `.done` when all of it has.
    mutating func discard(from wire: inout Wire) -> Flow {
        guard !isSourceDone else { return .done }
        guard let input = wire.input else { return .needsInput }
        var pump = self
        var failure: ProtocolError?
        let used = input.withBytes { bytes -> Int in
            var position = 0
            while position < bytes.count, !pump.isSourceDone {
                do throws(ProtocolError) {
                    let count = try pump.nextData(bytes, at: &position)
                    position += count
                    pump.received += count
                } catch {
                    failure = error
                    break
                }
                pump.noteEnd()
            }
            return position
        }
        self = pump
        input.consume(used)
        if let failure { return .malformed(failure) }
        return isSourceDone ? .done : .needsInput
    }

    private mutating func noteEnd() {
        switch source {
        case .length(let remaining): isSourceDone = remaining == 0
        case .chunked(let decoder): isSourceDone = decoder.isDone
        case .nothing, .untilClose: break
        }
    }
}
