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
    var coder: BodyCoder
    /// Bytes that the sink took, framing and heads before the body included.
    private(set) var sent = 0
    /// Where bytes are kept that may have to be sent again; nil keeps none.
    private var replay: ReplayBuffer?
    /// How much of the kept bytes this attempt has sent again; nil while it sends none again.
    private var resent: Int?
    /// Trailer fields as they came, lines and parts of lines: they leave when all of them are there.
    var trailers: [UInt8] = []
    /// Which of them leave.
    var trailerRule = TrailerFields.Rule()
    /// Everything has left but the trailer section.
    var isEndPending = false
    /// Counts events, where the body is a stream of them.
    var events: EventCounter?
    /// Compresses the body on its way.
    var deflater: Deflater?

    /// - Parameters:
    ///   - framing: how the body arrives.
    ///   - leaving: how it leaves; `.untilClose` and `.length` are its plain bytes.
    ///   - limit: bytes that it may have where its length is not known beforehand.
    init(
        _ framing: BodyFraming, leaving: BodyFraming, chunks: ChunkDecoder.Limits = ChunkDecoder.Limits(),
        limit: Int = .max
    ) {
        coder = BodyCoder(framing, leaving: leaving, chunks: chunks, limit: limit)
    }

    /// Every byte of the body is read; what is left is in the sink's output.
    var isSourceDone: Bool { coder.isSourceDone }
    /// Every byte is read, and written to the sink's output.
    var isWritten: Bool { coder.isSourceDone && resent == nil && !isEndPending }
    /// Bytes of the body read so far.
    var received: Int { coder.received }
    /// The body ends where its source closes.
    var endsAtClose: Bool { coder.endsAtClose }

    // MARK: Sending again

    /// From now on, keeps what is sent.
    mutating func keep(in replay: ReplayBuffer) { self.replay = replay }

    /// Whether everything that was sent so far is kept.
    var isKept: Bool { replay != nil || received == 0 }

    /// Begins again for another server: first what is kept, then what follows.
    mutating func restart() {
        resent = replay == nil || received == 0 ? nil : 0
        isEndPending = resent == nil && isSourceDone && !trailers.isEmpty
    }

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
        if !trailers.isEmpty { trailers = [] }
        deflater = nil
    }

    // MARK: Moving

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
                coder.sourceClosed()
                if deflater != nil {
                    isEndPending = true
                } else if coder.isChunkedOut {
                    sink.outputBlock(loop).append { coder.writeEnd(to: &$0) }
                }
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
            if direct > 0 { coder.took(plain: before - source.inputCount) }
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
        if let deflater {
            try compress(&wire, with: deflater, into: sink.outputBlock(loop), loop)
            sink.releaseOutput(loop)
            return 0
        }
        guard !isEndPending else {
            writeTrailers(into: sink.outputBlock(loop))
            return 0
        }
        guard !isSourceDone, let input = wire.input else { return 0 }
        // What is kept is copied on its way.
        if replay == nil, events == nil, let count = coder.plainCount(input.count) { return count }
        try recode(input, into: sink.outputBlock(loop))
        if isEndPending { writeTrailers(into: sink.outputBlock(loop)) }
        wire.releaseInput(loop)
        sink.releaseOutput(loop)
        return 0
    }

    /// Writes kept bytes, framed as the body leaves, as far as there is room.
    private mutating func resend(from position: Int, into output: Buffer) {
        guard let replay else { return }
        var position = position
        while position < replay.count, output.freeCount > BodyCoder.reserve {
            replay.withBytes(from: position) { bytes in
                let count = min(bytes.count, output.freeCount - BodyCoder.reserve)
                output.append { coder.write(bytes.extracting(0..<count), to: &$0) }
                position += count
            }
        }
        resent = position < replay.count ? position : nil
        if resent == nil, isSourceDone { writeEnd(into: output) }
    }

    /// What follows the last byte of data, now or when there is room for it.
    mutating func writeEnd(into output: Buffer) {
        isEndPending = !trailers.isEmpty
        if !isEndPending { output.append { coder.writeEnd(to: &$0) } }
    }

    /// Ends a chunked body with its trailer section, if there is room for all of it: `trailers-limit` is far less than a block.
    mutating func writeTrailers(into output: Buffer) {
        guard output.freeCount > 2 * trailers.count + BodyCoder.reserve else { return }
        let (section, rule) = (trailers, trailerRule)
        output.append { target in
            target.put(HeadWriter.lastSize)
            TrailerFields.write(section.span, rule, to: &target)
            target.put("\r\n")
        }
        isEndPending = false
    }

    /// Moves data from `input` to `output`, framing taken off and put on, as far as there is room.
    private mutating func recode(_ input: Buffer, into output: Buffer) throws(ProtocolError) {
        var coder = coder
        let replay = replay
        var isLost = false
        var events = events
        var fields: [UInt8] = []
        let used = try input.withBytes { bytes throws(ProtocolError) -> Int in
            try output.append { target -> Result<Int, ProtocolError> in
                var position = 0
                while position < bytes.count, target.freeCapacity > BodyCoder.reserve {
                    let room = target.freeCapacity - BodyCoder.reserve
                    let window = bytes.extracting(0..<min(bytes.count, position + room))
                    let piece: BodyCoder.Piece
                    do throws(ProtocolError) { piece = try coder.next(window, at: &position) } catch {
                        return .failure(error)
                    }
                    switch piece {
                    case .data(let count):
                        let data = bytes.extracting(position..<position + count)
                        coder.write(data, to: &target)
                        if let replay, !isLost { isLost = !replay.append(data) }
                        events?.scan(data)
                        coder.took(data: count)
                        position += count
                    case .trailers(let range):
                        for index in range { fields.append(window[index]) }
                    case .nothing: break
                    }
                    coder.noteEnd()
                    if coder.isSourceDone { break }
                }
                return .success(position)
            }.get()
        }
        self.coder = coder
        self.events = events
        if isLost { self.replay = nil }
        input.consume(used)
        // Where they do not leave in chunks there is no place for them.
        if !fields.isEmpty, coder.isChunkedOut { trailers += fields }
        if coder.isSourceDone { writeEnd(into: output) }
    }

    /// Reads over what has arrived, for a body that nobody wants. `.done` when all of it has.
    mutating func discard(from wire: inout Wire) -> Flow {
        guard !isSourceDone else { return .done }
        guard let input = wire.input else { return .needsInput }
        var coder = coder
        var failure: ProtocolError?
        let used = input.withBytes { bytes -> Int in
            var position = 0
            while position < bytes.count, !coder.isSourceDone {
                do throws(ProtocolError) {
                    if case .data(let count) = try coder.next(bytes, at: &position) {
                        position += count
                        coder.took(data: count)
                    }
                } catch {
                    failure = error
                    break
                }
                coder.noteEnd()
            }
            return position
        }
        self.coder = coder
        input.consume(used)
        if let failure { return .malformed(failure) }
        return isSourceDone ? .done : .needsInput
    }
}
