// Deadlines in order. It knows tokens and times; what a deadline means is its owner's affair.

/// A binary heap of deadlines, one entry at a time for each owner.
///
/// Owners keep what they were armed for (`Alarm`) and move their deadline later without touching the heap: an entry
/// that comes due early is put back at the later time.
public struct TimerHeap {
    private struct Entry {
        let time: Duration
        let token: Token
    }

    private var entries: [Entry] = []

    public init() { entries.reserveCapacity(64) }

    public var count: Int { entries.count }

    /// When the first entry is due.
    public var next: Duration? { entries.first?.time }

    public mutating func add(_ token: Token, at time: Duration) {
        entries.append(Entry(time: time, token: token))
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entries[child].time < entries[parent].time else { return }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    /// Removes and returns the first entry that is due at `now`.
    public mutating func popDue(at now: Duration) -> (token: Token, time: Duration)? {
        guard let first = entries.first, first.time <= now else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            siftDown()
        }
        return (first.token, first.time)
    }

    private mutating func siftDown() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < entries.count && entries[child].time < entries[least].time {
                least = child
            }
            guard least != parent else { return }
            entries.swapAt(parent, least)
            parent = least
        }
    }
}

/// One owner's deadline, armed lazily.
public struct Alarm {
    /// When it is due; nil is never.
    public private(set) var deadline: Duration?
    /// The time of the owner's valid heap entry.
    private var armed: Duration?

    public init() {}

    /// Sets the deadline. Only an earlier one than any before touches the heap.
    public mutating func set(_ deadline: Duration?, token: Token, in heap: inout TimerHeap) {
        if let time = move(to: deadline) { heap.add(token, at: time) }
    }

    /// Sets the deadline; returns the time of a heap entry that is now needed, for owners to whom even looking at the
    /// heap is dear.
    public mutating func move(to deadline: Duration?) -> Duration? {
        self.deadline = deadline
        guard let deadline else { return nil }
        if let armed, armed <= deadline { return nil }
        armed = deadline
        return deadline
    }

    /// Takes in that the entry for `time` came due; true when the deadline has really passed.
    public mutating func isDue(_ time: Duration, now: Duration, token: Token, in heap: inout TimerHeap) -> Bool {
        // An entry that an earlier one has replaced says nothing.
        guard armed == time else { return false }
        armed = nil
        guard let deadline else { return false }
        if deadline <= now {
            self.deadline = nil
            return true
        }
        armed = deadline
        heap.add(token, at: deadline)
        return false
    }
}
