// A body that leaves compressed: framing taken off, through the deflater, framing put on. What has come leaves in the same
// turn, as far as there is room.
import EventLoop
import HTTP

extension BodyPump {
    /// Moves data from the wire's input through `deflater` to `output`.
    mutating func compress(
        _ wire: inout Wire, with deflater: Deflater, into output: Buffer, _ loop: borrowing LoopContext
    ) throws(ProtocolError) {
        while output.freeCount > 2 * BodyCoder.reserve {
            if deflater.isHolding {
                // Of what came out as much as fits; then what was left inside.
                if deflater.output.isEmpty { deflater.goOn() } else { write(deflater, to: output) }
                continue
            }
            if isSourceDone {
                guard isEndPending else { return }
                if deflater.isFinished { return finish(output) }
                deflater.end()
                continue
            }
            guard let input = wire.input else { return }
            let used = try take(input, into: deflater)
            input.consume(used)
            wire.releaseInput(loop)
            if isSourceDone { isEndPending = true }
        }
    }

    private func write(_ deflater: Deflater, to output: Buffer) {
        let count = min(deflater.output.count, output.freeCount - BodyCoder.reserve)
        deflater.output.withBytes { bytes in
            output.append { coder.write(bytes.extracting(0..<count), to: &$0) }
        }
        deflater.output.consume(count)
    }

    private mutating func finish(_ output: Buffer) {
        isEndPending = false
        deflater = nil
        writeEnd(into: output)
        if isEndPending { writeTrailers(into: output) }
    }

    /// Takes one piece of data off its framing; returns how many bytes of the input it used.
    private mutating func take(_ input: Buffer, into deflater: Deflater) throws(ProtocolError) -> Int {
        var coder = coder
        var fields: [UInt8] = []
        let used = try input.withBytes { bytes throws(ProtocolError) -> Int in
            var position = 0
            while position < bytes.count, !coder.isSourceDone, !deflater.isHolding {
                let window = bytes.extracting(0..<min(bytes.count, position + Deflater.mostAtOnce))
                switch try coder.next(window, at: &position) {
                case .data(let count):
                    deflater.take(bytes.extracting(position..<position + count))
                    coder.took(data: count)
                    position += count
                case .trailers(let range):
                    for index in range { fields.append(bytes[index]) }
                case .nothing: break
                }
                coder.noteEnd()
            }
            // The end of what has come is the end of what is held back.
            if position == bytes.count, !coder.isSourceDone { deflater.release() }
            return position
        }
        self.coder = coder
        trailers += fields
        return used
    }
}
