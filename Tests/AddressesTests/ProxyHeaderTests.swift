import Addresses
import Testing

@Suite struct ProxyHeaderTests {
    private static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]

    private static func binary(_ command: UInt8, _ family: UInt8, _ rest: [UInt8]) -> [UInt8] {
        signature + [command, family, UInt8(rest.count >> 8), UInt8(rest.count & 255)] + rest
    }

    private static let v4: [UInt8] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80]
    private static let v6: [UInt8] =
        [0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1] + [UInt8](repeating: 0, count: 16)
        + [0, 9, 0, 80]

    static let lawful: [([UInt8], String?)] = [
        (Array("PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n".utf8), "192.0.2.1:4660"),
        (Array("PROXY TCP6 2001:db8::1 ::1 9 80\r\n".utf8), "[2001:db8::1]:9"),
        (Array("PROXY UNKNOWN\r\n".utf8), nil), (Array("PROXY UNKNOWN what ever\r\n".utf8), nil),
        (binary(0x21, 0x11, v4), "192.0.2.1:4660"), (binary(0x21, 0x11, v4 + [3, 0, 1, 7]), "192.0.2.1:4660"),
        (binary(0x21, 0x21, v6), "[2001:db8::1]:9"), (binary(0x20, 0x00, []), "proxy"),
        (binary(0x20, 0x11, v4), "proxy"),
        (binary(0x21, 0x00, [1, 2, 3]), nil),
        (binary(0x21, 0x31, [UInt8](repeating: 0, count: 216)), "unix:"),
    ]

    static let malformed: [[UInt8]] =
        [
            "GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "PROXY \r\n", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
            "proxy tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWN " + String(repeating: "x", count: 100) + "\r\n", "\r\n\r\nGET / HTTP/1.1\r\n",
        ].map { Array($0.utf8) } + [
            binary(0x11, 0x11, v4), binary(0x22, 0x11, v4), binary(0x21, 0x12, v4), binary(0x21, 0x11, [1, 2, 3]),
            binary(0x21, 0x41, v4), signature + [0x21, 0x11, 0xff, 0xff],
        ]

    @Test(arguments: lawful) func lawfulHeadersAreRead(_ bytes: [UInt8], _ source: String?) throws {
        let followed = bytes + Array("GET /".utf8)
        let header = try #require(try ProxyHeader.parse(followed.span))
        switch header.source {
        case .client(let client): #expect(client.description == source)
        case .proxy: #expect(source == "proxy")
        case .unknown: #expect(source == nil)
        }
        #expect(header.byteCount == bytes.count)
        // Whatever the pieces.
        for end in 0..<bytes.count {
            #expect(try ProxyHeader.parse(bytes.span.extracting(first: end)) == nil, "\(end)")
        }
    }

    @Test(arguments: malformed) func others(_ bytes: [UInt8]) {
        #expect(throws: ProxyHeader.Malformed.self) { try ProxyHeader.parse(bytes.span) }
    }
}
