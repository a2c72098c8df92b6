// Blocks of one size, used again while they are warm. One pool belongs to one loop.

/// A stack of free blocks. What was given back last is taken first, because it is still in the cache.
public final class BufferPool {
    private let blockSize: Int
    private let keeps: Int
    /// One property, because each access to one is checked for exclusivity.
    private var stack = Stack()

    private struct Stack {
        var free: [Buffer] = []
        var outstanding = 0

        mutating func pop() -> Buffer? {
            outstanding += 1
            return free.popLast()
        }

        mutating func push(_ buffer: Buffer, limit: Int) {
            outstanding -= 1
            if free.count < limit { free.append(buffer) }
        }
    }

    /// - Parameter keeps: free blocks that are kept; the rest go back to the system.
    public init(blockSize: Int, keeps: Int = 64) {
        self.blockSize = blockSize
        self.keeps = keeps
        stack.free.reserveCapacity(keeps)
    }

    /// Blocks taken and not given back.
    public var outstanding: Int { stack.outstanding }

    public func take() -> Buffer {
        stack.pop() ?? Buffer(capacity: blockSize)
    }

    public func give(_ buffer: Buffer) {
        buffer.clear()
        stack.push(buffer, limit: keeps)
    }
}
