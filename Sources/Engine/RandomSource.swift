// Numbers for request ids and jitter, repeatable from a seed. It is no source of secrets.

/// A counter mixed by a bijection (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): no number
/// comes twice within 2^64.
struct RandomSource {
    private let seed: UInt64
    private var counter: UInt64

    init(seed: UInt64) {
        self.seed = Self.mix(seed)
        counter = seed
    }

    mutating func next() -> UInt64 {
        counter &+= 0x9e37_79b9_7f4a_7c15
        return Self.mix(counter)
    }

    /// 128 bits: the half that tells sources apart, and the half that tells one source's ids apart.
    mutating func nextID() -> (high: UInt64, low: UInt64) { (seed, next()) }

    private static func mix(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
