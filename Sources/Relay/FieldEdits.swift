// What the configuration changes about the fields of one direction: some go, some come with a value of its own.
public import HTTP

/// What a field's value may speak of.
public struct FieldValues: Sendable {
    public var client: [UInt8]
    public var requestID: [UInt8]
    public var server: [UInt8]
    public var scheme: StaticString
    public var host: [UInt8]

    public init(client: [UInt8], requestID: [UInt8], server: [UInt8], scheme: StaticString, host: [UInt8]) {
        self.client = client
        self.requestID = requestID
        self.server = server
        self.scheme = scheme
        self.host = host
    }
}

/// The changes that one direction's heads go through.
public final class FieldEdits: Sendable {
    public enum Part: Sendable {
        case text([UInt8])
        case client, requestID, server, scheme, host
    }

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

    /// - Parameters:
    ///   - sets: fields with their values.
    ///   - removes: names of fields that go.
    public init(sets: [Field], removes: [String]) {
        self.sets = sets.map { (Array($0.name.utf8), $0.value) }
        dropped = FieldNameList(sets.map(\.name) + removes)
        setsHost = sets.contains { $0.name.lowercased() == "host" }
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
