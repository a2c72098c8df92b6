// Blocks of one size, used again while they are warm. One pool belongs to one loop.

/// A stack of free blocks. What was given back last is taken first, because it is still in the cache.
public final class BufferPool {
    private let blockSize: Int
    private let keeps: Int
    private var free: [Buffer] = []
    /// Blocks taken and not given back.
    public private(set) var outstanding = 0

    /// - Parameter keeps: free blocks that are kept; the rest go back to the system.
    public init(blockSize: Int, keeps: Int = 64) {
        self.blockSize = blockSize
        self.keeps = keeps
        free.reserveCapacity(keeps)
    }

    public func take() -> Buffer {
        outstanding += 1
        return free.popLast() ?? Buffer(capacity: blockSize)
    }

    public func give(_ buffer: Buffer) {
        outstanding -= 1
        guard free.count < keeps else { return }
        buffer.clear()
        free.append(buffer)
    }
}
