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

    init(_ socket: SocketID) { stream = Stream(socket) }

    var hasOutput: Bool { output != nil }
    var inputCount: Int { input?.count ?? 0 }

    /// Reads once. What was read is at the end of `input`.
    mutating func receive(_ loop: borrowing LoopContext) -> Transfer {
        let buffer = input ?? loop.blocks.take()
        input = buffer
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
        releaseOutput(loop)
        return transfer
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
        loop.blocks.give(buffer)
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
        output?.clear()
        releaseOutput(loop)
        loop.network.close(stream.socket, resetting: resetting)
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
