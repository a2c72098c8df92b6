// What is told of the difference between two configurations.
import Addresses
import Balancing
import Testing

@testable import Configuration

/// The effective settings of `text`; every server resolved to loopback, so that its port tells it from others.
private func effective(_ text: String, secret: String = "") throws -> EffectiveSettings {
    let sources = ConfigurationSources(
        read: { path in Array((path == "main.ini" ? text : secret).utf8) }, names: { _ in [] },
        environment: { _ in nil })
    var loader = SettingsLoader(sources: sources)
    guard case .loaded(let settings) = loader.load("main.ini") else {
        Issue.record("refused: \(text)")
        throw SettingsError(Position(file: "main.ini", line: 0, column: 0), "refused")
    }
    let servers = settings.backends.map { backend in
        backend.servers.map { server in
            Server(
                name: server.name ?? server.authority, endpoint: Endpoint(.loopback, port: server.port),
                weight: server.weight, maxconn: server.maxconn ?? backend.maxconn, isBackup: server.isBackup,
                isDisabled: server.isDisabled)
        }
    }
    return loader.effective.with(servers: servers, of: settings)
}

private func changes(_ old: String, _ new: String) throws -> [String] {
    try effective(old).changes(to: try effective(new))
}

@Suite struct ChangesTests {
    private static let start = """
        listen = :80
        [backend predict]
        maxconn = 10
        server = gpu1 a:1
        server = gpu2 a:2

        """

    @Test func serversAndLimits() throws {
        let new = """
            listen = :80
            [backend predict]
            maxconn = 12
            server = gpu1 a:1
            server = gpu4 a:4

            """
        #expect(try changes(Self.start, new) == ["predict: + gpu4, - gpu2, maxconn 10 → 12"])
    }

    @Test(arguments: [
        ("", []), ("# the same\n", []),
        ("server = gpu3 a:3\n", ["predict: + gpu3"]),
        ("queue = 5\n", ["predict: queue 1000 → 5"]),
        ("path = /v1 /v2\n", ["predict: + path /v1 /v2"]),
        ("listen = :81\n", ["predict: + listen :81"]),
        ("health-host = x\n", ["predict: health-host none → x"]),
        ("retry-on = connect 503\n", ["predict: retry-on connect reset → connect 503"]),
        ("timeout-idle = 5m\n", []),
        ("[stats]\nlisten = off\n", ["stats: + listen off, - listen 127.0.0.1:8404"]),
    ]) func oneMore(_ line: String, _ expected: [String]) throws {
        #expect(try changes(Self.start, Self.start + line) == expected)
        #expect(try changes(Self.start + line, Self.start).count == expected.count)
    }

    @Test(arguments: [
        ("gpu1 a:1", "gpu1 a:9", "gpu1 127.0.0.1:1 → 127.0.0.1:9"),
        ("gpu1 a:1", "gpu1 a:1 weight=3", "gpu1 weight 1 → 3"),
        ("gpu1 a:1", "gpu1 a:1 maxconn=3", "gpu1 maxconn 10 → 3"),
        ("gpu1 a:1", "gpu1 a:1 backup", "gpu1 backup"),
        ("gpu1 a:1", "gpu1 a:1 disabled", "gpu1 disabled"),
    ]) func optionsOfOneServer(_ old: String, _ new: String, _ expected: String) throws {
        let text = Self.start.split(separator: old).joined(separator: new)
        #expect(try changes(Self.start, text) == ["predict: \(expected)"])
    }

    @Test func whereASettingStandsIsNoDifference() throws {
        let moved = """
            listen = :80
            maxconn = 10
            [backend predict]
            server = gpu1 a:1
            server = gpu2 a:2

            """
        #expect(try changes(Self.start, moved) == [])
        // A default of all backends is told where it takes effect.
        #expect(try changes(moved, "queue = 7\n" + moved) == ["predict: queue 1000 → 7"])
        #expect(try changes(moved, "log-level = debug\n" + moved) == ["global: log-level info → debug"])
    }

    @Test func backendsComeAndGo() throws {
        let other = Self.start + "path = /predict\n[backend chat]\nserver = one a:5\nserver = two a:6\n"
        #expect(
            try changes(Self.start, other) == ["predict: + path /predict", "+ backend chat: one two"])
        #expect(try changes(other, Self.start) == ["- backend chat", "predict: - path /predict"])
        #expect(
            try changes("listen = :80\nservers = a:1\n", Self.start)
                == ["- backend default", "+ backend predict: gpu1 gpu2"])
    }

    @Test func aFleetIsNotListedWhole() throws {
        let fleet = "listen = :80\nservers = " + (1...500).map { "a:\($0)" }.joined(separator: " ") + "\n"
        let line = try #require(try changes("listen = :80\nservers = a:1\n", fleet).first)
        #expect(line.hasPrefix("default: + a:2, + a:3, "))
        #expect(line.hasSuffix("+ a:21, and 479 more"))
        let maxconn = try changes(fleet, "maxconn = 3\n" + fleet)
        #expect(maxconn == ["default: maxconn 0 → 3"])
    }

    @Test func secretsAreComparedAndNeverShown() throws {
        let text = "listen = :80\nservers = a:1\nvia = ${file:secret}\n"
        let old = try effective(text, secret: "hidden1")
        #expect(old.changes(to: try effective(text, secret: "hidden1")) == [])
        #expect(old.changes(to: try effective(text, secret: "hidden2")) == ["global: via *** → ***"])
    }
}
