// One response's body on its way through zlib. What has come leaves with the end of what has come: nothing waits in it for
// more. It never decompresses anything.
import CZlib
import EventLoop
import HTTP

/// A gzip stream (RFC 1952).
@safe
final class Deflater {
    /// Bytes that may be given to it at a time.
    static let mostAtOnce = 16 << 10
    /// Bytes that zlib takes for a stream with a window of 32 KiB (zlib.h), and the blocks before and behind it.
    static let memory = (1 << 17) + (1 << 17) + (6 << 10) + 2 * mostAtOnce

    private enum Flush { case none, all, end }

    private let stream: UnsafeMutablePointer<z_stream>
    /// What came out and has not left.
    let output = Buffer(capacity: mostAtOnce)
    /// What was given to it while there was no room for what would come out.
    private let waiting = Buffer(capacity: mostAtOnce)
    private var flush = Flush.none
    private let budget: MemoryBudget
    /// Something has come since everything was let out.
    private var isUnfinished = false
    /// The last call may have left something inside.
    private var hasRest = false
    /// All of it has come out.
    private(set) var isFinished = false

    /// - Returns: nil where the budget, or the machine, has no memory.
    init?(level: Int, budget: MemoryBudget) {
        guard budget.take(Self.memory) else { return nil }
        self.budget = budget
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        guard unsafe czlib_begin_gzip(stream, Int32(level)) == Z_OK else { return nil }
    }

    deinit {
        _ = unsafe deflateEnd(stream)
        unsafe stream.deallocate()
        budget.give(Self.memory)
    }

    /// Whether something is on its way: `output` has to leave, or `goOn` be called, before it takes more.
    var isHolding: Bool { hasRest || !waiting.isEmpty || !output.isEmpty }

    /// Takes all of `input`, at most `mostAtOnce` bytes. Some of it may stay inside.
    func take(_ input: Span<UInt8>) {
        flush = .none
        isUnfinished = true
        let taken = run(input)
        if taken < input.count {
            waiting.append { $0.put(input.extracting(taken..<input.count)) }
        }
    }

    /// Lets out what is left inside.
    func goOn() {
        let taken = waiting.withBytes { run($0) }
        waiting.consume(taken)
    }

    /// Lets everything out that has come.
    func release() {
        guard isUnfinished else { return }
        isUnfinished = false
        flush = .all
        goOn()
    }

    /// Nothing follows.
    func end() {
        flush = .end
        goOn()
    }

    /// - Returns: how many bytes of `input` went in.
    private func run(_ input: Span<UInt8>) -> Int {
        let mode =
            switch flush {
            case .none: Z_NO_FLUSH
            case .all: Z_SYNC_FLUSH
            case .end: Z_FINISH
            }
        return unsafe input.withUnsafeBufferPointer { bytes in
            output.append { target in
                unsafe target.withUnsafeMutableBufferPointer { memory, filled in
                    // zlib only reads what it is given, through a pointer that says it might write.
                    unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
                    unsafe stream.pointee.avail_in = UInt32(clamping: bytes.count)
                    unsafe stream.pointee.next_out = memory.baseAddress.map { unsafe $0 + filled }
                    unsafe stream.pointee.avail_out = UInt32(clamping: memory.count - filled)
                    isFinished = unsafe deflate(stream, mode) == Z_STREAM_END
                    filled = unsafe memory.count - Int(stream.pointee.avail_out)
                    hasRest = unsafe stream.pointee.avail_out == 0 && !isFinished
                    return unsafe bytes.count - Int(stream.pointee.avail_in)
                }
            }
        }
    }
}
