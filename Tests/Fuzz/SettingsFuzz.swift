// Any bytes as a configuration. Laws: no trap; CR LF means what LF means; what is dumped, loaded again, is the same
// configuration; and every mistake has a place in the file.

private func load(_ bytes: [UInt8]) -> (outcome: LoadOutcome, effective: EffectiveSettings) {
    struct Missing: Error {}
    let sources = ConfigurationSources(
        read: { path in
            guard path == "a.ini" else { throw Missing() }
            return bytes
        },
        names: { _ in [] }, environment: { $0 == "NAME" ? "some value # here" : nil })
    var loader = SettingsLoader(sources: sources)
    let outcome = loader.load("a.ini")
    return (outcome, loader.effective)
}

/// What is in effect, without where it came from.
private func meaning(_ effective: EffectiveSettings) -> [String] {
    effective.sections.map { section in
        "\(section.place) \(section.name) "
            + section.values.map { "\($0.key) \($0.words.map(\.text))" }.joined(separator: "; ")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
    let bytes = unsafe input(data, count)
    let (outcome, effective) = load(bytes)
    switch outcome {
    case .refused(let errors):
        precondition(!errors.isEmpty && errors.count <= SettingsError.limit + 1, "\(errors.count) errors")
        for error in errors { precondition(!error.text.isEmpty, "an error says nothing") }
    case .loaded:
        let dump = effective.dump
        let (again, reloaded) = load(Array(dump.utf8))
        guard case .loaded = again else { fatalError("the dump is refused: \(again)\n\(dump)") }
        precondition(meaning(reloaded) == meaning(effective), "the dump says something else:\n\(dump)")
        if !bytes.contains(0x0d) {
            let (other, same) = load(bytes.flatMap { $0 == 0x0a ? [0x0d, 0x0a] : [$0] })
            guard case .loaded = other else { fatalError("with CR LF it is refused") }
            precondition(meaning(same) == meaning(effective), "with CR LF it says something else")
        }
    }
    return 0
}
