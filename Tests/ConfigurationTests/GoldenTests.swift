import Foundation
import Testing

// A folder of configurations, each with the settings or the errors it must lead to, and laws of the schema.
@testable import Configuration

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
            sources: sources(
                [name: text, "/secret": "s3cret"], environment: ["HOME_SERVER": "10.9.9.9:1", "A": "x"],
                descriptors: 1024))
        let said =
            switch loader.load(name) {
            case .loaded: loader.warningText + "valid\n" + loader.effective.dump
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
        #expect(errors.count == SettingsError.limit + 1)
        #expect(errors.last?.text == "main.ini: error: and 30 more\n")
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
    private static let all = Schema.globalKeys + Schema.backendKeys + Schema.statsKeys

    @Test func namesAreUniqueAndTold() {
        for keys in [Schema.globalKeys, Schema.backendKeys, Schema.statsKeys] {
            #expect(Set(keys.map(\.name)).count == keys.count)
        }
        for key in Self.all {
            #expect(key.help.hasSuffix("."), "\(key.name)")
            #expect(key.defaultText != nil || !key.sample.isEmpty, "\(key.name)")
            #expect(key.name.utf8.allSatisfy { $0 == 0x2d || (0x61...0x7a).contains($0) }, "\(key.name)")
        }
    }

    /// Settings as text, without the positions, which differ by the lines before them.
    private func told(_ text: String) throws -> String {
        var told = "\(try settings(text))"
        told.replace(/position: [^)]*\)/, with: "")
        told.replace("isWritten: true", with: "isWritten: false")
        return told
    }

    /// Writing every default leads to what writing none leads to.
    @Test func defaultsInTheTableAreTheDefaultsInForce() throws {
        func written(_ keys: [Key]) -> String {
            keys.compactMap { key in key.defaultText.map { "\(key.name) = \($0)\n" } }.joined()
        }
        let full = written(Schema.globalKeys + Schema.backendKeys) + minimal + "[stats]\n" + written(Schema.statsKeys)
        #expect(try told(minimal) == told(full))
        #expect(try told(certified) == told(certified + written(Schema.tlsKeys)))
    }

    private static let config = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Config")

    /// The operator's pages are what the schema says.
    @Test(arguments: [("ballast.ini", ReferenceText.annotated), ("reference/configuration.md", ReferenceText.markdown)])
    func pagesFollowTheSchema(_ name: String, _ text: String) throws {
        let url = Self.config.appendingPathComponent(name)
        if ProcessInfo.processInfo.environment["BALLAST_WRITE_GOLDENS"] != nil {
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: url, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: url, encoding: .utf8) == text)
    }

    /// The annotated configuration is valid as it stands, and its comments hold: with every default written it is the same.
    @Test func theAnnotatedConfigurationHolds() throws {
        let text = ReferenceText.annotated
        var written = ""
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let isSetting = line.hasPrefix("#") && !line.hasPrefix("# ") && !line.hasPrefix("##")
            written += (isSetting ? line.dropFirst() : line) + "\n"
        }
        #expect(try told(text) == told(written))
        // Samples are values that their keys take.
        let special = ["include", "path", "host", "listen", "tls-passphrase", "passphrase"]
        for key in Schema.globalKeys + Schema.backendKeys where key.defaultText == nil && !special.contains(key.name) {
            #expect(errors("\(key.name) = \(key.sample)\n" + minimal) == "loaded", "\(key.name)")
        }
        for key in Schema.tlsKeys where key.defaultText == nil && !special.contains(key.name) {
            #expect(
                errors((key.name == "certificate" ? secured : certified) + "\(key.name) = \(key.sample)\n") == "loaded",
                "\(key.name)")
        }
    }

    @Test func definesOverrideWhatFilesSay() throws {
        let text = "listen = :1\nlisten = :2\n[backend predict]\nservers = a:1\nmaxconn = 10\n"
        var loader = SettingsLoader(sources: sources(["main.ini": text]))
        for define in [
            "listen=:9000", "listen=:9001", "predict.maxconn=3", "predict.maxconn=4", "stats.listen=127.0.0.1:7",
        ] {
            loader.define(define)
        }
        guard case .loaded(let settings) = loader.load("main.ini") else {
            Issue.record("refused")
            return
        }
        #expect(settings.listeners.map(\.port) == [9000, 9001])
        #expect(settings.backends[0].maxconn == 4)
        #expect(settings.stats.listeners.map(\.port) == [7])
        var words = SettingsLoader(sources: sources([:]))
        words.define("listen=:9000")
        words.define("default.maxconn=2")
        guard case .loaded(let plain) = words.load(listen: [":1"], servers: ["a:1"]) else {
            Issue.record("refused")
            return
        }
        #expect(plain.listeners.map(\.port) == [9000])
        #expect(plain.backends[0].maxconn == 2)
        for (define, message) in [
            ("nothing", "write KEY=VALUE"), ("gone.maxconn=1", "there is no [backend gone]"),
            ("predict.maxcon=1", "did you mean 'maxconn'?"), ("predict.maxconn=x", "-D predict.maxconn=x: error: 'x'"),
        ] {
            var loader = SettingsLoader(sources: sources(["main.ini": text]))
            loader.define(define)
            guard case .refused(let errors) = loader.load("main.ini") else {
                Issue.record("\(define) accepted")
                continue
            }
            #expect(errors.map(\.text).joined().contains(message), "\(errors.map(\.text))")
        }
    }

    /// Any word that a configuration can hold is dumped so that it reads back.
    @Test(arguments: [
        "${HOME}", "a\u{301}\"b", "\"\u{301}", "x\r\ny", "tab\there", "'single'", "back\\slash", "#hash", "a b", "$",
        "$$", "é",
    ]) func wordsReadBack(_ word: String) throws {
        var scanner = WordScanner(Array(SettingsLoader.quoted(word).utf8), from: 0, end: nil)
        let read = try scanner.next(expand: { _ in throw Mistake("a variable") })
        #expect(read.map { Array($0.text.utf8) } == Array(word.utf8))
        #expect(try scanner.next(expand: { $0 }) == nil)
    }

    @Test func theDefaultPageGivesWay() throws {
        var loader = SettingsLoader(sources: sources(["main.ini": "listen = :8404\nservers = a:1\n"]))
        guard case .loaded(let settings) = loader.load("main.ini") else {
            Issue.record("refused")
            return
        }
        #expect(settings.stats.listeners.isEmpty)
        var again = SettingsLoader(sources: sources(["main.ini": loader.effective.dump]))
        guard case .loaded = again.load("main.ini") else {
            Issue.record("the dump is refused: \(loader.effective.dump)")
            return
        }
    }

    @Test func dumpsHideSecretsAndReadBack() throws {
        let text =
            "listen = :1\nvia = ${file:/secret}\n[backend 'a b']\nserver = 'gpu 1' a:1 weight=2\nhealth = GET /x\nhealth-host = \"x#y\"\n"
        var loader = SettingsLoader(sources: sources(["main.ini": text, "/secret": "hidden"]))
        guard case .loaded = loader.load("main.ini") else {
            Issue.record("refused")
            return
        }
        let dump = loader.effective.dump
        #expect(!dump.contains("hidden"))
        #expect(dump.contains("via = ***"))
        #expect(dump.contains("# main.ini:4"))
        var again = SettingsLoader(sources: sources(["main.ini": dump]))
        guard case .loaded(let settings) = again.load("main.ini") else {
            Issue.record("the dump is refused: \(dump)")
            return
        }
        #expect(settings.backends[0].servers[0].name == "gpu 1")
        #expect(settings.backends[0].healthHost == "x#y")
    }

    @Test(arguments: [
        ("timeout-idle = 30", "'30' has no unit; write 30s, 30ms or 30m"),
        ("timeout-idle = x", "'x' is not a duration"),
        ("timeout-idle = 3y", "'y' is not a unit of time; the units are ms, s, m, h and d"),
        ("timeout-head = 1ms", "'1ms' is out of range: 100ms to 7d"), ("head-limit = 1t", "'1t' is not a size"),
        ("head-limit = 1g", "'1g' is out of range: 1k to 48k"), ("threads = many", "'many' is not a whole number"),
        ("fields-limit = 3", "3 is out of range: 8 to 256"), ("balance = latency", "the choices are"),
        ("balance = leastconn", "did you mean 'least-connections'?"),
        ("bind = :1", "did you mean 'listen'?"), ("workers = 2", "did you mean 'threads'?"),
        ("timeout-idle = \(String(repeating: "1000000000d", count: 4))", "is out of range"),
        ("server = 'a:1' b:2", "two servers are called 'a:1'"),
        ("timeout-idle = 1.5s", "write whole numbers, like 1500ms"), ("[global]", "stand before the first section"),
        ("servers = a:1 weight=2", "server = HOST:PORT weight=2"),
        ("listen = unix:x", "has no path from '/' on"), ("listen = :1 mode=660", "'mode' is of UNIX sockets"),
        ("listen = unix:/\(String(repeating: "x", count: 107))", "has at most 107 bytes"),
        ("listen = unix:/x mode=rw", "like 660 or 666"), ("listen = unix:/x\nlisten = unix:/x", "listened on already"),
        ("listen = :9 proxy-protocol", "would let everybody who can connect say who they are"),
        ("listen = :9 proxyprotocol", "did you mean 'proxy-protocol'?"), ("forwarded = maybe", "neither on nor off"),
        ("set-request-header = X-A", "'X-A' has no value"), ("set-request-header = X-A b, c", "needs quotes"),
        ("set-request-header = Content-Length 5", "ballast's own affair"),
        ("remove-request-header = Host", "own affair"),
        ("set-request-header = X-A {clint}", "did you mean 'client'?"), ("set-response-header = Ho:st x", "field name"),
        ("set-request-header = X-A 1\nset-request-header = x-a 2", "is set twice"), ("upgrade = h2c", "cannot tunnel"),
        ("upgrade = websockets", "did you mean 'websocket'?"), ("upgrade = off websocket", "or off alone"),
        ("upgrade = on", "write the protocols"), ("strip-prefix = /", "nothing that could be taken off"),
        ("remove-request-header = X-*", "without *"), ("set-request-header = X-A: b", "leave the colon out"),
        ("server = a unix:/x.sock:80", "has no port; write unix:/x.sock"), ("listen = /x.sock", "write unix:/x.sock"),
        ("set-request-header = X-A \"a\\nb\"", "printable ASCII"), ("strip-prefix = v1", "is not a path prefix"),
        ("servers = a:0", "a port from 1 to 65535"),
        ("health = GET", "'GET' is not a check"), ("health = /x", "write GET /x"),
        ("retry-on = connect resett", "did you mean 'reset'?"), ("retry-on = 200", "'200' is no failure"),
        ("eject-on = 503", "it never ejects"), ("retry-budget = 20", "write 20%"),
        ("health-expect = 9xx", "is not a status"),
        ("server = a b:1 wieght=2", "did you mean 'weight'?"),
        ("server = ml1 ml:5002 check maxconn 10", "leave 'check' out"),
        ("server = ml1 ml:5002 maxconn 10", "write maxconn=N"), ("path = v1", "is not a path prefix"),
        ("host = a:80", "is not a host name"), ("server = gpü a:1", "printable ASCII"),
        ("[backend ü]", "printable ASCII"), ("access-log = x", "a path that begins with '/'"),
        ("[stats]\nlisten = :9000", "use a loopback address or a UNIX socket, or write 'auth = none'"),
        ("trusted-proxies = 10.0.0.0/33", "is not an address or a range"),
        ("timeouthead = 1s", "unknown key 'timeouthead' in the global part; did you mean 'timeout-head'?"),
        ("listen = localhost:80", "write 127.0.0.1:80"), ("listen = :70000", "'70000' is not a port"),
        ("listen = ::1:80", "an IPv6 address needs brackets: [::1]:80"), ("servers = https://a/b", "has no path"),
        ("servers = http://a/path", "has no path"), ("Listen = :1", "write 'listen'"),
        ("listen :1", "expected 'key = value'"),
        ("via = a b", "'via' takes one value"), ("via =", "'via' has no value"),
        ("[backnd x]", "did you mean 'backend'?"),
        ("[backend]", "a backend needs a name"),
        ("[backend a", "no closing ']'"), ("[backend a] x", "nothing may follow"), ("via = ${}", "is not a variable"),
    ]) func mistakesSayWhatIsRight(_ line: String, _ message: String) {
        #expect(errors(minimal + line + "\n").contains(message), "\(errors(minimal + line + "\n"))")
    }
}
