// The rules of the house, held against the sources as text: sizes, imports, arrows, words that may not stand.
import Foundation
import Testing

private struct SourceFile {
    let path: String
    let lines: [String]
    /// The target: the first folder below Sources.
    var target: String { String(path.split(separator: "/")[1]) }
    var folder: String { path.split(separator: "/").dropLast().joined(separator: "/") }
    var name: String { String(path.split(separator: "/").last ?? "") }

    /// Lines without comments and without what stands between quotes.
    var code: [String] {
        lines.map { line in
            var text = ""
            var isQuoted = false
            var previous: Character = " "
            for character in line {
                if character == "\"", previous != "\\" { isQuoted.toggle() }
                if !isQuoted { text.append(character) }
                if text.hasSuffix("//") { return String(text.dropLast(2)) }
                previous = character
            }
            return text
        }
    }
}

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

private func files(below folder: String) -> [SourceFile] {
    let base = root.appendingPathComponent(folder)
    let walk = FileManager.default.enumerator(atPath: base.path)
    return (walk?.compactMap { $0 as? String } ?? []).filter { $0.hasSuffix(".swift") }.sorted().map { path in
        let text = (try? String(contentsOf: base.appendingPathComponent(path), encoding: .utf8)) ?? ""
        return SourceFile(path: "\(folder)/\(path)", lines: text.components(separatedBy: "\n"))
    }
}

private func matches(_ pattern: String, _ line: String) -> Bool {
    line.range(of: pattern, options: .regularExpression) != nil
}

@Suite struct HouseRulesTests {
    fileprivate static let sources = files(below: "Sources")
    fileprivate static let tests = files(below: "Tests")

    /// What each target may import of ours.
    static let arrows: [String: Set<String>] = [
        "Addresses": [], "HTTP": [], "Metrics": [],
        "Balancing": ["Addresses"],
        "Relay": ["Addresses", "HTTP", "Balancing"],
        "Configuration": ["Addresses", "Balancing"],
        "EventLoop": ["Addresses", "CLinux", "COpenSSL"],
        "Engine": ["Addresses", "CZlib", "HTTP", "Balancing", "Relay", "Configuration", "Metrics", "EventLoop"],
        "ballast": ["Addresses", "Balancing", "Configuration", "Engine", "EventLoop", "HTTP", "Metrics"],
        "demo-replica": ["Addresses", "EventLoop", "HTTP"],
    ]

    /// Targets that may reach the system.
    static let systemTargets: Set<String> = ["EventLoop", "ballast", "demo-replica"]

    @Test func thereIsSomethingToHold() {
        #expect(Self.sources.count > 60)
        #expect(Set(Self.sources.map(\.target)) == Set(Self.arrows.keys))
    }

    @Test func filesAndFunctionsAreSmall() {
        for file in Self.sources + Self.tests {
            #expect(file.lines.count <= 401, "\(file.path) has \(file.lines.count - 1) lines")
            var start: (line: Int, indent: Int)?
            for (number, line) in file.lines.enumerated() {
                let indent = line.prefix { $0 == " " }.count
                if matches("^ *([a-z@()]+ )*(func|init)\\b.*\\{$", line) { start = (number, indent) }
                if let begun = start, line == String(repeating: " ", count: begun.indent) + "}" {
                    #expect(
                        number - begun.line < 70, "\(file.path):\(begun.line + 1) is \(number - begun.line + 1) lines")
                    start = nil
                }
            }
        }
    }

    @Test func importsFollowTheArrows() {
        let known = Set(Self.arrows.keys).union(["CLinux", "COpenSSL", "CZlib"])
        for file in Self.sources {
            for line in file.code where matches("^ *(public |internal |private |@\\w+ )*import ", line) {
                let module = String(line.split(separator: " ").last ?? "")
                if known.contains(module) {
                    #expect(Self.arrows[file.target]?.contains(module) == true, "\(file.path) imports \(module)")
                } else {
                    let allowed: Set<String> =
                        Self.systemTargets.contains(file.target)
                        ? ["Glibc", "Dispatch", "Synchronization"] : ["Synchronization"]
                    #expect(allowed.contains(module), "\(file.path) imports \(module)")
                }
            }
        }
    }

    @Test func targetArrowsNeverLoop() {
        func reaches(_ target: String, _ goal: String) -> Bool {
            (Self.arrows[target] ?? []).contains { $0 == goal || reaches($0, goal) }
        }
        for target in Self.arrows.keys { #expect(!reaches(target, target), "\(target)") }
    }

    /// Folders of one target know each other in one direction only: seen by the types they name. What stands above the
    /// folders, in the target's own folder, holds them together and is not asked.
    @Test func folderArrowsNeverTurnBack() {
        for target in Self.arrows.keys.sorted() {
            let files = Self.sources.filter { $0.target == target && $0.path.split(separator: "/").count > 3 }
            var owner: [String: String] = [:]
            for file in files {
                for line in file.code {
                    guard
                        let found = line.range(
                            of: "(class|struct|enum|protocol) [A-Z]\\w*", options: .regularExpression),
                        !line.hasPrefix("    ")
                    else { continue }
                    owner[String(line[found].split(separator: " ")[1])] = file.folder
                }
            }
            var uses: [String: Set<String>] = [:]
            for file in files {
                for line in file.code {
                    for word in line.split(whereSeparator: { !$0.isLetter && !$0.isNumber }) {
                        guard let other = owner[String(word)], other != file.folder else { continue }
                        uses[file.folder, default: []].insert(other)
                    }
                }
            }
            func reaches(_ folder: String, _ goal: String, _ depth: Int) -> Bool {
                depth > 0 && (uses[folder] ?? []).contains { $0 == goal || reaches($0, goal, depth - 1) }
            }
            for folder in uses.keys { #expect(!reaches(folder, folder, 6), "\(folder): \(uses)") }
        }
    }

    @Test func filesSayWhatTheyAre() {
        for file in Self.sources {
            #expect(file.lines.first?.hasPrefix("// ") == true, "\(file.path) opens without a sentence")
        }
    }

    @Test func unsafeCodeStaysInItsRooms() {
        let rooms = [
            "Sources/HTTP/Bytes/ByteScan.swift", "Sources/EventLoop/System/", "Sources/EventLoop/Memory/",
            "Sources/EventLoop/TLS/",
            "Sources/Engine/Coding/Deflater.swift",
        ]
        for file in Self.sources where !rooms.contains(where: { file.path.hasPrefix($0) }) {
            for (number, line) in file.code.enumerated() {
                #expect(
                    !matches("\\bunsafe\\b|Unsafe(Mutable)?(Raw)?(Buffer)?Pointer", line), "\(file.path):\(number + 1)")
            }
        }
    }

    @Test func uncheckedSendableIsRare() {
        let found = Self.sources.filter { $0.code.contains { $0.contains("@unchecked Sendable") } }.map(\.path)
        #expect(found == ["Sources/Engine/Worker.swift", "Sources/EventLoop/TLS/TLSContext.swift"])
    }

    @Test func someWordsDoNotStand() {
        for file in Self.sources {
            for (number, line) in file.code.enumerated() {
                let place: Comment = "\(file.path):\(number + 1)"
                #expect(
                    !matches("\\b(class|struct|enum|protocol|actor) \\w*(Manager|Helper|Util|Utils)\\b", line), place)
                #expect(!matches("\\bfatalError\\(|\\btry!|\\bas!", line), place)
                #expect(!matches("\\bHasher\\b", line), place)
                if ["HTTP", "Relay", "Engine", "Balancing"].contains(file.target) {
                    #expect(!matches("\\btry\\?", line), place)
                }
            }
        }
    }

    /// Traces must repeat, so nothing is iterated whose order a process chooses.
    @Test func theDataPathUsesNoUnorderedCollections() {
        for file in Self.sources where ["Engine", "Relay", "Balancing", "HTTP"].contains(file.target) {
            for (number, line) in file.code.enumerated() {
                #expect(!matches("\\b(Dictionary|Set)<|: \\[\\w+: ", line), "\(file.path):\(number + 1)")
            }
        }
    }

    /// Clocks and random numbers come in as arguments, or from the network.
    @Test func clocksAreReadInFewPlaces() {
        for file in Self.sources where !file.path.hasPrefix("Sources/EventLoop/System/") {
            for (number, line) in file.code.enumerated() {
                #expect(!matches("clock_gettime|ContinuousClock|SuspendingClock", line), "\(file.path):\(number + 1)")
            }
        }
    }

    @Test func theTopLevelHoldsWhatBelongsThere() throws {
        let allowed: Set<String> = [
            "Package.swift", "Sources", "Tests", "Config", "Scripts", "README.md", "LICENSE", "Package.resolved",
        ]
        for name in try FileManager.default.contentsOfDirectory(atPath: root.path) where !name.hasPrefix(".") {
            #expect(allowed.contains(name), "\(name)")
        }
    }
}
