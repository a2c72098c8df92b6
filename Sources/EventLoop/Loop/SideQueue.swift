// Work that takes longer than a loop may be held, done beside the loops, one piece after the other.
import Dispatch

/// Runs closures on a thread that is no loop's. What they come to goes back by mailbox.
public final class SideQueue: Sendable {
    private let queue: DispatchQueue

    public init(label: String) { queue = DispatchQueue(label: label) }

    public func run(_ body: @escaping @Sendable () -> Void) { queue.async(execute: body) }
}
