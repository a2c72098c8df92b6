// Every policy by the name that a configuration gives it. A new policy is one file and one row here.

/// The policies there are.
public enum PolicyCatalog {
    public struct Row: Sendable {
        /// The word behind `balance =`.
        public let name: String
        public let help: String
        public let make: @Sendable ([Server]) -> any BalancingPolicy
    }

    public static let rows: [Row] = [
        Row(name: "least-connections", help: "the server with the fewest requests in flight for its weight") {
            LeastConnections($0)
        },
        Row(name: "round-robin", help: "each server in turn, as often as its weight says") { WeightedRoundRobin($0) },
        Row(name: "weighted", help: "the same as round-robin") { WeightedRoundRobin($0) },
        Row(name: "random", help: "the less loaded of two drawn by weight") { TwoChoices($0) },
        Row(name: "ip-hash", help: "the same server for the same client address") {
            IPHash($0)
        },
    ]

    public static let defaultName = "least-connections"

    /// The policy called `name`; nil when there is none.
    public static func make(_ name: String, _ servers: [Server]) -> (any BalancingPolicy)? {
        rows.first { $0.name == name }?.make(servers)
    }
}
