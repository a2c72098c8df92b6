// Memory that all workers share the right to. Who gets none does without; nobody waits.
import Synchronization

/// `replay-memory` or `compress-memory`: bytes that all of one use may take together.
public final class MemoryBudget: Sendable {
    private let limit: Atomic<Int>
    private let used = Atomic<Int>(0)

    public init(limit: Int) { self.limit = Atomic(limit) }

    /// Changes the limit. What is taken already stays.
    func setLimit(_ limit: Int) { self.limit.store(limit, ordering: .relaxed) }

    func take(_ count: Int) -> Bool {
        let now = used.wrappingAdd(count, ordering: .relaxed).newValue
        if now <= limit.load(ordering: .relaxed) { return true }
        give(count)
        return false
    }

    func give(_ count: Int) { used.wrappingSubtract(count, ordering: .relaxed) }

    /// Bytes taken now.
    public var taken: Int { used.load(ordering: .relaxed) }
}
