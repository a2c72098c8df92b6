// The exchange as stories: events in, actions out, no network anywhere.
import Balancing
import HTTP
import Relay
import Testing

@Suite struct ExchangeTests {
    @Test func aWholeExchange() {
        var exchange = exchange()
        #expect(exchange.handle(.began(.post, hasBody: true, isKeyed: false), now: .zero) == .choose(isRetry: false))
        #expect(exchange.handle(.chosen(server: 2), now: .zero) == .open(server: 2))
        #expect(exchange.deadline == .seconds(5))
        #expect(exchange.handle(.connected(isKept: false), now: .seconds(1)) == .send)
        #expect(exchange.handle(.sent(ofBody: true, isKept: false), now: .seconds(1)) == .none)
        #expect(exchange.handle(.requestEnded, now: .seconds(2)) == .none)
        #expect(exchange.deadline == .seconds(62))
        #expect(exchange.handle(.interimHead(isContinue: true), now: .seconds(3)) == .forwardInterim)
        #expect(exchange.handle(.finalHead(status: 200), now: .seconds(3)) == .forwardHead)
        #expect(exchange.handle(.bodyBytes, now: .seconds(4)) == .none)
        #expect(exchange.deadline == .seconds(14))
        #expect(exchange.handle(.responseEnded, now: .seconds(5)) == .finish)
        #expect(exchange.disposition == .answered)
        #expect(exchange.deadline == nil)
    }

    @Test func aServerThatRefusesIsSkippedForTheNext() {
        var exchange = exchange()
        _ = exchange.handle(.began(.post, hasBody: true, isKeyed: false), now: .zero)
        for server in 0..<3 {
            #expect(exchange.handle(.chosen(server: server), now: .zero) == .open(server: server))
            #expect(exchange.handle(.serverFailed(.connect), now: .zero) == .choose(isRetry: false))
            #expect(exchange.exclusions.contains(server))
        }
        #expect(exchange.handle(.noServer(.noServer), now: .zero) == .reply(.connect))
    }

    @Test func withoutAnyServerTheAnswerIs503() {
        var exchange = exchange()
        _ = exchange.handle(.began(.get, hasBody: false, isKeyed: false), now: .zero)
        #expect(exchange.handle(.noServer(.noServer), now: .zero) == .reply(.noServer))
        #expect(Failure.noServer.status == 503)
    }

    @Test(arguments: [
        (Method.get, false, Exchange.Action.choose(isRetry: true)), (.head, false, .choose(isRetry: true)),
        (.delete, false, .choose(isRetry: true)),
        (.post, false, .reply(.reset)), (.other, false, .reply(.reset)), (.put, true, .reply(.reset)),
    ]) func aLostRequestIsRepeatedOnlyIfItMayRunTwice(_ method: Method, _ hasBody: Bool, _ action: Exchange.Action) {
        var exchange = sent(method, hasBody: hasBody)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == action)
    }

    @Test func retriesAreCounted() {
        var exchange = sent(.get)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .choose(isRetry: true))
        _ = exchange.handle(.chosen(server: 1), now: .zero)
        _ = exchange.handle(.connected(isKept: false), now: .zero)
        _ = exchange.handle(.sent(ofBody: false, isKept: false), now: .zero)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .reply(.reset))
    }

    @Test func aDeadKeptConnectionIsReplacedOnTheSameServer() {
        var exchange = sent(.get, isKept: true)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .openFresh(server: 0))
        _ = exchange.handle(.connected(isKept: false), now: .zero)
        // It did not use up the retry.
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .choose(isRetry: true))
    }

    @Test func aPostOnADeadKeptConnectionIsNotRepeated() {
        var exchange = sent(.post, isKept: true)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .reply(.reset))
    }

    @Test func nothingIsRepeatedAfterAResponseByte() {
        var exchange = sent(.get)
        _ = exchange.handle(.responseBegan, now: .zero)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .reply(.reset))
    }

    @Test func aCutResponseIsCut() {
        var exchange = sent(.get)
        _ = exchange.handle(.finalHead(status: 200), now: .zero)
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .cut(.reset))
        #expect(exchange.disposition == .cut(.reset))
    }

    @Test func malformedResponsesAreNotRetried() {
        var exchange = sent(.get)
        let failure = Failure.badResponse(.malformedStatusLine)
        #expect(exchange.handle(.serverFailed(failure), now: .zero) == .reply(failure))
        #expect(failure.status == 502)
    }

    @Test func interimHeadsAreBounded() {
        var exchange = sent(.get)
        for _ in 0..<32 {
            #expect(exchange.handle(.interimHead(isContinue: true), now: .zero) == .forwardInterim)
        }
        #expect(
            exchange.handle(.interimHead(isContinue: true), now: .zero)
                == .reply(.badResponse(.tooManyInterimResponses)))
    }

    @Test func deadlinesByState() {
        var connecting = exchange()
        _ = connecting.handle(.began(.get, hasBody: false, isKeyed: false), now: .zero)
        _ = connecting.handle(.chosen(server: 0), now: .zero)
        #expect(connecting.handle(.expired(isHeldByClient: false), now: .seconds(5)) == .choose(isRetry: false))

        var waiting = sent(.get)
        #expect(waiting.handle(.expired(isHeldByClient: false), now: .seconds(60)) == .reply(.firstByteTimeout))
        #expect(Failure.firstByteTimeout.status == 504)

        var streaming = sent(.get)
        _ = streaming.handle(.finalHead(status: 200), now: .seconds(1))
        _ = streaming.handle(.bodyBytes, now: .seconds(2))
        #expect(streaming.deadline == .seconds(12))
        #expect(streaming.handle(.expired(isHeldByClient: true), now: .seconds(12)) == .none)
        #expect(streaming.deadline == .seconds(22))
        #expect(streaming.handle(.expired(isHeldByClient: false), now: .seconds(22)) == .cut(.idleTimeout))
    }

    @Test func aSlowUploadIsNotTheServersFault() {
        var exchange = exchange()
        _ = exchange.handle(.began(.post, hasBody: true, isKeyed: false), now: .zero)
        _ = exchange.handle(.chosen(server: 0), now: .zero)
        _ = exchange.handle(.connected(isKept: false), now: .zero)
        #expect(exchange.handle(.expired(isHeldByClient: true), now: .seconds(60)) == .none)
        #expect(exchange.deadline == .seconds(120))
        _ = exchange.handle(.sent(ofBody: true, isKept: false), now: .seconds(100))
        #expect(exchange.deadline == .seconds(160))
        // A server that stops reading is late, whoever else waits.
        #expect(exchange.handle(.expired(isHeldByClient: false), now: .seconds(160)) == .reply(.firstByteTimeout))
    }

    @Test func clientsThatLeaveAreCountedByPhase() {
        var connecting = exchange()
        _ = connecting.handle(.began(.get, hasBody: false, isKeyed: false), now: .zero)
        #expect(connecting.handle(.clientLeft, now: .zero) == .abandon)
        #expect(connecting.disposition == .clientLeft(.connecting))
        var waiting = sent(.get)
        _ = waiting.handle(.clientLeft, now: .zero)
        #expect(waiting.disposition == .clientLeft(.waiting))
        var streaming = sent(.get)
        _ = streaming.handle(.finalHead(status: 200), now: .zero)
        _ = streaming.handle(.clientLeft, now: .zero)
        #expect(streaming.disposition == .clientLeft(.streaming))
    }

    @Test func requestIDsAreKeptOrMade() throws {
        for (field, isKept) in [
            ("X-Request-ID: abc-1._Z", true), ("X-Request-ID: a b", false), ("X-Request-ID:", false),
            ("X-Request-ID: \(String(repeating: "a", count: 129))", false),
            ("X-Request-ID: a\r\nX-Request-ID: b", false), ("X-Other: a", false),
        ] {
            let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\(field)\r\n\r\n".utf8)
            var parser = RequestParser()
            var head = MessageHead()
            #expect(try parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head) == true)
            #expect((RequestID.own(head, bytes.span) != nil) == isKept, "\(field)")
        }
        let made = RequestID.made(from: 0x0123_4567_89ab_cdef, 0xf)
        var text = ""
        for index in made.indices { text.unicodeScalars.append(Unicode.Scalar(made[index])) }
        #expect(text == "0123456789abcdef000000000000000f")
    }
}
