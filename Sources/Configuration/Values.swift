// Single values: durations, sizes, counts, switches, addresses. One parser for each, each saying what would be right.
import Addresses

enum Values {
    private static let units: [(name: String, value: Duration)] = [
        ("ms", .milliseconds(1)), ("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3600)),
        ("d", .seconds(86_400)),
    ]

    /// `500ms`, `10s`, `1h30m`; a bare 0 needs no unit.
    static func duration(_ text: String, in bounds: ClosedRange<Duration>) throws(Mistake) -> Duration {
        if text == "0" { return try bounded(.zero, text, bounds) }
        var rest = text[...]
        var total = Duration.zero
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(unit.count)
            guard let number = Int(digits), number <= 1_000_000_000 else {
                let hint = text.contains(".") ? "; write whole numbers, like 1500ms" : ""
                throw Mistake("'\(text)' is not a duration\(hint)")
            }
            guard !rest.hasPrefix(".") else {
                throw Mistake("'\(text)' is not a duration; write whole numbers, like 1500ms")
            }
            guard !unit.isEmpty else {
                throw Mistake("'\(text)' has no unit; write \(digits)s, \(digits)ms or \(digits)m")
            }
            guard let value = units.first(where: { $0.name == unit })?.value else {
                throw Mistake("'\(unit)' is not a unit of time; the units are ms, s, m, h and d")
            }
            // No bound is near this; sums of sums would leave the number's range.
            guard total < .seconds(1_000_000_000) else { throw Mistake("'\(text)' is out of range") }
            total += value * min(number, 1_000_000_000)
        }
        return try bounded(total, text, bounds)
    }

    private static func bounded(
        _ value: Duration, _ text: String, _ bounds: ClosedRange<Duration>
    ) throws(Mistake) -> Duration {
        guard bounds.contains(value) else {
            throw Mistake(
                "'\(text)' is out of range: \(Self.text(bounds.lowerBound)) to \(Self.text(bounds.upperBound))")
        }
        return value
    }

    /// A duration as the configuration writes it.
    static func text(_ duration: Duration) -> String {
        if duration == .zero { return "0" }
        let milliseconds = Int(duration / .milliseconds(1))
        for (name, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        where milliseconds % size == 0 {
            return "\(milliseconds / size)\(name)"
        }
        return "\(milliseconds)ms"
    }

    /// `512`, `16k`, `64m`, `1g`: powers of 1024.
    static func size(_ text: String, in bounds: ClosedRange<Int>) throws(Mistake) -> Int {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let shifts = ["": 0, "k": 10, "m": 20, "g": 30]
        guard let number = Int(digits), number < 1 << 30, let shift = shifts[String(text.dropFirst(digits.count))]
        else {
            throw Mistake("'\(text)' is not a size; write a number with k, m, g or nothing behind it")
        }
        guard bounds.contains(number << shift) else {
            throw Mistake(
                "'\(text)' is out of range: \(Self.text(size: bounds.lowerBound)) to \(Self.text(size: bounds.upperBound))"
            )
        }
        return number << shift
    }

    static func text(size: Int) -> String {
        for (name, shift) in [("g", 30), ("m", 20), ("k", 10)] where size > 0 && size % (1 << shift) == 0 {
            return "\(size >> shift)\(name)"
        }
        return "\(size)"
    }

    static func count(_ text: String, in bounds: ClosedRange<Int>) throws(Mistake) -> Int {
        guard text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let number = Int(text) else {
            throw Mistake("'\(text)' is not a whole number")
        }
        guard bounds.contains(number) else {
            throw Mistake("\(text) is out of range: \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return number
    }

    /// Names stand in logs, labels and pages.
    static func isName(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count) && text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f }
    }

    /// `20%`.
    static func percent(_ text: String, in bounds: ClosedRange<Int>) throws(Mistake) -> Int {
        guard text.hasSuffix("%") else { throw Mistake("'\(text)' is not a percentage; write \(text)%") }
        return try count(String(text.dropLast()), in: bounds)
    }

    static func choice(_ text: String, among words: [String]) throws(Mistake) -> String {
        guard words.contains(text) else {
            let hint = Suggestion.text(for: text, among: words)
            let all = words.joined(separator: ", ")
            throw Mistake("'\(text)' is not known here\(hint.isEmpty ? "; the choices are \(all)" : hint)")
        }
        return text
    }

    /// `yes`, `on`, `true` and their opposites.
    static func flag(_ text: String) throws(Mistake) -> Bool {
        switch text {
        case "yes", "on", "true": return true
        case "no", "off", "false": return false
        case _: throw Mistake("'\(text)' is neither on nor off")
        }
    }

    /// The path of `unix:/run/app.sock`; nil for what is no UNIX socket.
    static func socketPath(_ text: String) throws(Mistake) -> String? {
        guard text.hasPrefix("unix:") else { return nil }
        let path = String(text.dropFirst(5))
        guard path.hasPrefix("/"), !path.hasSuffix("/"), path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw Mistake("'\(text)' has no path from '/' on behind unix:, like unix:/run/app.sock")
        }
        if let colon = path.lastIndex(of: ":"), path[colon...].dropFirst().allSatisfy({ $0.isASCII && $0.isNumber }) {
            throw Mistake("a UNIX socket has no port; write unix:\(path[..<colon])")
        }
        guard path.utf8.count <= Endpoint.longestPath else {
            throw Mistake("the path of a UNIX socket has at most \(Endpoint.longestPath) bytes (unix(7))")
        }
        return path
    }

    /// `[ADDRESS]:PORT` of a listener; no address is all of the machine.
    static func listener(_ text: String) throws(Mistake) -> (address: IPAddress?, port: UInt16) {
        if text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
            throw Mistake("'\(text)' is not [ADDRESS]:PORT; write :\(text)")
        }
        let (host, port) = try hostAndPort(text)
        guard !host.isEmpty, host != "*" else { return (nil, port) }
        guard let address = IPAddress(host) else {
            let hint = host == "localhost" ? "; write 127.0.0.1:\(port)" : ""
            throw Mistake("'\(host)' is not an IP address of this machine\(hint)")
        }
        return (address, port)
    }

    /// `host:port`, `[v6]:port`, `http://host[:port]` or `https://host[:port]` of a server.
    static func server(_ text: String) throws(Mistake) -> (host: String, port: UInt16, isSecure: Bool) {
        if text.contains("=") {
            throw Mistake("options like '\(text)' need a line of their own: server = HOST:PORT \(text)")
        }
        let isSecure = text.hasPrefix("https://")
        var rest = text[...]
        if isSecure || text.hasPrefix("http://") {
            rest = rest.dropFirst(isSecure ? 8 : 7)
            if rest.hasSuffix("/") { rest = rest.dropLast() }
            guard !rest.contains("/") else { throw Mistake("a server is an address and has no path: '\(text)'") }
            if !rest.hasSuffix("]"), !rest.contains(":") || rest.hasPrefix("[") && !rest.contains("]:") {
                rest += isSecure ? ":443" : ":80"
            }
        }
        let (host, port) = try hostAndPort(String(rest))
        guard !host.isEmpty, port > 0 else {
            throw Mistake("'\(text)' is not host:port, with a port from 1 to 65535")
        }
        guard IPAddress(host) != nil || host.utf8.allSatisfy(isNameByte) else {
            throw Mistake("'\(host)' is not a host name")
        }
        return (host, port, isSecure)
    }

    /// What belongs to addresses and to other parts of a URI is in no name.
    @Sendable private static func isNameByte(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7f && !"[]/?@".utf8.contains(byte)
    }

    private static func hostAndPort(_ text: String) throws(Mistake) -> (host: String, port: UInt16) {
        var host: Substring
        let portText: Substring
        if text.hasPrefix("["), let close = text.firstIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<close]
            guard IPAddress(host) != nil, host.contains(":") else {
                throw Mistake("'[\(host)]' is not an IPv6 address")
            }
            let rest = text[text.index(after: close)...]
            guard rest.first == ":" else { throw Mistake("'\(text)' has no port; write \(text):8000") }
            portText = rest.dropFirst()
        } else {
            guard let colon = text.lastIndex(of: ":") else {
                throw Mistake("'\(text)' has no port; write \(text.hasPrefix("/") ? "unix:\(text)" : "\(text):8000")")
            }
            host = text[..<colon]
            portText = text[text.index(after: colon)...]
            guard !host.contains(":") else { throw Mistake("an IPv6 address needs brackets: [\(host)]:\(portText)") }
        }
        guard portText.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = UInt16(portText) else {
            throw Mistake("'\(portText)' is not a port; ports are 0 to 65535")
        }
        return (String(host), port)
    }
}
