// The contract of a policy: which server takes the next request. Policies never count requests and never watch health.

/// Picks servers for requests. One instance per backend, used under the backend's lock only.
///
/// A policy's laws, which the law tests hold every policy to: it returns nil only when no server can take the request;
/// it never returns a server that cannot; it never traps, whatever the roster.
public protocol BalancingPolicy: Sendable {
    init()

    /// The server for the next request, or nil when none can take it. At most linear in the number of servers.
    mutating func pick(from roster: Roster, excluding exclusions: Exclusions) -> Int?
}
