// Routes: the longest path, then the more exact host, and no path that servers read in two ways.
import Configuration
import HTTP
import Testing

@testable import Engine

private func router(_ rules: [(hosts: [String], paths: [String])]) -> Router {
    Router(
        rules.enumerated().map { index, rule in
            var backend = BackendSettings(name: "b\(index)")
            backend.hosts = rule.hosts
            backend.paths = rule.paths
            return backend
        })
}

private func route(_ router: Router, _ target: String, host: String = "a") throws -> Int? {
    let bytes = Array("GET \(target) HTTP/1.1\r\nHost: \(host)\r\n\r\n".utf8)
    var parser = RequestParser()
    var head = MessageHead()
    #expect(try parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head) == true)
    return try router.route(head, bytes.span)
}

@Suite struct RouterTests {
    private let paths = router([([], []), ([], ["/v1"]), ([], ["/v1/chat", "/predict"]), (["*.x.test"], ["/v1"])])

    @Test(arguments: [
        ("/", "a", 0), ("/v1", "a", 1), ("/v1/", "a", 1), ("/v1?x", "a", 1), ("/v10", "a", 0), ("/v1/chat", "a", 2),
        ("/v1/chat/x", "a", 2), ("/v1/chats", "a", 1), ("/predict", "a", 2), ("/?/predict", "a", 0), ("/V1", "a", 0),
        ("/v1", "b.x.test", 3), ("/v1/chat", "b.x.test", 2), ("/v1", "x.test", 1), ("/v1", "c.b.x.test", 1),
        ("/v1", "B.X.Test:8080", 3), ("/v1", "b.x.test.", 3), ("/v1", "b.x.test.:80", 3),
        ("http://b.x.test/v1", "other", 3), ("http://a", "b.x.test", 0),
    ]) func theLongestPathThenTheExactHost(_ target: String, _ host: String, _ backend: Int) throws {
        #expect(try route(paths, target, host: host) == backend)
    }

    @Test(arguments: [
        "/..", "/v1/../x", "/./v1", "/v1/.", "/v1/%2e%2e/x", "/v1%2Fchat", "/v1/%2E", "/a%5cb", "/v1/%5C?ok", "/v1/%00",
    ]) func pathsThatServersReadInTwoWaysAreRefused(_ target: String) {
        #expect(throws: ProtocolError.ambiguousPath) { try route(paths, target) }
        // Where no path is compared, every path passes as it is.
        #expect(throws: Never.self) { try route(router([([], [])]), target) }
    }

    @Test(arguments: ["/v1/...", "/v1/a..b", "/?/../", "/v1/.well-known"])
    func whatOnlyLooksLikeItPasses(_ target: String) {
        #expect(throws: Never.self) { try route(paths, target) }
    }

    @Test func hostsAlone() throws {
        let hosts = router([(["a.test"], []), (["*.test"], []), (["[::1]"], [])])
        #expect(try route(hosts, "/", host: "a.test") == 0)
        #expect(try route(hosts, "/", host: "b.test") == 1)
        #expect(try route(hosts, "/", host: "[::1]:80") == 2)
        #expect(try route(hosts, "/", host: "test") == nil)
        // Without any path to compare, dots are the servers' affair.
        #expect(try route(hosts, "/../x", host: "a.test") == 0)
    }
}
