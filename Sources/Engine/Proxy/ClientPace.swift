// How fast a client sends its body and takes its response, as far as it is waited for. It sets no timer and moves no byte.

/// One exchange's client against the clock.
struct ClientPace {
    /// How long a client is waited for before it is judged.
    static let span = Duration.seconds(10)

    /// Since when bytes of the body are awaited; nil while none are.
    private var awaitsSince: Duration?
    /// How long they were, in all.
    private var awaited = Duration.zero
    /// When the last byte of the body came, or was first awaited.
    private var lastByte = Duration.zero

    private struct Reading {
        var began: Duration
        /// Bytes that its system had taken then, and when it was looked at last.
        var taken: Int
        var seen: Int
        var lastProgress: Duration
        var nextLook: Duration
    }

    /// Since its connection is full.
    private var reading: Reading?

    enum Verdict { case inTime, silent, slow }

    // MARK: Its body

    mutating func awaitBody(now: Duration) {
        guard awaitsSince == nil else { return }
        awaitsSince = now
        lastByte = now
    }

    mutating func stopAwaitingBody(now: Duration) {
        if let since = awaitsSince { awaited += now - since }
        awaitsSince = nil
    }

    /// Bytes of the body have come, `received` in all.
    /// - Parameter rate: bytes a second, 0 for none.
    mutating func bodyMoved(received: Int, rate: Int, now: Duration) -> Verdict {
        stopAwaitingBody(now: now)
        lastByte = now
        guard rate > 0, awaited >= Self.span else { return .inTime }
        return Double(received) < Double(rate) * (awaited / .seconds(1)) ? .slow : .inTime
    }

    func isSilent(_ limit: Duration, now: Duration) -> Bool { awaitsSince != nil && now - lastByte >= limit }

    // MARK: Its reading

    var isReadingWatched: Bool { reading != nil }

    /// - Parameters:
    ///   - taken: bytes that the client's system has taken so far.
    ///   - limit: how long it may take none.
    mutating func watchReading(taken: Int, limit: Duration, now: Duration) {
        reading = Reading(
            began: now, taken: taken, seen: taken, lastProgress: now, nextLook: now + Self.interval(limit))
    }

    /// Progress is seen at a look only: so often, that silence is told within a quarter more than `limit`.
    private static func interval(_ limit: Duration) -> Duration { min(limit, span) / 4 }

    mutating func stopWatchingReading() { reading = nil }

    /// Judges a client whose connection is still full.
    mutating func judgeReading(taken: Int, rate: Int, limit: Duration, now: Duration) -> Verdict {
        guard var reading else { return .inTime }
        if taken > reading.seen { reading.lastProgress = now }
        reading.seen = taken
        reading.nextLook = now + Self.interval(limit)
        defer { self.reading = reading }
        guard now - reading.lastProgress < limit else { return .silent }
        let time = now - reading.began
        // Who takes nothing is silent, not slow; windows open in steps.
        guard time >= Self.span, taken > reading.taken else { return .inTime }
        return Double(taken - reading.taken) < Double(rate) * (time / .seconds(1)) ? .slow : .inTime
    }

    /// When to look again.
    /// - Parameter limit: how long it may be silent.
    func nextLook(_ limit: Duration) -> Duration? {
        let body = awaitsSince.map { _ in lastByte + limit }
        guard let body, let reading else { return body ?? reading?.nextLook }
        return min(body, reading.nextLook)
    }
}
