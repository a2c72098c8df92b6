// What the configuration changes about the fields of one direction: some go, some come with a value of its own.
public import HTTP

/// What a field's value may speak of, each as bytes that may stand in a field; empty where it is not known.
public struct FieldValues: Sendable {
    public var client: [UInt8]
    public var requestID: [UInt8]
    public var server: [UInt8]
    public var scheme: StaticString
    public var host: [UInt8]

    public init(
        client: [UInt8] = [], requestID: [UInt8] = [], server: [UInt8] = [], scheme: StaticString = "http",
        host: [UInt8] = []
    ) {
        self.client = client
        self.requestID = requestID
        self.server = server
        self.scheme = scheme
        self.host = host
    }
}

/// The changes that one direction's heads go through.
public final class FieldEdits: Sendable {
    /// A piece of a value.
    public enum Part: Sendable {
        case text([UInt8])
        case client, requestID, server, scheme, host
    }

    /// A field that comes, in place of any of its name.
    public struct Field: Sendable {
        public var name: String
        public var value: [Part]

        public init(name: String, value: [Part]) {
            self.name = name
            self.value = value
        }
    }

    private let sets: [(name: [UInt8], value: [Part])]
    /// Fields that pass from nobody: those that go, and those that come.
    public let dropped: FieldNameList
    /// The configuration says what Host is.
    let setsHost: Bool
    /// The field of ballast's own, if it has one for these heads and the configuration says nothing of it.
    public let writesOwn: Bool
    /// A value speaks of the message.
    public let needsValues: Bool

    /// - Parameters:
    ///   - sets: fields with their values.
    ///   - removes: names of fields that go.
    ///   - own: a field that ballast writes itself, and nobody else may.
    public init(sets: [Field], removes: [String], own: String?) {
        self.sets = sets.map { (Array($0.name.utf8), $0.value) }
        let named = sets.map(\.name) + removes
        dropped = FieldNameList(named + (own.map { [$0] } ?? []))
        setsHost = sets.contains { $0.name.lowercased() == "host" }
        writesOwn = own.map { own in !named.contains { $0.lowercased() == own.lowercased() } } ?? false
        needsValues = sets.contains { $0.value.contains { if case .text = $0 { false } else { true } } }
    }

    /// Writes the fields that come.
    func write(_ values: FieldValues, to output: inout OutputSpan<UInt8>) {
        for field in sets {
            output.put(field.name.span)
            output.put(": ")
            for part in field.value {
                switch part {
                case .text(let text): output.put(text.span)
                case .client: output.put(values.client.span)
                case .requestID: output.put(values.requestID.span)
                case .server: output.put(values.server.span)
                case .scheme: output.put(values.scheme)
                case .host: output.put(values.host.span)
                }
            }
            output.put("\r\n")
        }
    }
}
