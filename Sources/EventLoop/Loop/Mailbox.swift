// What other threads hand to a loop. They never wait, and neither does the loop.
import Synchronization

/// Messages to one loop, in the order of their sending.
public final class Mailbox<Message: Sendable>: Sendable {
    private let messages = Mutex<[Message]>([])
    /// Whether there may be mail: the loop asks each turn, and a lock each turn would cost more than the rest of it.
    private let hasMail = Atomic<Bool>(false)
    private let wake: @Sendable () -> Void

    /// - Parameter wake: the loop's network's.
    public init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    public func send(_ message: Message) {
        messages.withLock { $0.append(message) }
        hasMail.store(true, ordering: .releasing)
        wake()
    }

    /// Everything sent so far, for the loop alone.
    public func take() -> [Message] {
        guard hasMail.load(ordering: .relaxed), hasMail.exchange(false, ordering: .acquiring) else { return [] }
        return messages.withLock { messages in
            guard !messages.isEmpty else { return [] }
            let taken = messages
            messages.removeAll()
            return taken
        }
    }
}
