// A block of bytes with a filled part in its middle: filled at the end, consumed at the front.
// Only this folder and System ever see its address.

/// A fixed block of memory. Bytes enter at the end and leave at the front; when all have left, both ends go back to the
/// start. A reference type, so that moving it between owners never copies.
@safe
public final class Buffer {
    private let base: UnsafeMutableRawPointer
    public let capacity: Int
    private var start = 0
    private var end = 0

    public init(capacity: Int) {
        self.capacity = capacity
        unsafe base = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit { unsafe base.deallocate() }

    public var count: Int { end - start }
    public var isEmpty: Bool { end == start }
    /// Bytes that can be added without moving any.
    public var freeCount: Int { capacity - end }
    public var isFull: Bool { end == capacity }

    /// The filled bytes.
    public func withBytes<R: ~Copyable, E: Error>(_ body: (Span<UInt8>) throws(E) -> R) throws(E) -> R {
        let memory = unsafe UnsafeRawBufferPointer(start: base + start, count: end - start)
        return try unsafe body(Span(_unsafeBytes: memory))
    }

    /// Lets `body` append to the filled bytes.
    public func append<R>(_ body: (inout OutputSpan<UInt8>) -> R) -> R {
        let free = unsafe UnsafeMutableBufferPointer(
            start: (base + end).assumingMemoryBound(to: UInt8.self), count: capacity - end)
        var output = unsafe OutputSpan(buffer: free, initializedCount: 0)
        let result = body(&output)
        end += unsafe output.finalize(for: free)
        return result
    }

    /// Takes `count` bytes, at most `self.count`, off the front.
    public func consume(_ count: Int) {
        precondition(count >= 0 && count <= end - start)
        start += count
        if start == end { clear() }
    }

    public func clear() {
        start = 0
        end = 0
    }

    /// Moves the filled bytes to the start, so that all free bytes are at the end.
    public func compact() {
        guard start > 0 else { return }
        // Regions may overlap; copyMemory allows it.
        unsafe base.copyMemory(from: base + start, byteCount: end - start)
        end -= start
        start = 0
    }

    /// Appends as many of `source`'s first `count` bytes as fit; returns how many.
    @discardableResult
    public func append(_ source: Buffer, _ count: Int) -> Int {
        let taken = min(count, source.count, freeCount)
        unsafe (base + end).copyMemory(from: source.base + source.start, byteCount: taken)
        end += taken
        return taken
    }

    /// The filled bytes, for system calls.
    var memory: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(start: base + start, count: end - start) }

    /// The free bytes, for system calls; `didFill` tells how many were written.
    func withFreeMemory<R>(_ body: (UnsafeMutableRawBufferPointer) -> R) -> R {
        unsafe body(UnsafeMutableRawBufferPointer(start: base + end, count: capacity - end))
    }

    func didFill(_ count: Int) {
        precondition(count >= 0 && count <= capacity - end)
        end += count
    }
}
