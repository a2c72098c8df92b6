// How fast requests finish, for telling a client when to come again. It never reads a clock.

/// Requests finished lately, in ten spans of a little more than a second.
struct DrainRate: Sendable {
    private static let spans = 10
    /// A span is 2^60 attoseconds: a shift tells which one a time lies in.
    private static let spanShift = 60
    private var counts = InlineArray<10, Int>(repeating: 0)
    private var current = -Self.spans
    /// The first request after a time without any finished then.
    private var since = Duration.zero

    mutating func count(_ now: Duration) {
        advance(now)
        counts[current % Self.spans] += 1
    }

    /// How long `waiting` requests take to finish, in whole seconds, at least 1; nil when none has finished lately.
    mutating func time(for waiting: Int, now: Duration) -> Int? {
        advance(now)
        var finished = 0
        for index in 0..<Self.spans { finished += counts[index] }
        guard finished > 0 else { return nil }
        // Of a time that began lately, only the part that has passed says something.
        let spent = min(Duration(attoseconds: Int128(Self.spans) << Self.spanShift), max(.seconds(1), now - since))
        return max(1, Int((Double(waiting) * (spent / .seconds(1)) / Double(finished)).rounded(.up)))
    }

    private mutating func advance(_ now: Duration) {
        let span = Int(truncatingIfNeeded: now.attoseconds >> Self.spanShift)
        guard span > current else { return }
        if span - current > Self.spans { since = now }
        for step in max(0, current + 1, span - Self.spans + 1)...span { counts[step % Self.spans] = 0 }
        current = span
    }
}
