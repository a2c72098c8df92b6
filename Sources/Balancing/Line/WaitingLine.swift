// Requests that wait for a free slot, first come first served. It never chooses a server.

/// Who waits, in the terms of the worker that put it in line.
public struct WaiterID: Sendable, Equatable {
    public var worker: Int
    public var slot: Int

    public init(worker: Int, slot: Int) {
        self.worker = worker
        self.slot = slot
    }
}

/// A place in line. Tickets rise and never come twice.
public struct Ticket: Sendable, Equatable, Comparable {
    public let number: UInt64
    public static func < (left: Ticket, right: Ticket) -> Bool { left.number < right.number }
}

struct Waiter: Sendable {
    let ticket: Ticket
    let id: WaiterID
    let pick: Pick
    let isRetry: Bool
    let since: Duration
}

/// A queue from whose middle waiters may leave. Joining and leaving are logarithmic; finding who may use a slot passes
/// over those that may not.
struct WaitingLine: Sendable {
    private struct Place: Sendable {
        var waiter: Waiter
        var isEmpty = false
    }

    /// In the order of tickets, from `head` on.
    private var places: [Place] = []
    private var head = 0
    private var lastTicket: UInt64 = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }
    /// Places held, empty ones included: for seeing that they stay few.
    var placeCount: Int { places.count }
    var first: Waiter? { places[head...].first { !$0.isEmpty }?.waiter }

    mutating func join(_ id: WaiterID, _ pick: Pick, isRetry: Bool, now: Duration) -> Ticket {
        lastTicket += 1
        let ticket = Ticket(number: lastTicket)
        places.append(Place(waiter: Waiter(ticket: ticket, id: id, pick: pick, isRetry: isRetry, since: now)))
        count += 1
        return ticket
    }

    /// The waiter at `index`, which `firstIndex` found.
    subscript(index: Int) -> Waiter { places[index].waiter }

    /// Takes the waiter with this ticket out; nil when it is not in line any more.
    mutating func leave(_ ticket: Ticket) -> Waiter? {
        var low = head
        var high = places.count
        while low < high {
            let middle = (low + high) / 2
            if places[middle].waiter.ticket < ticket { low = middle + 1 } else { high = middle }
        }
        guard low < places.count, places[low].waiter.ticket == ticket, !places[low].isEmpty else { return nil }
        return take(at: low)
    }

    /// Where the first waiter stands that `isFit` accepts; good until the line changes.
    func firstIndex(where isFit: (Waiter) -> Bool) -> Int? {
        places[head...].firstIndex { !$0.isEmpty && isFit($0.waiter) }
    }

    /// Takes out the waiter that stands at `index`.
    mutating func take(at index: Int) -> Waiter {
        let waiter = places[index].waiter
        empty(index)
        return waiter
    }

    private mutating func empty(_ index: Int) {
        places[index].isEmpty = true
        count -= 1
        while head < places.count, places[head].isEmpty { head += 1 }
        // Empty places never outnumber those in use by much.
        if places.count - count > 2 * count + 32 {
            places.removeAll { $0.isEmpty }
            head = 0
        }
    }
}
