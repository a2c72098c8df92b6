// One replica as the configuration names it. What it is doing now stands in the Admission, under the backend's lock.
public import Addresses

/// A server of a backend. Name, endpoint and how it is secured are its identity, over reloads too; the rest may change.
public struct Server: Sendable, Equatable {
    public let name: String
    public let endpoint: Endpoint
    /// The name that it has to prove over TLS; nil of one whose connections are plain.
    public let secureName: String?
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
        name: String, endpoint: Endpoint, secureName: String? = nil, weight: Int = 1, maxconn: Int = 0,
        isBackup: Bool = false, isDisabled: Bool = false
    ) {
        self.name = name
        self.endpoint = endpoint
        self.secureName = secureName
        self.weight = weight
        self.maxconn = maxconn
        self.isBackup = isBackup
        self.isDisabled = isDisabled
    }
}
