// From a request's host and path to a backend. It never decodes a path: what is compared is what is forwarded.
import Configuration
import HTTP

/// The routes of a configuration: the longest path that fits wins, then the more exact host.
struct Router: Sendable {
    private enum HostRule: Int, Sendable { case any, oneLabel, exact }

    private struct Route: Sendable {
        var hostRule: HostRule
        /// In lower case; for `oneLabel` from the dot on.
        var host: [UInt8]
        /// Without a slash at the end; empty for every path.
        var path: [UInt8]
        var backend: Int
    }

    /// In the order in which they are tried.
    private let routes: [Route]
    /// Where every request goes, when there is nothing to compare.
    let only: Int?
    private let hasPaths: Bool

    init(_ backends: [BackendSettings]) {
        var routes: [Route] = []
        for (index, backend) in backends.enumerated() where backend.isRouted {
            for host in backend.hosts.isEmpty ? [""] : backend.hosts {
                for path in backend.paths.isEmpty ? [""] : backend.paths {
                    let isWild = host.hasPrefix("*.")
                    routes.append(
                        Route(
                            hostRule: host.isEmpty ? .any : isWild ? .oneLabel : .exact,
                            host: Array((isWild ? host.dropFirst(1) : host[...]).utf8), path: Array(path.utf8),
                            backend: index))
                }
            }
        }
        // Sorting is stable in effect: no two routes are equal.
        routes.sort { left, right in
            left.path.count != right.path.count
                ? left.path.count > right.path.count
                : left.hostRule.rawValue != right.hostRule.rawValue
                    ? left.hostRule.rawValue > right.hostRule.rawValue : left.backend < right.backend
        }
        self.routes = routes
        hasPaths = routes.contains { !$0.path.isEmpty }
        only = routes.count == 1 && routes[0].path.isEmpty && routes[0].hostRule == .any ? routes[0].backend : nil
    }

    /// The backend of a request where there is something to compare; nil when none serves it.
    /// - Throws: `ambiguousPath` where a server might read another path than the one compared here.
    func route(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) throws(ProtocolError) -> Int? {
        let target = bytes.extracting(head.target.indices)
        let path = target.extracting(0..<Self.pathEnd(target))
        if hasPaths, Self.isAmbiguous(path) { throw .ambiguousPath }
        let field = bytes.extracting(head.effectiveHost.indices)
        let host = field.extracting(0..<Self.hostEnd(field))
        for route in routes where Self.fits(route.path, path) && Self.fits(route, host) { return route.backend }
        return nil
    }

    /// The host that a request is for, in lower case, without its port and without a dot at its end.
    static func hostName(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) -> [UInt8] {
        let host = bytes.extracting(head.effectiveHost.indices)
        var name: [UInt8] = []
        for index in 0..<hostEnd(host) { name.append(lower(host[index])) }
        return name
    }

    private static func pathEnd(_ target: Span<UInt8>) -> Int {
        for index in target.indices where target[index] == UInt8(ascii: "?") { return index }
        return target.count
    }

    /// Prefixes end at a slash or at the path's end: `/predict` is not `/predictions`.
    private static func fits(_ prefix: [UInt8], _ path: Span<UInt8>) -> Bool {
        guard path.count >= prefix.count else { return false }
        for index in prefix.indices where path[index] != prefix[index] { return false }
        return path.count == prefix.count || prefix.isEmpty || path[prefix.count] == UInt8(ascii: "/")
    }

    private static func fits(_ route: Route, _ host: Span<UInt8>) -> Bool {
        switch route.hostRule {
        case .any:
            return true
        case .exact:
            return host.count == route.host.count && endsWith(host, route.host)
        case .oneLabel:
            guard host.count > route.host.count, endsWith(host, route.host) else { return false }
            for index in 0..<(host.count - route.host.count) where host[index] == UInt8(ascii: ".") { return false }
            return true
        }
    }

    private static func endsWith(_ host: Span<UInt8>, _ name: [UInt8]) -> Bool {
        guard host.count >= name.count else { return false }
        let start = host.count - name.count
        for index in name.indices where lower(host[start + index]) != name[index] { return false }
        return true
    }

    private static func lower(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte }

    /// Where the host ends, without its port and without the dot at its end.
    private static func hostEnd(_ host: Span<UInt8>) -> Int {
        var end = host.count
        var index = end
        while index > 0, host[index - 1] >= 0x30, host[index - 1] <= 0x39 { index -= 1 }
        if index > 0, host[index - 1] == UInt8(ascii: ":") { end = index - 1 }
        if end > 0, host[end - 1] == UInt8(ascii: ".") { end -= 1 }
        return end
    }

    /// Dot segments, `%00`, `%2e`, `%2f`, `%5c` and backslashes: servers read different paths there (RFC 3986, 6.2.2).
    private static func isAmbiguous(_ path: Span<UInt8>) -> Bool {
        var segmentStart = 0
        for index in path.indices {
            switch path[index] {
            case UInt8(ascii: "/"):
                if isDots(path, segmentStart, index) { return true }
                segmentStart = index + 1
            case UInt8(ascii: "\\"):
                return true
            case UInt8(ascii: "%") where index + 2 < path.count:
                switch (path[index + 1], lower(path[index + 2])) {
                case (0x30, 0x30), (0x32, 0x65), (0x32, 0x66), (0x35, 0x63): return true
                case _: break
                }
            case _: break
            }
        }
        return isDots(path, segmentStart, path.count)
    }

    private static func isDots(_ path: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
        guard end - start == 1 || end - start == 2 else { return false }
        for index in start..<end where path[index] != UInt8(ascii: ".") { return false }
        return true
    }
}
