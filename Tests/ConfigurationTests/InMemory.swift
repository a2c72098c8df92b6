// Configurations that stand in no file, for tests.
import Testing

@testable import Configuration

/// Files that live in memory.
func sources(
    _ files: [String: String], environment: [String: String] = [:], descriptors: Int? = nil
) -> ConfigurationSources {
    struct Missing: Error, CustomStringConvertible { let description = "no such file" }
    return ConfigurationSources(
        read: { path in
            guard let text = files[path] else { throw Missing() }
            return Array(text.utf8)
        },
        names: { folder in
            files.keys.filter { $0.hasPrefix(folder + "/") }.map { String($0.dropFirst(folder.count + 1)) }.sorted()
        },
        environment: { environment[$0] }, descriptorLimit: descriptors)
}

func load(_ text: String, files: [String: String] = [:], environment: [String: String] = [:]) -> LoadOutcome {
    var loader = SettingsLoader(sources: sources(files.merging(["main.ini": text]) { $1 }, environment: environment))
    return loader.load("main.ini")
}

func settings(_ text: String, files: [String: String] = [:], environment: [String: String] = [:]) throws
    -> Settings
{
    switch load(text, files: files, environment: environment) {
    case .loaded(let settings): return settings
    case .refused(let errors):
        Issue.record("refused: \(errors.map(\.text).joined())")
        throw errors[0]
    }
}

func errors(_ text: String, files: [String: String] = [:]) -> String {
    switch load(text, files: files) {
    case .loaded: "loaded"
    case .refused(let errors): errors.map(\.text).joined()
    }
}

let minimal = "listen = :8080\nservers = a:1\n"
let secured = "listen = :8443 tls\nservers = a:1\n[tls]\n"
let certified = secured + "certificate = /a\n"
