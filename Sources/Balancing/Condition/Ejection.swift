// Ejection: a server whose requests fail in a row is left out for a while, whatever its checks say.
// It never counts other servers; whether one more may be ejected is the caller's knowledge.

/// How one attempt on a server ended, as ejection sees it.
public enum AttemptResult: Sendable, Equatable {
    /// A response that speaks for the server.
    case good
    /// One of the causes of `eject-on`.
    case bad
    /// Says nothing about the server: its client left, or a kept connection turned out stale.
    case neutral
}

/// When a server is ejected, and for how long.
public struct EjectionRule: Sendable, Equatable {
    /// Bad results in a row; 0 never ejects.
    public var after: Int
    /// The first ejection lasts this long, each further one twice as long, up to `longest`.
    public var base: Duration
    /// Of the servers, at most these parts of 100 are ejected at a time.
    public var limitPercent: Int

    public static let longest = Duration.seconds(300)

    public init(after: Int = 5, base: Duration = .seconds(10), limitPercent: Int = 50) {
        self.after = after
        self.base = base
        self.limitPercent = limitPercent
    }
}

struct Ejection: Sendable {
    enum State: Sendable, Equatable {
        case none
        case ejected(until: Duration)
        /// Its time is over: one request at a time tries it.
        case trial
    }

    private(set) var state = State.none
    /// It may change: an ejection under way keeps its end.
    var rule: EjectionRule
    private var streak = 0
    /// Ejections that followed one another closely.
    private var times = 0
    private var endedAt = Duration.zero

    init(_ rule: EjectionRule) { self.rule = rule }

    /// A good result would change nothing.
    var isCalm: Bool { state == .none && streak == 0 }

    /// When the state changes by itself.
    var nextChange: Duration? {
        if case .ejected(let until) = state { return until }
        return nil
    }

    /// Takes in how an attempt ended; true when the state changed. While it is on trial, that is the trial's own end.
    /// - Parameter mayEject: whether enough other servers are left; asked only when it matters.
    mutating func record(_ result: AttemptResult, mayEject: () -> Bool, now: Duration) -> Bool {
        switch (state, result) {
        case (_, .neutral), (.ejected, _):
            return false
        case (.none, .good):
            streak = 0
            return false
        case (.none, .bad):
            streak += 1
            guard rule.after > 0, streak >= rule.after, mayEject() else { return false }
            // Ejections that follow one another closely grow; after a long good time they begin anew.
            if now - endedAt > EjectionRule.longest { times = 0 }
            return eject(now)
        case (.trial, .good):
            end(now)
            return true
        case (.trial, .bad):
            return eject(now)
        }
    }

    private mutating func eject(_ now: Duration) -> Bool {
        let factor = 1 << min(times, 10)
        times += 1
        streak = 0
        state = .ejected(until: now + min(rule.base * factor, max(rule.base, EjectionRule.longest)))
        return true
    }

    private mutating func end(_ now: Duration) {
        state = .none
        streak = 0
        endedAt = now
    }

    /// Time has passed; true when the state changed.
    mutating func tend(_ now: Duration) -> Bool {
        guard case .ejected(let until) = state, until <= now else { return false }
        state = .trial
        return true
    }

    /// The server went down and came up: what it did before says nothing any more.
    mutating func forget() {
        state = .none
        streak = 0
        times = 0
    }
}
