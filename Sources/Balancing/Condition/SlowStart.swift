// Slow start: a server that comes back is given its full part little by little, because a cold engine is a slow one.

struct SlowStart: Sendable {
    private var length: Duration
    private var startedAt: Duration?

    /// Steps in which a server gets to its full part.
    private static let steps = 20

    /// - Parameter length: zero is none.
    init(_ length: Duration) { self.length = length }

    /// Goes on with another length; zero ends it.
    mutating func take(_ length: Duration) {
        self.length = length
        if length == .zero { startedAt = nil }
    }

    mutating func start(_ now: Duration) { startedAt = length == .zero ? nil : now }

    /// When the part grows again.
    func nextChange(_ now: Duration) -> Duration? { startedAt == nil ? nil : now + length / Self.steps }

    /// Time has passed; true when the part may have changed.
    mutating func tend(_ now: Duration) -> Bool {
        guard let start = startedAt else { return false }
        if now - start >= length { startedAt = nil }
        return true
    }

    /// Its part of `whole` now, at least 1 where `whole` is.
    func part(of whole: Int, _ now: Duration) -> Int {
        guard let start = startedAt, whole > 0 else { return whole }
        let step = min(Self.steps, Int((now - start) / (length / Self.steps)) + 1)
        return max(1, whole * step / Self.steps)
    }
}
