// Connections to one server that wait for their next request. The one used last is leased first, so that the rest may
// grow old and go.

struct IdleConnections {
    private var stack: [ServerConnection] = []

    /// Takes in a connection; false when there are `limit`, and the caller closes it.
    mutating func add(_ connection: ServerConnection, limit: Int) -> Bool {
        guard stack.count < limit else { return false }
        stack.append(connection)
        return true
    }

    mutating func lease() -> ServerConnection? { stack.popLast() }

    mutating func remove(_ connection: ServerConnection) { stack.removeAll { $0 === connection } }
}
