// A server's health as checks tell it: results in, state out. It never makes a check and never reads a clock.

/// What health checks say about a server.
public enum HealthState: Sendable, Equatable {
    /// No verdict yet.
    case starting
    case up
    case down
}

/// Turns check results into a state that does not flap: `fall` failures in a row take a server out, `rise` passes in a
/// row bring it back. The first verdict counts at once.
public struct HealthMachine: Sendable {
    public private(set) var state: HealthState
    private let rise: Int
    private let fall: Int
    /// Results in a row that contradict `state`.
    private var streak = 0

    /// - Parameters:
    ///   - isChecked: without checks a server is up for good.
    ///   - rise, fall: at least 1.
    public init(isChecked: Bool, rise: Int, fall: Int) {
        state = isChecked ? .starting : .up
        self.rise = rise
        self.fall = fall
    }

    /// Takes in one check's result; true when the state changed.
    public mutating func record(passed: Bool) -> Bool {
        switch (state, passed) {
        case (.starting, _):
            state = passed ? .up : .down
            return true
        case (.up, true), (.down, false):
            streak = 0
            return false
        case (.up, false): return advance(to: .down, after: fall)
        case (.down, true): return advance(to: .up, after: rise)
        }
    }

    private mutating func advance(to next: HealthState, after needed: Int) -> Bool {
        streak += 1
        guard streak >= needed else { return false }
        streak = 0
        state = next
        return true
    }
}
