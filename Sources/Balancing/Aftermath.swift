// What a backend answers and what follows from it: the contract between those who hold its lock and those who act.

/// The rules of one backend.
public struct BackendRules: Sendable {
    public var health: HealthRule
    public var ejection: EjectionRule
    /// How long a server that came back takes to get its full part; zero is none.
    public var slowStart: Duration
    /// Requests that may wait for a slot.
    public var queue: Int
    /// Retries at a time, in parts of 100 of the running requests; `retryFloor` are always allowed.
    public var retryBudgetPercent: Int
    /// How long a request may wait in line.
    public var patience: Duration
    /// How soon a server that is down can be back: what a client is told when none can serve.
    public var recovery: Duration

    public static let retryFloor = 3
    /// Seconds that a client is told to stay away, at most.
    static let longestRetryAfter = 60

    public init(
        health: HealthRule = HealthRule(), ejection: EjectionRule = EjectionRule(), slowStart: Duration = .zero,
        queue: Int = 1000, retryBudgetPercent: Int = 20, patience: Duration = .seconds(30),
        recovery: Duration = .seconds(6)
    ) {
        self.health = health
        self.ejection = ejection
        self.slowStart = slowStart
        self.queue = queue
        self.retryBudgetPercent = retryBudgetPercent
        self.patience = patience
        self.recovery = recovery
    }
}

/// What became of a request for a slot.
public enum Choice: Sendable, Equatable {
    /// The slot is the request's; give it back by `finished`.
    case slot(Slot)
    /// The request is in line; a `Grant` with this ticket follows, or `leave`.
    case queued(Ticket)
    /// All slots are taken, and the line is full or closed to this request.
    case full
    /// No server can serve now.
    case noServer
    /// Too many retries are running already, and this one does not wait.
    case budgetSpent
}

/// A slot for a waiter. It counts from now on, however long the message travels.
public struct Grant: Sendable, Equatable {
    public let waiter: WaiterID
    public let ticket: Ticket
    public let slot: Slot
}

/// A server's state is another now.
public struct StateChange: Sendable, Equatable {
    /// The server's number.
    public let server: Int
    public let state: ServerState
}

/// What an event leads to besides its own answer; the caller carries it out after the lock.
public struct Aftermath: Sendable, Equatable {
    public var grants: [Grant] = []
    public var changes: [StateChange] = []
    /// Numbers of removed servers whose last request has ended.
    public var departed: [Int] = []
    /// Something has begun that ends by time: `tend` is to be called.
    public var isTimed = false
    /// Whether any server can serve now, where that has changed.
    public var canServe: Bool?
    public init() {}

    public var isEmpty: Bool { grants.isEmpty && changes.isEmpty && departed.isEmpty && !isTimed && canServe == nil }
}
