// What was sent of one request's body, kept while the request may have to be sent again. It gives up, never grows: a body
// larger than its limit, or than what all bodies may take together, is not kept.
import EventLoop
import HTTP

/// One body's kept bytes, in blocks of its worker.
final class ReplayBuffer {
    private(set) var count = 0
    private var blocks: [Buffer] = []
    private let limit: Int
    private let budget: MemoryBudget
    private let pool: BufferPool

    init(limit: Int, budget: MemoryBudget, pool: BufferPool) {
        self.limit = limit
        self.budget = budget
        self.pool = pool
    }

    /// Keeps `bytes` as well; false when there is no room, and nothing is kept any more.
    func append(_ bytes: Span<UInt8>) -> Bool {
        guard count + bytes.count <= limit else {
            release()
            return false
        }
        var position = 0
        while position < bytes.count {
            guard let block = openBlock() else {
                release()
                return false
            }
            let piece = min(bytes.count - position, block.freeCount)
            block.append { $0.put(bytes.extracting(position..<position + piece)) }
            position += piece
        }
        count += bytes.count
        return true
    }

    private func openBlock() -> Buffer? {
        if let last = blocks.last, !last.isFull { return last }
        let block = pool.take()
        guard budget.take(block.capacity) else {
            pool.give(block)
            return nil
        }
        blocks.append(block)
        return block
    }

    /// Calls `body` with the bytes from `position` to the end of their block.
    func withBytes(from position: Int, _ body: (Span<UInt8>) -> Void) {
        var start = 0
        for block in blocks {
            if position < start + block.count {
                block.withBytes { body($0.extracting(position - start..<$0.count)) }
                return
            }
            start += block.count
        }
    }

    func release() {
        for block in blocks {
            budget.give(block.capacity)
            pool.give(block)
        }
        blocks = []
        count = 0
    }
}
