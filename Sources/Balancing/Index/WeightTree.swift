// A draw by weight among a fixed number of indexes (Fenwick: A New Data Structure for Cumulative Frequency Tables, 1994).
// It draws no random number itself.

/// Weights with their sum; changing one and finding the index that a number falls on are logarithmic.
struct WeightTree: Sendable {
    private var weights: [Int]
    /// Sums of runs of weights, from 1; the run that ends at `i` is as long as the lowest set bit of `i`.
    private var sums: [Int]
    private(set) var total = 0

    init(count: Int) {
        weights = Array(repeating: 0, count: count)
        sums = Array(repeating: 0, count: count + 1)
    }

    subscript(index: Int) -> Int { weights[index] }

    mutating func set(_ index: Int, _ weight: Int) {
        let change = weight - weights[index]
        weights[index] = weight
        total += change
        var position = index + 1
        while position < sums.count {
            sums[position] += change
            position += position & -position
        }
    }

    /// The index that `number`, from 0 up to below `total`, falls on.
    func index(at number: Int) -> Int {
        var step = 1
        while step * 2 < sums.count { step *= 2 }
        var position = 0
        var rest = number
        while step > 0 {
            if position + step < sums.count, sums[position + step] <= rest {
                position += step
                rest -= sums[position]
            }
            step /= 2
        }
        return position
    }

    /// Takes the weight of the excluded away; `show` with the result gives it back.
    mutating func hide(_ exclusions: Exclusions) -> InlineArray<8, Int> {
        var hidden = InlineArray<8, Int>(repeating: 0)
        for position in 0..<exclusions.count where exclusions[position] < weights.count {
            hidden[position] = weights[exclusions[position]]
            set(exclusions[position], 0)
        }
        return hidden
    }

    mutating func show(_ exclusions: Exclusions, _ hidden: InlineArray<8, Int>) {
        for position in 0..<exclusions.count where exclusions[position] < weights.count {
            set(exclusions[position], hidden[position])
        }
    }
}
