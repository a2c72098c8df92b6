// The command line: words in, a command or a mistake out. It starts nothing and reads no file.

/// Where the configuration comes from.
enum ConfigurationOrigin: Equatable {
    /// A path; `-` is standard input.
    case file(String, defines: [String])
    case words(listen: [String], servers: [String], defines: [String])
}

/// What ballast was asked to do.
enum Command: Equatable {
    case run(ConfigurationOrigin)
    case test(ConfigurationOrigin)
    /// As `test`, and print the effective settings.
    case dump(ConfigurationOrigin)
    /// Ask the ballast that runs with this configuration for something.
    case signal(Request, ConfigurationOrigin)
    case version
    case help

    /// What `-s` can ask for.
    enum Request: String, CaseIterable { case reload, stop, quit, reopen }

    static let defaultFile = "/etc/ballast/ballast.ini"

    static let helpText = """
        ballast: an HTTP load balancer for inference servers

        usage: ballast [-c FILE]                      run; FILE is \(defaultFile) unless given, - is standard input
               ballast -l [ADDRESS]:PORT HOST:PORT... run without a file

          -c, --config FILE   the configuration
          -l, --listen WHERE  accept clients here; may be repeated
          -t, --test          check the configuration and end: 0 if it is valid, 2 if not
          -T, --dump          as -t, and print every setting in effect with where it came from
          -D, --define K=V    override a setting: -D listen=:9000 -D predict.maxconn=4 -D stats.listen=127.0.0.1:9001
          -s, --signal NAME   reload, stop, quit or reopen: ask the ballast that runs with this configuration's pid-file
          -v, --version       the version
          -h, --help          this text

        Signals: HUP reads the configuration again, and keeps the old one if there is a mistake; TERM or INT stops
        accepting and lets running requests finish; a second one, or QUIT, stops now; USR1 opens log files anew.

        """

    struct Mistake: Error, Equatable { let text: String }

    static func parse(_ arguments: [String]) throws(Mistake) -> Command {
        var file: String?
        var listen: [String] = []
        var servers: [String] = []
        var defines: [String] = []
        var isTest = false
        var isDump = false
        var request: Request?
        // --name=value is --name value.
        var rest = arguments.flatMap { word -> [String] in
            guard word.hasPrefix("--"), let equals = word.firstIndex(of: "=") else { return [word] }
            return [String(word[..<equals]), String(word[word.index(after: equals)...])]
        }[...]
        while let word = rest.popFirst() {
            switch word {
            case "-c", "--config":
                guard file == nil else { throw Mistake(text: "\(word) stands twice") }
                file = try value(of: word, &rest)
            case "-l", "--listen": listen.append(try value(of: word, &rest))
            case "-D", "--define": defines.append(try value(of: word, &rest))
            case "-t", "--test": isTest = true
            case "-T", "--dump": isDump = true
            case "-s", "--signal": request = try self.request(try value(of: word, &rest))
            case "-v", "--version": return .version
            case "-h", "--help": return .help
            case _:
                guard !word.hasPrefix("-") else { throw Mistake(text: "unknown option '\(word)'") }
                servers.append(word)
            }
        }
        let origin = try origin(file: file, listen: listen, servers: servers, defines: defines)
        if let request { return .signal(request, origin) }
        if isDump { return .dump(origin) }
        return isTest ? .test(origin) : .run(origin)
    }

    private static func request(_ word: String) throws(Mistake) -> Request {
        if word == "upgrade" { throw Mistake(text: "this version cannot be upgraded in place; stop it and start anew") }
        guard let request = Request(rawValue: word) else {
            let all = Request.allCases.map(\.rawValue).joined(separator: ", ")
            throw Mistake(text: "'\(word)' is nothing to ask for; there are \(all)")
        }
        return request
    }

    private static func value(of option: String, _ rest: inout ArraySlice<String>) throws(Mistake) -> String {
        guard let value = rest.popFirst() else { throw Mistake(text: "\(option) needs a value") }
        return value
    }

    private static func origin(
        file: String?, listen: [String], servers: [String], defines: [String]
    ) throws(Mistake) -> ConfigurationOrigin {
        if let file {
            guard servers.isEmpty || !listen.isEmpty else {
                throw Mistake(text: "'\(servers[0])' is too much: the file says which servers there are")
            }
            guard listen.isEmpty else {
                throw Mistake(
                    text: "-c and -l exclude each other: a file says where to listen and which servers there are")
            }
            return .file(file, defines: defines)
        }
        guard !listen.isEmpty || !servers.isEmpty else { return .file(defaultFile, defines: defines) }
        guard !listen.isEmpty else {
            if servers[0].hasSuffix(".ini") || servers[0].hasSuffix(".conf") || servers[0].hasSuffix(".cfg") {
                throw Mistake(text: "'\(servers[0])' is a file; write ballast -c \(servers[0])")
            }
            throw Mistake(text: "'\(servers[0])' is a server, but where to listen is missing; add -l :8080")
        }
        guard !servers.isEmpty else {
            throw Mistake(text: "-l needs at least one server behind it: ballast -l \(listen[0]) HOST:PORT")
        }
        return .words(listen: listen, servers: servers, defines: defines)
    }
}
