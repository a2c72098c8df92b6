// How many clients all workers together have, and may have. It never says which worker gets the next one.
import Synchronization

/// `max-connections`, shared by all workers: the kernel spreads connections unevenly, so a share each would refuse some
/// while there is room.
public final class ClientBudget: Sendable {
    private let limit: Atomic<Int>
    private let count = Atomic<Int>(0)

    public init(limit: Int) { self.limit = Atomic(limit) }

    /// Changes the limit. Who is there already stays.
    func setLimit(_ limit: Int) { self.limit.store(limit, ordering: .relaxed) }

    /// Whether one more client may be accepted. Workers that ask at the same moment may go over by one each.
    var hasRoom: Bool { count.load(ordering: .relaxed) < limit.load(ordering: .relaxed) }

    /// More have come than may.
    var isOver: Bool { count.load(ordering: .relaxed) > limit.load(ordering: .relaxed) }

    func take() { count.wrappingAdd(1, ordering: .relaxed) }
    func give() { count.wrappingSubtract(1, ordering: .relaxed) }
}
