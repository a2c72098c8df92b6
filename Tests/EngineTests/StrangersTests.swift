// How clients are judged and told: their pace, and the form of answers.
import HTTP
import Relay
import Testing

@testable import Engine

@Suite struct ClientPaceTests {
    private let limit = Duration.seconds(60)

    @Test func aBodyIsJudgedByTheTimeThatItWasWaitedFor() {
        var pace = ClientPace()
        pace.awaitBody(now: .zero)
        // Slow, but not for long.
        #expect(pace.bodyMoved(received: 10, rate: 256, now: .seconds(9)) == .inTime)
        // While nobody waits, time does not count.
        pace.awaitBody(now: .seconds(100))
        #expect(pace.bodyMoved(received: 20, rate: 256, now: .milliseconds(100_500)) == .inTime)
        pace.awaitBody(now: .seconds(200))
        #expect(pace.bodyMoved(received: 30, rate: 256, now: .seconds(201)) == .slow)
    }

    @Test func fastEnoughIsInTime() {
        var pace = ClientPace()
        pace.awaitBody(now: .zero)
        #expect(pace.bodyMoved(received: 20 * 256, rate: 256, now: .seconds(20)) == .inTime)
        pace.awaitBody(now: .seconds(20))
        #expect(pace.bodyMoved(received: 20 * 256 + 1, rate: 256, now: .seconds(21)) == .slow)
        pace.awaitBody(now: .seconds(21))
        #expect(pace.bodyMoved(received: 1, rate: 0, now: .seconds(1000)) == .inTime)
    }

    @Test func silenceIsCountedFromTheLastByte() {
        var pace = ClientPace()
        #expect(pace.isSilent(limit, now: .seconds(1000)) == false)
        pace.awaitBody(now: .seconds(10))
        #expect(pace.nextLook(limit) == .seconds(70))
        #expect(pace.isSilent(limit, now: .seconds(69)) == false)
        #expect(pace.isSilent(limit, now: .seconds(70)))
        _ = pace.bodyMoved(received: 1 << 20, rate: 256, now: .seconds(65))
        pace.awaitBody(now: .seconds(65))
        #expect(pace.isSilent(limit, now: .seconds(124)) == false)
    }

    @Test func aReaderIsJudgedByWhatItsSystemTook() {
        var pace = ClientPace()
        pace.watchReading(taken: 1000, limit: limit, now: .zero)
        #expect(pace.nextLook(limit) == .milliseconds(2500))
        #expect(pace.judgeReading(taken: 1000 + 2560, rate: 256, limit: limit, now: .seconds(10)) == .inTime)
        #expect(pace.nextLook(limit) == .milliseconds(12_500))
        #expect(pace.judgeReading(taken: 1000 + 2560 + 2559, rate: 256, limit: limit, now: .seconds(20)) == .slow)
        // Windows open in steps: what is long without progress is made up for by the step.
        pace.watchReading(taken: 0, limit: limit, now: .zero)
        #expect(pace.judgeReading(taken: 0, rate: 256, limit: limit, now: .seconds(30)) == .inTime)
        #expect(pace.judgeReading(taken: 43_690, rate: 256, limit: limit, now: .seconds(40)) == .inTime)
    }

    @Test func aReaderThatTakesNothingIsSilent() {
        var pace = ClientPace()
        let limit = Duration.seconds(1)
        pace.watchReading(taken: 0, limit: limit, now: .zero)
        // Looked at so often that progress is not dated much later than it was.
        #expect(pace.nextLook(limit) == .milliseconds(250))
        #expect(pace.judgeReading(taken: 500, rate: 0, limit: limit, now: .seconds(1)) == .inTime)
        #expect(pace.judgeReading(taken: 500, rate: 0, limit: limit, now: .seconds(2)) == .silent)
    }

    @Test func aReaderMayPauseAsLongAsItMayBeSilent() {
        var pace = ClientPace()
        pace.watchReading(taken: 0, limit: limit, now: .zero)
        for seconds in stride(from: 10, to: 60, by: 10) {
            #expect(pace.judgeReading(taken: 0, rate: 256, limit: limit, now: .seconds(seconds)) == .inTime)
        }
        // One byte does not buy another minute.
        #expect(pace.judgeReading(taken: 1, rate: 256, limit: limit, now: .seconds(59)) == .slow)
        pace.watchReading(taken: 0, limit: limit, now: .zero)
        #expect(pace.judgeReading(taken: 0, rate: 256, limit: limit, now: .seconds(60)) == .silent)
    }
}

@Suite struct AnswerFormTests {
    private func form(_ fields: String) throws -> AnswerForm {
        let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n".utf8)
        var parser = RequestParser()
        var head = MessageHead()
        #expect(try parser.parse(bytes.span, limits: .init(), into: &head) == true)
        return AnswerForm(for: head, bytes.span)
    }

    @Test(arguments: [
        ("", AnswerForm.text), ("Accept: */*\r\n", .text), ("Accept: application/json\r\n", .json),
        ("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n", .html),
        ("Accept: text/event-stream\r\n", .json), ("Accept: application/*\r\n", .json),
        ("Accept: */*\r\nContent-Type: application/json; charset=utf-8\r\n", .json),
        ("Content-Type: application/json\r\n", .json), ("Content-Type: text/plain\r\n", .text),
        ("Accept: text/plain;q=0.5, application/json;q=0.6\r\n", .json),
        ("Accept: text/plain;q=0.6, application/json;q=0.5\r\n", .text),
        ("Accept: application/json;q=0, */*\r\n", .text), ("Accept: text/*;q=0.1, application/json; q=0.2\r\n", .json),
        ("Accept: text/html;q=1.000;x=y, application/json\r\nContent-Type: application/json\r\n", .json),
        ("Accept: image/png\r\n", .text), ("Accept:\r\n", .text), ("Accept: ;q=,q=;;,/,\r\n", .text),
        ("Accept: APPLICATION/JSON\r\n", .json), ("accept: text/html\r\nAccept: application/json;q=0.9\r\n", .html),
    ]) func followsAccept(_ fields: String, _ expected: AnswerForm) throws { #expect(try form(fields) == expected) }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test func bodiesOfTheOperatorAreFilled() {
        var bodies = AnswerBodies()
        bodies.add("<p>{status} {message} {unknown} {request-id} {", for: "503", .html)
        bodies.add("{\"e\":\"{type}\"}", for: "5xx", .json)
        #expect(
            text(bodies.body(.noServer, .html, requestID: Array("a<b".utf8)))
                == "<p>503 no server can take the request {unknown} a&lt;b {")
        #expect(text(bodies.body(.connect, .json, requestID: Array("x".utf8))) == "{\"e\":\"connect\"}")
        // What nothing was said of stays as it is.
        #expect(
            text(bodies.body(.noRoute, .text, requestID: Array("x".utf8)))
                == "404 Not Found: nothing is served here\nrequest x\n")
    }

    @Test func aBodyThatGrowsTooLargeIsNotUsed() {
        var bodies = AnswerBodies()
        bodies.add(String(repeating: "{message}", count: 1500), for: "503", .text)
        #expect(text(bodies.body(.noServer, .text, requestID: Array("x".utf8))).utf8.count < 200)
    }

    /// Every failure has an answer that is whole, in every form.
    @Test func everyFailureHasItsAnswer() {
        let failures =
            [
                Failure.connect, .connectTimeout, .reset, .firstByteTimeout, .idleTimeout, .requestTimeout,
                .headTimeout,
                .bodyTimeout, .writeTimeout, .bodyRate, .readRate, .clientLimit, .tooLarge, .noServer, .queueFull,
                .queueTimeout, .noRoute, .shutdown,
            ] + ProtocolError.allCases.map(Failure.badRequest) + ProtocolError.allCases.map(Failure.badResponse)
        for failure in failures {
            #expect("\(Replies.reason(failure.status))" != "Error", "\(failure) is answered with \(failure.status)")
            for form in AnswerForm.allCases {
                let body = text(AnswerBodies().body(failure, form, requestID: Array("id".utf8)))
                #expect(body.contains("id") && body.contains("\(failure.status)") && !body.contains("{status}"))
            }
            // What can be counted by a limit's name is answered by the client's fault or the server's.
            #expect(AnswerBodies.names.contains("\(failure.status)"))
        }
    }
}
