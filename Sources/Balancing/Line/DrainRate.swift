// How fast requests finish, for telling a client when to come again. It never reads a clock.

/// Requests finished lately, in ten spans of a little more than a second.
struct DrainRate: Sendable {
    private static let spans = 10
    /// A span is 2^60 attoseconds: a shift tells which one a time lies in.
    private static let spanShift = 60
    private var counts = InlineArray<10, Int>(repeating: 0)
    private var current = -1

    mutating func count(_ now: Duration) {
        advance(now)
        counts[current % Self.spans] += 1
    }

    /// How long `waiting` requests take to finish, in whole seconds from 1 to `longest`; `longest` when none has finished
    /// lately.
    mutating func time(for waiting: Int, now: Duration, longest: Int) -> Int {
        advance(now)
        var finished = 0
        for index in 0..<Self.spans { finished += counts[index] }
        guard finished > 0 else { return longest }
        let span = Duration(attoseconds: 1 << Self.spanShift) / .seconds(1)
        let seconds = Double(waiting * Self.spans) * span / Double(finished)
        return max(1, Int(min(seconds.rounded(.up), Double(longest))))
    }

    private mutating func advance(_ now: Duration) {
        let span = Int(truncatingIfNeeded: now.attoseconds >> Self.spanShift)
        guard span > current else { return }
        for step in max(current + 1, span - Self.spans + 1)...span { counts[step % Self.spans] = 0 }
        current = span
    }
}
