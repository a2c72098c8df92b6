// Random choices that a seed repeats. Every choice of a simulated run comes from here.

/// A repeatable source of choices.
public struct Seed: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x1234_5678 }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    public mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
    public mutating func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    public mutating func pick<T>(_ choices: [T]) -> T { choices[Int.random(in: 0..<choices.count, using: &self)] }

    public mutating func milliseconds(_ range: ClosedRange<Int>) -> Duration {
        .microseconds(pick(range.lowerBound * 1000...range.upperBound * 1000))
    }

    /// A source of its own for a part, so that parts do not disturb each other's choices.
    public mutating func split() -> Seed { Seed(next()) }
}
