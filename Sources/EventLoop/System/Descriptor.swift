// A file descriptor with one owner. It is closed exactly once, when the owner lets go.
import Glibc

/// An open descriptor; closing it is the end of its life.
public struct Descriptor: ~Copyable, Sendable {
    /// The number, for system calls while the owner lives.
    public let number: Int32

    /// Takes over `number`, which nobody else may close.
    public init(owning number: Int32) { self.number = number }

    /// Gives the number away without closing it.
    public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    deinit { _ = Glibc.close(number) }
}
