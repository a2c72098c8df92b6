// One connection's stream with the bytes on their way through it. It borrows blocks only while they hold bytes, so that
// an idle connection owns none.
import EventLoop

/// A stream, what was read from it and is not consumed, and what is to be sent and is not gone.
struct Wire {
    /// Bytes of a block: the most that is read at a time, and the most that waits on one side.
    static let blockSize = 64 << 10

    var stream: Stream
    private(set) var input: Buffer?
    private(set) var output: Buffer?
    /// Bytes that the system took to send, in all.
    private(set) var sent = 0

    init(_ stream: Stream) { self.stream = stream }

    var hasOutput: Bool { output != nil }
    var inputCount: Int { input?.count ?? 0 }

    /// From here on its bytes are those of `session`, beginning with those that were read already.
    mutating func secure(_ session: TLSSession, _ loop: borrowing LoopContext) {
        var held: Buffer?
        if let input {
            // A copy of its own: the block is the pool's.
            let copy = Buffer(capacity: input.count)
            copy.append(input, input.count)
            held = copy
        }
        discardInput(loop)
        stream.secure(session, read: held)
    }

    /// Its bytes are those of the socket from now on; what was read is nothing.
    mutating func expose(_ loop: borrowing LoopContext) {
        discardInput(loop)
        stream.expose()
    }

    /// Reads once. What was read is at the end of `input`.
    mutating func receive(_ loop: borrowing LoopContext) -> Transfer {
        let buffer = inputBlock(loop)
        if buffer.isFull { buffer.compact() }
        // A full block is a head at its limit or a body that waits: its owner has said so before it reads again.
        guard buffer.freeCount > 0 else { return .moved(0) }
        let transfer = stream.receive(into: buffer, on: loop.network)
        releaseInput(loop)
        return transfer
    }

    /// Sends what is in `output`, then up to `limit` bytes of `body`, in one call.
    mutating func send(_ body: Buffer?, limit: Int, _ loop: borrowing LoopContext) -> Transfer {
        let transfer = stream.send(output, body, limit: limit, on: loop.network)
        if case .moved(let count) = transfer { sent += count }
        releaseOutput(loop)
        return transfer
    }

    /// The block that is read into.
    private mutating func inputBlock(_ loop: borrowing LoopContext) -> Buffer {
        guard let small = input, small.capacity < Self.blockSize else {
            let block = input ?? loop.blocks.take()
            input = block
            return block
        }
        let block = loop.blocks.take()
        block.append(small, small.count)
        input = block
        return block
    }

    /// Keeps the few bytes of a message that is not whole yet in a block of their size: who sends one byte and no more
    /// shall not hold 64 KiB.
    mutating func park(_ loop: borrowing LoopContext) {
        guard let block = input, block.capacity == Self.blockSize, block.count <= Self.blockSize / 4 else { return }
        let small = Buffer(capacity: max(256, block.count))
        small.append(block, block.count)
        loop.blocks.give(block)
        input = small
    }

    /// Bytes that the peer's system has taken.
    func taken(_ loop: borrowing LoopContext) -> Int { sent - loop.network.unsentCount(stream.socket) }

    /// Drops what is to be sent and has not begun to leave.
    mutating func discardOutput(_ loop: borrowing LoopContext) {
        output?.clear()
        releaseOutput(loop)
    }

    /// The block that outgoing bytes are written to.
    mutating func outputBlock(_ loop: borrowing LoopContext) -> Buffer {
        if let output { return output }
        let block = loop.blocks.take()
        output = block
        return block
    }

    mutating func consume(_ count: Int, _ loop: borrowing LoopContext) {
        input?.consume(count)
        releaseInput(loop)
    }

    /// Gives the input's block back if it holds nothing.
    mutating func releaseInput(_ loop: borrowing LoopContext) {
        guard let buffer = input, buffer.isEmpty else { return }
        if buffer.capacity == Self.blockSize { loop.blocks.give(buffer) }
        input = nil
    }

    mutating func releaseOutput(_ loop: borrowing LoopContext) {
        guard let buffer = output, buffer.isEmpty else { return }
        loop.blocks.give(buffer)
        output = nil
    }

    mutating func discardInput(_ loop: borrowing LoopContext) {
        input?.clear()
        releaseInput(loop)
    }

    /// Closes the socket and gives every block back.
    mutating func close(resetting: Bool, _ loop: borrowing LoopContext) {
        discardInput(loop)
        discardOutput(loop)
        stream.close(resetting: resetting, on: loop.network)
    }
}

/// What connections need of their loop to move bytes.
struct LoopContext {
    let network: any Network
    /// 64 KiB blocks for bytes on their way.
    let blocks: BufferPool
    /// 4 KiB blocks for heads that an exchange keeps.
    let headBlocks: BufferPool
}
