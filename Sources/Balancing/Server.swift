// One replica as an identity. What it is doing now stands in the Roster, under the backend's lock.
public import Addresses

/// A server of a backend. Two servers with equal name and endpoint are the same one, over reloads too.
public struct Server: Hashable, Sendable {
    public let name: String
    public let endpoint: Endpoint

    public init(name: String, endpoint: Endpoint) {
        self.name = name
        self.endpoint = endpoint
    }
}
