// Small laws of the message types: dates, byte classes, field names, writers.
import HTTP
import TestKit
import Testing

private func string(_ bytes: Span<UInt8>) -> String {
    var text = ""
    for index in bytes.indices { text.unicodeScalars.append(Unicode.Scalar(bytes[index])) }
    return text
}

/// What `write` puts into a span of `capacity` bytes.
private func written(capacity: Int = 4096, _ write: (inout OutputSpan<UInt8>) -> Void) -> String {
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
        var output = unsafe OutputSpan(buffer: buffer, initializedCount: 0)
        write(&output)
        count = unsafe output.finalize(for: buffer)
    }
    return String(decoding: bytes, as: UTF8.self)
}

@Suite struct MessageTests {
    @Test(arguments: [
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (1_709_164_799, "Wed, 28 Feb 2024 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ]) func date(_ seconds: Int, _ text: String) {
        #expect(string(HTTPDate(seconds: Int64(seconds)).bytes.span) == text)
    }

    @Test func tokenBytesAreThoseOfTheGrammar() {
        let tokens = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        for byte in UInt8.min...UInt8.max { #expect(ByteScan.isTokenByte(byte) == tokens.contains(byte), "\(byte)") }
    }

    @Test func firstControlFindsEveryControlAtEveryPlace() {
        for byte in UInt8.min...UInt8.max {
            for place in 0..<20 {
                var bytes = [UInt8](repeating: 0xa0, count: 20)
                bytes[place] = byte
                let isControl = byte < 0x20 || byte == 0x7f
                #expect(
                    ByteScan.firstControl(in: bytes.span, from: 0) == (isControl ? place : 20), "\(byte) at \(place)")
            }
        }
    }

    @Test func everyKnownNameIsRecognisedInAnyCase() throws {
        for name in FieldName.allCases where name != .other && name != .xForwardedOther {
            for spelling in ["\(name.text)", "\(name.text)".lowercased(), "\(name.text)".uppercased()] {
                let value =
                    switch name {
                    case .contentLength: "1"
                    case .transferEncoding: "chunked"
                    case .expect: "100-continue"
                    case _: "x"
                    }
                let bytes = Array("GET / HTTP/1.0\r\n\(spelling): \(value)\r\n\r\n".utf8)
                var parser = RequestParser()
                var head = MessageHead()
                _ = try? parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head)
                #expect(head.field(0).known == name, "\(spelling)")
            }
        }
    }

    @Test func writersNeverPassTheirRoom() {
        #expect(written(capacity: 5) { $0.put("0123456789") } == "01234")
        #expect(written(capacity: 3) { $0.put(UInt64(98_765)) } == "987")
        #expect(written { $0.put(UInt64.max) } == "18446744073709551615")
        #expect(written { $0.put(UInt64(255), radix: 16) } == "ff")
        #expect(written { HeadWriter.chunk(Array("hello".utf8).span, to: &$0) } == "5\r\nhello\r\n")
    }

    /// What Connection names is dropped; what it may not name stays.
    @Test func connectionFieldsDoNotPass() throws {
        let request =
            "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close, X-Secret, host, x-forwarded-for\r\nKeep-Alive: timeout=5\r\n"
            + "X-Secret: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Forwarded-For: 1.2.3.4\r\nX_Under: 1\r\n"
            + "Accept: */*\r\n\r\n"
        let bytes = Array(request.utf8)
        var parser = RequestParser()
        var head = MessageHead()
        #expect(try parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head) == true)
        let fields = written { HeadWriter.fields(head, bytes.span, except: [], underscores: false, to: &$0) }
        #expect(fields == "Host: h\r\nX-Forwarded-For: 1.2.3.4\r\nAccept: */*\r\n")
    }

    @Test(arguments: [
        ("GET http://b HTTP/1.1", "GET / HTTP/1.1\r\n"), ("GET http://b?q HTTP/1.1", "GET /?q HTTP/1.1\r\n"),
        ("OPTIONS http://b HTTP/1.1", "OPTIONS * HTTP/1.1\r\n"), ("GET /x HTTP/1.0", "GET /x HTTP/1.1\r\n"),
    ]) func requestLine(_ line: String, _ expected: String) throws {
        let bytes = Array("\(line)\r\nHost: a\r\n\r\n".utf8)
        var parser = RequestParser()
        var head = MessageHead()
        #expect(try parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head) == true)
        #expect(written { HeadWriter.requestLine(head, bytes.span, to: &$0) } == expected)
    }

    @Test func persistence() throws {
        for (text, isKept) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false), ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ] {
            var parser = RequestParser()
            var head = MessageHead()
            #expect(try parser.parse(Array(text.utf8).span, limits: RequestParser.Limits(), into: &head) == true)
            #expect(Persistence.isKept(after: head) == isKept, "\(text)")
        }
    }

    /// Bodies chunked at random sizes, with random spellings, decode to themselves whatever the pieces.
    @Test func chunksDecodeToThemselves() throws {
        for number in 0..<200 {
            var seed = Seed(UInt64(number))
            let body = (0..<seed.pick(0...3000)).map { _ in UInt8(truncatingIfNeeded: seed.next()) }
            var wire: [UInt8] = []
            var rest = body[...]
            while !rest.isEmpty {
                let piece = rest.prefix(seed.pick(1...500))
                let size = String(piece.count, radix: 16, uppercase: seed.chance(50))
                wire += Array("\(seed.chance(30) ? "00" : "")\(size)\(seed.chance(30) ? ";x=\"y\"" : "")\r\n".utf8)
                wire += piece + [0x0d, 0x0a]
                rest = rest.dropFirst(piece.count)
            }
            wire += Array("0\r\nA: b\r\n\r\nNEXT".utf8)
            var decoder = ChunkDecoder()
            var decoded: [UInt8] = []
            var trailers: [UInt8] = []
            var position = 0
            var end = 0
            while !decoder.isDone {
                end = min(wire.count, end + seed.pick(1...700))
                while position < end, !decoder.isDone {
                    switch try decoder.next(wire.span.extracting(first: end), at: &position) {
                    case .data(let count):
                        decoded += wire[position..<(position + count)]
                        position += count
                    case .trailers(let range): trailers += wire[range]
                    case .incomplete, .end: break
                    }
                }
            }
            #expect(decoded == body)
            #expect(trailers == Array("A: b\r\n".utf8))
            #expect(wire.count - position == 4)
        }
    }
}

@Suite struct CivilDateTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"), (951_782_400.5, "2000-02-29T00:00:00.500Z"),
        (1_795_240_472.123, "2026-11-21T05:54:32.123Z"),
    ]) func timestamps(_ seconds: Double, _ text: String) { #expect(CivilDate.timestamp(seconds) == text) }
}
