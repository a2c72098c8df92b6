import Foundation
import Testing

// A folder of configurations, each with the settings or the errors it must lead to, and laws of the schema.
@testable import Configuration

/// Files that live in memory.
private func sources(_ files: [String: String], environment: [String: String] = [:]) -> ConfigurationSources {
    struct Missing: Error, CustomStringConvertible { let description = "no such file" }
    return ConfigurationSources(
        read: { path in
            guard let text = files[path] else { throw Missing() }
            return Array(text.utf8)
        },
        names: { folder in
            files.keys.filter { $0.hasPrefix(folder + "/") }.map { String($0.dropFirst(folder.count + 1)) }.sorted()
        },
        environment: { environment[$0] })
}

private func load(_ text: String, files: [String: String] = [:], environment: [String: String] = [:]) -> LoadOutcome {
    var loader = SettingsLoader(sources: sources(files.merging(["main.ini": text]) { $1 }, environment: environment))
    return loader.load("main.ini")
}

private func settings(_ text: String, files: [String: String] = [:], environment: [String: String] = [:]) throws
    -> Settings
{
    switch load(text, files: files, environment: environment) {
    case .loaded(let settings): return settings
    case .refused(let errors):
        Issue.record("refused: \(errors.map(\.text).joined())")
        throw errors[0]
    }
}

private func errors(_ text: String, files: [String: String] = [:]) -> String {
    switch load(text, files: files) {
    case .loaded: "loaded"
    case .refused(let errors): errors.map(\.text).joined()
    }
}

private let minimal = "listen = :8080\nservers = a:1\n"

@Suite struct GoldenTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
        "Golden")
    static let names: [String] = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? [])
        .filter { $0.hasSuffix(".ini") }.sorted()

    @Test func goldensAreThere() { #expect(Self.names.count >= 10) }

    /// `NAME.ini` is read as `NAME.ini`; what is said of it stands in `NAME.expected`.
    @Test(arguments: names) func golden(_ name: String) throws {
        let text = try String(contentsOf: Self.folder.appendingPathComponent(name), encoding: .utf8)
        var loader = SettingsLoader(
            sources: sources([name: text], environment: ["HOME_SERVER": "10.9.9.9:1", "A": "x"]))
        let said =
            switch loader.load(name) {
            case .loaded: "valid\n"
            case .refused(let errors): errors.map(\.text).joined()
            }
        let expectedURL = Self.folder.appendingPathComponent(name.replacingOccurrences(of: ".ini", with: ".expected"))
        if ProcessInfo.processInfo.environment["BALLAST_WRITE_GOLDENS"] != nil {
            try said.write(to: expectedURL, atomically: true, encoding: .utf8)
        }
        #expect(said == (try String(contentsOf: expectedURL, encoding: .utf8)))
    }
}

@Suite struct DialectTests {
    @Test func twoLinesAreAWorkingBalancer() throws {
        let settings = try settings("listen  = :8080\nservers = 10.0.0.11:8000 10.0.0.12:8000 10.0.0.13:8000\n")
        #expect(settings.listeners.map(\.port) == [8080])
        #expect(settings.listeners[0].address == nil)
        #expect(settings.backends.count == 1)
        #expect(settings.backends[0].name == "default")
        #expect(settings.backends[0].servers.map(\.host) == ["10.0.0.11", "10.0.0.12", "10.0.0.13"])
        #expect(settings.backends[0].balance == "least-connections")
    }

    @Test func theCommandLineIsAConfigurationToo() throws {
        var loader = SettingsLoader(sources: sources([:]))
        guard case .loaded(let settings) = loader.load(listen: [":8080"], servers: ["a:1", "b:2"]) else {
            Issue.record("refused")
            return
        }
        #expect(settings.backends[0].servers.map(\.authority) == ["a:1", "b:2"])
        var bad = SettingsLoader(sources: sources([:]))
        guard case .refused(let errors) = bad.load(listen: ["8080"], servers: ["a:1"]) else {
            Issue.record("accepted")
            return
        }
        #expect(errors[0].text == "command line: error: '8080' is not [ADDRESS]:PORT; write :8080\n")
    }

    @Test func wordsQuotesAndComments() throws {
        let settings = try settings(
            "\u{feff}; a comment\r\nlisten = '127.0.0.1:80', \"[::1]:81\"  # both\r\n".replacingOccurrences(
                of: ", ", with: "\r\nlisten = ")
                + "servers = a#b:1,c:2 ;d:3\r\nvia = \"x\\\\y\"\r\n\r\n")
        #expect(settings.listeners.map(\.port) == [80, 81])
        #expect(settings.backends[0].servers.map(\.host) == ["a#b", "c"])
        #expect(settings.via == "x\\y")
    }

    /// A variable's value never adds words or comments.
    @Test func variablesExpandOnceAfterSplitting() throws {
        let literal = try settings(minimal + "via = $x\n")
        let settings = try settings(
            "listen = :1\nservers = ${HOST}:1 ${NONE:-b}:2\nvia = ${file:/v}\n", files: ["/v": "  na#me \n"],
            environment: ["HOST": "${NONE}"])
        #expect(settings.backends[0].servers.map(\.host) == ["${NONE}", "b"])
        #expect(settings.via == "na#me")
        #expect(literal.via == "$x")
    }

    @Test func includesAreReadInOrder() throws {
        let settings = try settings(
            "include = conf.d/*.ini more.ini\nlisten = :1\n",
            files: [
                "conf.d/b.ini": "servers = b:1\n", "conf.d/a.ini": "servers = a:1\n", "conf.d/.hidden.ini": "nonsense",
                "conf.d/c.txt": "nonsense", "more.ini": "servers = c:1\n",
            ])
        #expect(settings.backends[0].servers.map(\.host) == ["a", "b", "c"])
        #expect(
            errors("include = gone.ini\n" + minimal).contains(
                "main.ini:1:11: error: cannot read 'gone.ini': no such file"))
        #expect(errors("include = none.d/*.ini\n" + minimal) == "loaded")
        #expect(errors("include = main.ini\n" + minimal).contains("main.ini:1:11: error: 'main.ini' includes itself"))
        let chain = Dictionary(uniqueKeysWithValues: (0..<9).map { ("\($0).ini", "include = \($0 + 1).ini\n") })
        #expect(errors("include = 0.ini\n" + minimal, files: chain).contains("more than 8 deep"))
    }

    @Test(arguments: [
        ("*.ini", "a.ini", true), ("*.ini", ".ini", false), ("*.ini", "a.inix", false), ("a*b*c", "aXbYc", true),
        ("a*b*c", "aXc", false), ("a", "a", true), ("a", "b", false), ("*", "x", true), ("ab*ba", "aba", false),
    ]) func patterns(_ pattern: String, _ name: String, _ isMatch: Bool) {
        #expect(SettingsLoader.matches(name, pattern) == isMatch)
    }

    @Test func backendsInheritGlobalDefaults() throws {
        let settings = try settings(
            "listen = :1\ntimeout-idle = 1h30m\nhealth_every = 500ms\n[backend a]\nserver = one x:1\nserver = y:2\nhealth-every = 2s\n"
        )
        #expect(settings.backends[0].name == "a")
        #expect(settings.backends[0].timeoutIdle == .seconds(5400))
        #expect(settings.backends[0].healthEvery == .seconds(2))
        #expect(settings.backends[0].servers.map(\.name) == ["one", nil])
    }

    @Test func atMostTwentyErrorsAreTold() {
        let text = minimal + (0..<50).map { "nonsense\($0) = 1\n" }.joined()
        guard case .refused(let errors) = load(text) else {
            Issue.record("accepted")
            return
        }
        #expect(errors.count == SettingsError.limit)
    }

    @Test func binaryFilesAreRefused() {
        struct Unread: Error {}
        var loader = SettingsLoader(
            sources: ConfigurationSources(
                read: { _ in [0xff, 0xfe, 0x6c, 0x00] }, names: { _ in [] }, environment: { _ in nil }))
        guard case .refused(let errors) = loader.load("x.ini") else {
            Issue.record("accepted")
            return
        }
        #expect(errors[0].message.contains("NUL"))
    }

    /// Any bytes lead to settings or to errors, never to a trap.
    @Test func noiseNeverTraps() {
        let pieces = [
            "listen", "=", " ", "\n", "[", "]", "backend", "\"", "'", "${", "}", ":-", "#", ";", ",", "\\", "server",
            ":1", "\u{e9}", "\t", "1h", "*",
        ]
        var state: UInt64 = 7
        for _ in 0..<3000 {
            var text = ""
            for _ in 0..<20 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                text += pieces[Int(state >> 33) % pieces.count]
            }
            _ = load(text)
        }
    }
}

@Suite struct SchemaTests {
    @Test func namesAreUniqueAndTold() {
        #expect(Set(Schema.keys.map(\.name)).count == Schema.keys.count)
        for key in Schema.keys {
            #expect(key.help.hasSuffix("."), "\(key.name)")
            #expect(key.name.utf8.allSatisfy { $0 == 0x2d || (0x61...0x7a).contains($0) }, "\(key.name)")
        }
    }

    /// Writing every default leads to what writing none leads to.
    @Test func defaultsInTheTableAreTheDefaultsInForce() throws {
        let written = Schema.keys.compactMap { key in key.defaultText.map { "\(key.name) = \($0)\n" } }.joined()
        let plain = try settings(minimal)
        let full = try settings(written + minimal)
        var left = "\(plain)"
        var right = "\(full)"
        // Positions differ by the lines before them.
        left.replace(/main\.ini:\d+/, with: "")
        right.replace(/main\.ini:\d+/, with: "")
        #expect(left == right)
    }

    @Test(arguments: [
        ("timeout-idle = 30", "'30' has no unit; write 30s, 30ms or 30m"),
        ("timeout-idle = x", "'x' is not a duration"),
        ("timeout-idle = 3y", "'y' is not a unit of time; the units are ms, s, m, h and d"),
        ("timeout-head = 1ms", "'1ms' is out of range: 100ms to 7d"), ("head-limit = 1t", "'1t' is not a size"),
        ("head-limit = 1g", "'1g' is out of range: 1k to 48k"), ("threads = many", "'many' is not a whole number"),
        ("fields-limit = 3", "3 is out of range: 8 to 256"), ("balance = randon", "the choices are"),
        ("health = GET", "'GET' is not known here"), ("trusted-proxies = 10.0.0.0/33", "is not an address or a range"),
        ("timeouthead = 1s", "unknown key 'timeouthead' in the global part; did you mean 'timeout-head'?"),
        ("listen = localhost:80", "write 127.0.0.1:80"), ("listen = :70000", "'70000' is not a port"),
        ("listen = ::1:80", "an IPv6 address needs brackets: [::1]:80"), ("servers = https://a", "TLS to servers"),
        ("servers = http://a/path", "has no path"), ("Listen = :1", "write 'listen'"),
        ("listen :1", "expected 'key = value'"),
        ("via = a b", "'via' takes one value"), ("via =", "'via' has no value"), ("[backnd x]", "did you mean 'backend'?"),
        ("[backend]", "a backend needs a name"),
        ("[backend a", "no closing ']'"), ("[backend a] x", "nothing may follow"), ("via = ${}", "is not a variable"),
    ]) func mistakesSayWhatIsRight(_ line: String, _ message: String) {
        #expect(errors(minimal + line + "\n").contains(message), "\(errors(minimal + line + "\n"))")
    }
}
