// Connections to servers that wait for their next request, by server. The one used last is leased first, so that the
// rest may grow old and go.

struct IdleConnections {
    /// By backend, then by server.
    private var stacks: [[[ServerConnection]]]
    private let limits: [Int]

    /// - Parameter limits: connections kept for each server, by backend.
    init(serverCounts: [Int], limits: [Int]) {
        stacks = serverCounts.map { Array(repeating: [], count: $0) }
        self.limits = limits
    }

    /// Takes in a connection; false when there are enough, and the caller closes it.
    mutating func add(_ connection: ServerConnection) -> Bool {
        guard stacks[connection.backend][connection.server].count < limits[connection.backend] else { return false }
        stacks[connection.backend][connection.server].append(connection)
        return true
    }

    mutating func lease(backend: Int, server: Int) -> ServerConnection? {
        stacks[backend][server].popLast()
    }

    mutating func remove(_ connection: ServerConnection) {
        stacks[connection.backend][connection.server].removeAll { $0 === connection }
    }

    var count: Int { stacks.joined().reduce(0) { $0 + $1.count } }
    var all: [ServerConnection] { Array(stacks.joined().joined()) }
}
