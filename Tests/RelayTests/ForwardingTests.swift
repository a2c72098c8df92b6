import Addresses
import HTTP
import Relay
import Testing

private func head(_ bytes: [UInt8]) throws -> MessageHead {
    var parser = RequestParser()
    var head = MessageHead()
    _ = try parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head)
    return head
}

/// The request as it leaves, line by line.
private func forwarded(
    _ text: String, _ client: ClientIdentity, writesForwarded: Bool = false,
    change: (Forwarding.RequestChanges) -> Void = { _ in }
) throws -> [String] {
    let bytes = Array(text.utf8)
    let head = try head(bytes)
    let changes = Forwarding.RequestChanges()
    change(changes)
    let settings = FieldSettings(via: [], passesUnderscores: false, writesForwarded: writesForwarded)
    let written = [UInt8](capacity: 4096) { output in
        Forwarding.request(
            head, bytes.span, framing: BodyFraming(request: head), client: client, server: Array("s:1".utf8),
            requestID: Array("id".utf8).span, settings: settings, changes: changes, to: &output)
    }
    return String(decoding: written, as: UTF8.self).split(separator: "\r\n").map(String.init)
}

private func address(_ text: String) -> IPAddress? { IPAddress(text) }
private let stranger = ClientIdentity(address("192.0.2.7"), isTrusted: false)
private let proxy = ClientIdentity(address("10.0.0.1"), isTrusted: true)
private let trusted = ["10.0.0.0/8", "2001:db8::/32"].compactMap { CIDR($0) }

@Suite struct ForwardingTests {
    @Test(
        arguments: [
            ("203.0.113.5", "203.0.113.5"), ("1.1.1.1, 203.0.113.5", "203.0.113.5"),
            ("203.0.113.5, 10.1.1.1, 10.2.2.2", "203.0.113.5"), ("10.3.3.3, 10.1.1.1", "10.3.3.3"),
            ("203.0.113.5:4711", "203.0.113.5"), ("[2001:db9::1]:80", "2001:db9::1"), ("2001:db9::1", "2001:db9::1"),
            ("1.1.1.1, unknown", nil), ("1.1.1.1, nonsense, 10.0.0.9", "10.0.0.9"),
            (" , ,203.0.113.5 ,", "203.0.113.5"),
            ("", nil), ("::ffff:203.0.113.5", "203.0.113.5"),
            (Array(repeating: "10.0.0.2", count: 40).joined(separator: ","), "10.0.0.2"),
        ] as [(String, String?)]) func theClientIsTheLastWhoIsNoProxy(_ field: String, _ client: String?) throws
    {
        let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \(field)\r\n\r\n".utf8)
        let head = try head(bytes)
        let found = ClientIdentity.forwarded(head, bytes.span, trusted: trusted)
        #expect(found?.description == client)
    }

    @Test func severalLinesAreOneChain() throws {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX: y\r\nX-Forwarded-For: 10.0.0.9\r\n\r\n"
        let bytes = Array(text.utf8)
        let head = try head(bytes)
        #expect(ClientIdentity.forwarded(head, bytes.span, trusted: trusted)?.description == "1.1.1.1")
    }

    @Test func strangersSpeakForThemselvesAlone() throws {
        let text =
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n"
            + "X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /x\r\n\r\n"
        let lines = try forwarded(text, stranger, writesForwarded: true)
        #expect(!lines.contains { $0.contains("1.1.1.1") || $0.contains("https") || $0.contains("/x") })
        #expect(lines.contains("X-Forwarded-For: 192.0.2.7"))
        #expect(lines.contains("Forwarded: for=192.0.2.7;host=\"a\";proto=http"))
    }

    @Test func chainsGoOn() throws {
        let text =
            "GET / HTTP/1.1\r\nHost: a:8\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n"
        let lines = try forwarded(text, proxy, writesForwarded: true) { $0.client = Array("1.1.1.1".utf8) }
        #expect(lines.contains("X-Forwarded-For: 1.1.1.1, 10.0.0.1"))
        #expect(lines.contains("X-Real-IP: 1.1.1.1"))
        #expect(lines.contains("X-Forwarded-Proto: https"))
        #expect(lines.contains("Forwarded: for=1.1.1.1, for=10.0.0.1;host=\"a:8\";proto=http"))
    }

    @Test func whoHasNoAddressAddsNone() throws {
        let local = ClientIdentity(nil, isTrusted: true)
        let lines = try forwarded("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n", local)
        #expect(lines.contains("X-Forwarded-For: 1.1.1.1"))
        let bare = try forwarded("GET / HTTP/1.1\r\nHost: a\r\n\r\n", local, writesForwarded: true)
        #expect(!bare.contains { $0.hasPrefix("X-Forwarded-For") || $0.hasPrefix("X-Real-IP") })
        #expect(bare.contains("Forwarded: for=unknown;host=\"a\";proto=http"))
        let v6 = try forwarded(
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ClientIdentity(address("2001:db8::1"), isTrusted: false),
            writesForwarded: true)
        #expect(v6.contains("Forwarded: for=\"[2001:db8::1]\";host=\"a\";proto=http"))
    }

    @Test func fieldsAreSetAndRemoved() throws {
        let edits = FieldEdits(
            sets: [
                .init(name: "X-Who", value: [.client, .text(Array("/".utf8)), .host, .scheme, .requestID, .server]),
                .init(name: "Host", value: [.text(Array("model.internal".utf8))]),
                .init(name: "x-forwarded-proto", value: [.text(Array("https".utf8))]),
            ], removes: ["Cookie", "X-Real-IP", "X-Gone"], own: nil)
        let values = FieldValues(
            client: Array("c".utf8), requestID: Array("r".utf8), server: Array("s".utf8), scheme: "http",
            host: Array("h".utf8))
        let text = "GET / HTTP/1.1\r\nHost: a\r\nCookie: x\r\nx-who: me\r\nX-GONE: 1\r\nX-Stays: 1\r\n\r\n"
        let lines = try forwarded(text, stranger) {
            $0.edits = edits
            $0.values = values
        }
        #expect(lines.filter { $0.lowercased().hasPrefix("x-who") } == ["X-Who: c/hhttprs"])
        #expect(lines.filter { $0.lowercased().hasPrefix("host") } == ["Host: model.internal"])
        #expect(lines.filter { $0.lowercased().hasPrefix("x-forwarded-proto") } == ["x-forwarded-proto: https"])
        #expect(lines.contains("X-Stays: 1") && lines.contains("X-Forwarded-For: 192.0.2.7"))
        #expect(!lines.contains { $0.contains("Cookie") || $0.hasPrefix("X-Real-IP") || $0.contains("GONE") })
    }

    @Test(arguments: [("/chat/x?y", "/x?y"), ("/chat", "/"), ("/chat?y", "/?y"), ("/chat/", "/")])
    func prefixesAreTakenOff(_ target: String, _ sent: String) throws {
        let lines = try forwarded("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n", stranger) {
            $0.prefix = 5
            $0.edits = FieldEdits(sets: [], removes: [], own: "X-Forwarded-Prefix")
            $0.values = FieldValues()
        }
        #expect(lines.first == "GET \(sent) HTTP/1.1")
        #expect(lines.contains("X-Forwarded-Prefix: /chat"))
    }
}

extension [UInt8] {
    /// What `body` writes.
    fileprivate init(capacity: Int, _ body: (inout OutputSpan<UInt8>) -> Void) {
        self = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
            body(&output)
            count = unsafe output.finalize(for: buffer)
        }
    }
}
