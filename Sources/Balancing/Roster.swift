// Who belongs to a backend, prepared beside its lock: every server's number and the policy over them. It never counts
// requests.
import Addresses
import Synchronization

/// Numbers of a backend's servers, never given twice: the low half is the server's place, which another server may take
/// over once all requests of the last one have ended.
public enum ServerNumber {
    private static let shift = 32

    static func make(place: Int, roster: Int) -> Int { roster << shift | place }

    /// The place of the server with this number: below the number of servers that the backend had at most at a time.
    public static func place(_ number: Int) -> Int { number & (1 << shift - 1) }
}

/// The servers of a backend from a change of its configuration on. Made by `Backend.prepare`, adopted at most once: what
/// is large in it goes over to the backend as it is, and what the backend had comes back: with thousands of servers,
/// copying and freeing take milliseconds, in which nobody could choose.
public final class Roster: Sendable {
    /// Each server's number, in the order of the configuration.
    public let numbers: [Int]
    let rules: BackendRules
    private let content: Mutex<Content>

    struct Content: Sendable {
        /// By place: what is known of a server that is new. Where no member of this roster stands, nobody.
        var places: [ServerCondition]
        var entries: [Admission.Entry]
        /// By tier.
        var policies: [any BalancingPolicy]
    }

    /// - Parameters:
    ///   - numbers: of `servers`.
    ///   - placeCount: of the backend until now.
    init(
        numbers: [Int], of servers: [Server], placeCount: Int, rules: BackendRules,
        policy make: ([Server]) -> any BalancingPolicy
    ) {
        let nobody = Server(name: "", endpoint: Endpoint(.anyIPv4, port: 0), weight: 0)
        let count = max(placeCount, numbers.map { ServerNumber.place($0) + 1 }.max() ?? 0)
        var places = [ServerCondition](repeating: ServerCondition(nobody, rules), count: count)
        var entries = [Admission.Entry](repeating: Admission.Entry(number: 0), count: count)
        for place in places.indices { places[place].isMember = false }
        for (number, server) in zip(numbers, servers) {
            places[ServerNumber.place(number)] = ServerCondition(server, rules)
            entries[ServerNumber.place(number)].number = number
        }
        let policies = Array(repeating: make(places.map(\.server)), count: Tier.allCases.count)
        self.numbers = numbers
        self.rules = rules
        content = Mutex(Content(places: places, entries: entries, policies: policies))
    }

    /// Calls `body` with what goes over, which it may exchange.
    func exchange(_ body: (inout Content) -> Void) { content.withLock { body(&$0) } }
}

/// A place as the last roster left it.
struct Tenancy: Sendable {
    var number: Int
    var name: String
    var endpoint: Endpoint
    var secureName: String?
    /// Requests of a server that belongs to the backend no more still run there.
    var isTaken: Bool
}

extension Roster {
    /// Gives a place to each of `servers`: its own to one that is known by name and endpoint, a vacant one to another.
    /// - Parameter serial: of this roster, never used before.
    static func places(for servers: [Server], in tenancies: [Tenancy], serial: Int) -> [Int] {
        // Sorted, because with thousands of servers a search through all of them for each takes seconds.
        let known = tenancies.indices.filter { tenancies[$0].isTaken }.sorted {
            tenancies[$0].name < tenancies[$1].name
        }
        var vacant = tenancies.indices.filter { !tenancies[$0].isTaken }[...]
        var end = tenancies.count
        return servers.map { server in
            var position = known.partitioningIndex { tenancies[$0].name >= server.name }
            while position < known.count, tenancies[known[position]].name == server.name {
                let place = known[position]
                if tenancies[place].endpoint == server.endpoint, tenancies[place].secureName == server.secureName {
                    return tenancies[place].number
                }
                position += 1
            }
            if let place = vacant.popFirst() { return ServerNumber.make(place: place, roster: serial) }
            end += 1
            return ServerNumber.make(place: end - 1, roster: serial)
        }
    }
}

extension [Int] {
    /// The first position from which on `isBehind` holds; it must hold for none before.
    fileprivate func partitioningIndex(_ isBehind: (Int) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isBehind(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
