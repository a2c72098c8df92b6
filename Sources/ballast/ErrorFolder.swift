// The operator's bodies for ballast's own answers: read whole when a configuration is, so that a request never waits for a
// file.
import Engine
import EventLoop

enum ErrorFolder {
    /// The bodies in `folder`.
    /// - Parameters:
    ///   - mistakes: gets a line for everything that cannot be used.
    ///   - warnings: gets a line for every file that nothing is done with.
    static func bodies(in folder: String?, mistakes: inout String, warnings: inout [String]) -> AnswerBodies {
        var bodies = AnswerBodies()
        guard let folder else { return bodies }
        let names: [String]
        do throws(SystemError) { names = try File.names(in: folder) } catch {
            mistakes += "error: cannot read error-folder '\(folder)': \(error.reason)\n"
            return bodies
        }
        var unused = 0
        for name in names where !name.hasPrefix(".") {
            let path = "\(folder)/\(name)"
            let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, AnswerBodies.names.contains(parts[0]),
                let form = AnswerForm.allCases.first(where: { $0.suffix == parts[1] })
            else {
                unused += 1
                if unused == 1 {
                    warnings.append("'\(path)' is not used; bodies are called like 503.html, 5xx.json or 404.txt")
                }
                continue
            }
            do throws(SystemError) {
                let bytes = try File.read(path, limit: AnswerBodies.largest, waits: false)
                guard let text = String(validating: bytes, as: UTF8.self) else {
                    mistakes += "error: '\(path)' is not UTF-8\n"
                    continue
                }
                bodies.add(text, for: parts[0], form)
            } catch {
                mistakes += "error: cannot use '\(path)': \(error.reason)\n"
            }
        }
        if unused > 1 { warnings.append("\(unused) files in '\(folder)' are not used") }
        return bodies
    }
}
