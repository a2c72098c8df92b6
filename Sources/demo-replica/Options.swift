// The command line of demo-replica. It never starts anything.
import Addresses

/// What a demo replica is told to be.
struct Options {
    var address = IPAddress.loopback
    var port: UInt16 = 8000
    var name = "demo"
    /// Generations at a time; the rest wait in line, as they do in a real engine.
    var slots = 8
    /// From the start of a generation to its first token.
    var timeToFirstToken = Duration.milliseconds(200)
    var timePerToken = Duration.milliseconds(30)
    /// Tokens of an answer, unless the request asks for fewer (`max_tokens`).
    var tokens = 24
    /// Of 100 requests, so many are answered with 500, or not at all.
    var fails = 0
    var drops = 0
    /// Health checks fail for this long, as those of an engine do that loads its model.
    var loadTime = Duration.zero
    /// After so long the whole process stops for a while, once.
    var freezeAfter: Duration?
    var freezeFor = Duration.seconds(30)

    static let help = """
        demo-replica: a small inference server with scripted answers, for trying and testing ballast.

        usage: demo-replica [--host ADDRESS] [--port N] [--name TEXT] [--slots N]
                            [--ttft MS] [--tpot MS] [--tokens N] [--fail PERCENT] [--drop PERCENT]
                            [--load MS] [--freeze-after MS] [--freeze-for MS]

          --host ADDRESS  address to listen on (127.0.0.1)
          --port N        port to listen on (8000); 0 picks a free one
          --name TEXT     how it signs its answers (demo)
          --slots N       generations at a time (8); further ones wait
          --ttft MS       milliseconds to the first token (200)
          --tpot MS       milliseconds for each further token (30)
          --tokens N      tokens of an answer (24)
          --fail PERCENT  requests answered with 500 (0)
          --drop PERCENT  requests whose connection closes without an answer (0)
          --load MS       /health says 503 for so long, as while a model loads (0)
          --freeze-after MS, --freeze-for MS
                          the whole process stops then, for so long (never; 30000)

        It serves GET /health, POST /predict, POST /v1/chat/completions (whole, or streamed with "stream": true),
        GET /v1/models and GET /bytes/N.

        """

    struct Mistake: Error { let text: String }

    /// Nil when help was asked for.
    static func parse(_ arguments: [String]) throws(Mistake) -> Options? {
        var options = Options()
        var rest = arguments[...]
        while let option = rest.popFirst() {
            if option == "-h" || option == "--help" { return nil }
            guard let value = rest.popFirst() else { throw Mistake(text: "\(option) needs a value") }
            switch option {
            case "--host":
                guard let address = IPAddress(value) else { throw Mistake(text: "'\(value)' is not an address") }
                options.address = address
            case "--port":
                guard let port = UInt16(value) else { throw Mistake(text: "'\(value)' is not a port") }
                options.port = port
            case "--name": options.name = String(value.filter { $0.isLetter || $0.isNumber || $0 == "-" })
            case "--slots": options.slots = max(1, try number(value))
            case "--ttft": options.timeToFirstToken = .milliseconds(try number(value))
            case "--tpot": options.timePerToken = .milliseconds(try number(value))
            case "--tokens": options.tokens = max(1, try number(value))
            case "--fail": options.fails = min(100, try number(value))
            case "--drop": options.drops = min(100, try number(value))
            case "--load": options.loadTime = .milliseconds(try number(value))
            case "--freeze-after": options.freezeAfter = .milliseconds(try number(value))
            case "--freeze-for": options.freezeFor = .milliseconds(try number(value))
            case _: throw Mistake(text: "unknown option '\(option)'")
            }
        }
        return options
    }

    private static func number(_ text: String) throws(Mistake) -> Int {
        guard let number = Int(text), number >= 0, number <= 1_000_000_000 else {
            throw Mistake(text: "'\(text)' is not a number")
        }
        return number
    }
}
