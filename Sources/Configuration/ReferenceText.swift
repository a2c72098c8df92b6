// The operator's pages made from the schema: the reference, and the configuration that shows every key. A test holds the
// files in Config against them.

public enum ReferenceText {
    private static let places: [(place: Schema.Place, title: String, note: String, keys: [Key])] = [
        (.global, "Global", "Before the first section.", Schema.globalKeys),
        (
            .backend, "[backend NAME]",
            "One for each group of servers; before the first section, a key is the default of every backend. Without any "
                + "[backend], global server and servers make one called default.", Schema.backendKeys
        ),
        (
            .tls, "[tls] or [tls NAME]",
            "Certificates of the listeners with tls, chosen by the names inside them; the first section also where no name fits.",
            Schema.tlsKeys
        ),
        (.stats, "[stats]", "The page and the metrics.", Schema.statsKeys),
        (.metrics, "[metrics]", "The metrics once more, without the page.", Schema.metricsKeys),
    ]

    /// `Config/reference/configuration.md`.
    public static var markdown: String {
        var text = """
            # Configuration

            Every key, from the table in `Sources/Configuration`; `ballast --dump` prints the values in effect with where each
            came from. Durations are written like `500ms`, `10s`, `5m`, `1h30m`, sizes like `512`, `16k`, `64m`, percentages
            like `20%`. Keys marked with + may stand several times. How a file is written, what the states of a server mean and
            what signals do stands in [operations.md](operations.md).

            """
        for place in places {
            text += "\n## \(place.title)\n\n\(place.note)\n\n| key | default | values | meaning |\n|---|---|---|---|\n"
            for key in place.keys {
                let value = key.defaultText.map { "`\($0)`" } ?? "–"
                let row = [
                    "`\(key.name)`\(key.repeats ? " +" : "")", value, key.bounds ?? "", key.help,
                ].map { $0.split(separator: "|").joined(separator: "\\|") }
                text += "| \(row.joined(separator: " | ")) |\n"
            }
        }
        return text
    }

    /// `Config/ballast.ini`: every key at its default, or with a sample behind `##` where it has none.
    public static var annotated: String {
        var text = """
            # ballast: every key, commented out at its default. Keys without a default show a sample behind '##'.
            # Two lines make a working balancer; these are they.
            listen  = :8080
            servers = 127.0.0.1:8001 127.0.0.1:8002 127.0.0.1:8003

            """
        for place in places {
            text += "\n# ---- \(place.title)\n# \(wrapped(place.note))\n"
            // The section's own line stays a comment, so that what is above stays global.
            if place.place == .stats { text += "#[stats]\n" }
            // One without a certificate is a mistake.
            if place.place == .tls { text += "##[tls]\n" }
            if place.place == .metrics { text += "##[metrics]\n" }
            for key in place.keys {
                let bounds = key.bounds.map { " (\($0))" } ?? ""
                text += "\n# \(wrapped(key.help + bounds))\n"
                let mark = place.place == .tls || place.place == .metrics ? "##" : "#"
                text += key.defaultText.map { "\(mark)\(key.name) = \($0)\n" } ?? "##\(key.name) = \(key.sample)\n"
            }
        }
        return text
    }

    /// `text` in lines of at most 100 columns, each a comment.
    private static func wrapped(_ text: String) -> String {
        var lines = [""]
        for word in text.split(separator: " ") {
            let line = lines[lines.count - 1]
            if line.utf8.count + word.utf8.count > 98 {
                lines.append(String(word))
            } else {
                lines[lines.count - 1] = line.isEmpty ? String(word) : "\(line) \(word)"
            }
        }
        return lines.joined(separator: "\n# ")
    }
}
