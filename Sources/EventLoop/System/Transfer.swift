// The outcome of moving bytes, the same for every kind of stream.

/// What became of a call that moves bytes.
public enum Transfer: Equatable, Sendable {
    /// At least one byte moved.
    case moved(Int)
    case wouldBlock
    /// The peer has finished sending.
    case ended
    case failed(SystemError)
}
