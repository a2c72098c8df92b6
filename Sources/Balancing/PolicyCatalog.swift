// Every policy by the name that a configuration gives it. A new policy is one file and one row here.

/// The policies there are.
public enum PolicyCatalog {
    public struct Row: Sendable {
        /// The word behind `balance =`.
        public let name: String
        public let help: String
        public let make: @Sendable () -> any BalancingPolicy
    }

    public static let rows: [Row] = [
        Row(name: "least-connections", help: "the server with the fewest requests in flight") { LeastConnections() },
        Row(name: "round-robin", help: "each server in turn") { RoundRobin() },
    ]

    public static let defaultName = "least-connections"

    /// The policy called `name`; nil when there is none.
    public static func make(_ name: String) -> (any BalancingPolicy)? {
        rows.first { $0.name == name }?.make()
    }
}
