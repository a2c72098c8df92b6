// One replica as the configuration names it. What it is doing now stands in the Admission, under the backend's lock.
public import Addresses

/// A server of a backend. Name and endpoint are its identity, over reloads too; the rest may change.
public struct Server: Sendable, Equatable {
    public let name: String
    public let endpoint: Endpoint
    /// Its share of the requests against the others' weights, 0 to `maximumWeight`; 0 takes no new ones.
    public var weight: Int
    /// Requests at once, at most; 0 is no limit.
    public var maxconn: Int
    /// Serves only while no other server can.
    public var isBackup: Bool
    /// Takes no request and is not checked.
    public var isDisabled: Bool

    public static let maximumWeight = 256

    public init(
        name: String, endpoint: Endpoint, weight: Int = 1, maxconn: Int = 0, isBackup: Bool = false,
        isDisabled: Bool = false
    ) {
        self.name = name
        self.endpoint = endpoint
        self.weight = weight
        self.maxconn = maxconn
        self.isBackup = isBackup
        self.isDisabled = isDisabled
    }
}
