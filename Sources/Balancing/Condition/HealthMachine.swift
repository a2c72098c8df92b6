// A server's health as checks tell it: results in, state out. It never makes a check and never reads a clock.

/// What one check found.
public enum CheckVerdict: Sendable, Equatable {
    case passed
    /// An answer that says no, or none because the server refused or hung up.
    case failed
    /// No answer in time: a server that is frozen, or one that works.
    case timedOut
}

/// What health checks say about a server.
public enum HealthState: Sendable, Equatable {
    /// No verdict yet.
    case starting
    case up
    /// It answers no checks, but it has requests to work on.
    case busy
    case down
}

/// When checks change a server's state.
public struct HealthRule: Sendable, Equatable {
    /// Without checks a server is up for good.
    public var isChecked: Bool
    /// Passes in a row that bring a server back, and failures in a row that take it out; at least 1.
    public var rise: Int
    public var fall: Int
    /// How long a busy server may send nothing at all before it counts as down.
    public var busy: Duration

    public init(isChecked: Bool = true, rise: Int = 2, fall: Int = 3, busy: Duration = .seconds(300)) {
        self.isChecked = isChecked
        self.rise = rise
        self.fall = fall
        self.busy = busy
    }
}

/// Turns check results into a state that does not flap. The first verdict counts at once.
///
/// A check that times out on a server with requests in flight makes it busy, not down: a long prompt keeps some engines
/// from answering anything else. It is up again at the first pass, and down after `busy` without a byte from it.
struct HealthMachine: Sendable {
    private(set) var state: HealthState
    private var rule: HealthRule
    /// Results in a row that contradict `state`.
    private var streak = 0
    private var busySince = Duration.zero

    init(_ rule: HealthRule) {
        self.rule = rule
        state = rule.isChecked ? .starting : .up
    }

    /// Goes on under another rule.
    mutating func take(_ rule: HealthRule) {
        self.rule = rule
        // Without checks nothing would ever bring it back.
        if !rule.isChecked, state != .up { _ = change(to: .up) }
    }

    /// Takes in one check's result; true when the state changed.
    /// - Parameters:
    ///   - isWorking: the server has requests in flight.
    ///   - lastByte: when the server last sent anything for a request.
    mutating func record(_ verdict: CheckVerdict, isWorking: Bool, lastByte: Duration, now: Duration) -> Bool {
        switch (state, verdict) {
        case (.starting, _):
            return change(to: verdict == .passed ? .up : .down)
        case (.up, .passed), (.down, .failed), (.down, .timedOut):
            streak = 0
            return false
        case (.up, .timedOut) where isWorking:
            busySince = now
            return change(to: .busy)
        case (.up, .failed), (.up, .timedOut), (.busy, .failed):
            return advance(to: .down, after: rule.fall)
        case (.busy, .passed):
            return change(to: .up)
        case (.busy, .timedOut):
            guard isWorking else { return advance(to: .down, after: rule.fall) }
            return now - max(busySince, lastByte) >= rule.busy ? change(to: .down) : false
        case (.down, .passed):
            return advance(to: .up, after: rule.rise)
        }
    }

    private mutating func advance(to next: HealthState, after needed: Int) -> Bool {
        streak += 1
        return streak >= needed ? change(to: next) : false
    }

    private mutating func change(to next: HealthState) -> Bool {
        streak = 0
        state = next
        return true
    }
}
