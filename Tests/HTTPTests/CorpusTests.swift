// Every row of the corpus: fed whole, split at every byte, and truncated at every byte.
import HTTP
import TestKit
import Testing

/// What a parser made of some bytes.
private enum Verdict: Equatable {
    case incomplete
    case refused(Int)
    /// `body` is nil where it is not whole.
    case accepted(Summary)

    struct Summary: Equatable {
        var start: String
        var host = ""
        var body: [UInt8]?
    }
}

/// One row's outcome, taken apart.
private struct Outcome {
    let parser: String
    /// What the proxy does, where that is not what the parser says.
    let proxy: String?
    let attributes: [String: String]

    init(_ text: String) {
        let parts = text.split(separator: " | ", omittingEmptySubsequences: false).map(String.init)
        proxy = parts.count > 1 ? parts[1] : nil
        let words = parts[0].split(separator: " ", omittingEmptySubsequences: false)
        let isAccepted = words[0] == "accept"
        parser = words.prefix(isAccepted ? 4 : 1).joined(separator: " ")
        attributes = Dictionary(
            words.dropFirst(4).map { word in
                let pair = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return (String(pair[0]), String(pair.count > 1 ? pair[1] : ""))
            }, uniquingKeysWith: { first, _ in first })
    }

    func isMet(by verdict: Verdict) -> Bool {
        switch verdict {
        case .incomplete: return parser == "incomplete"
        case .refused(let status): return parser == "\(status)"
        case .accepted(let summary):
            guard parser == "accept " + summary.start else { return false }
            if let host = attributes["host"], host != summary.host { return false }
            if let body = attributes["body"], Array(body.utf8) != summary.body { return false }
            return true
        }
    }
}

private func text(_ bytes: [UInt8], _ range: ByteRange) -> String {
    String(decoding: bytes[range.indices], as: UTF8.self)
}

private func text(_ framing: BodyFraming) -> String {
    switch framing {
    case .none: "none"
    case .length(let count): "length=\(count)"
    case .chunked: "chunked"
    case .untilClose: "untilClose"
    }
}

/// A body from the pieces of `bytes` that end at `ends`; nil where it is not whole.
private func readBody(
    _ bytes: [UInt8], from start: Int, ends: some Sequence<Int>, _ framing: BodyFraming
) throws(ProtocolError) -> [UInt8]? {
    switch framing {
    case .none: return []
    case .untilClose: return Array(bytes[start...])
    case .length(let count):
        return bytes.count - start < count ? nil : Array(bytes[start..<start + Int(count)])
    case .chunked:
        var decoder = ChunkDecoder()
        var position = start
        var body: [UInt8] = []
        for end in ends {
            while position < end, !decoder.isDone {
                if case .data(let count) = try decoder.next(bytes.span.extracting(first: end), at: &position) {
                    body += bytes[position..<position + count]
                    position += count
                }
            }
        }
        return decoder.isDone ? body : nil
    }
}

/// Reads one request from the pieces of `bytes` that end at `ends`, its chunked body too.
private func readRequest(_ bytes: [UInt8], ends: [Int]) -> Verdict {
    var parser = RequestParser()
    var head = MessageHead()
    do {
        for (index, end) in ends.enumerated() {
            guard try parser.parse(bytes.span.extracting(first: end), limits: RequestParser.Limits(), into: &head)
            else { continue }
            let framing = BodyFraming(request: head)
            let body = try readBody(bytes, from: head.byteCount, ends: ends[index...], framing)
            if framing == .chunked, body == nil { return .incomplete }
            let start = "\(text(bytes, head.methodName)) \(text(bytes, head.target)) \(text(framing))"
            return .accepted(.init(start: start, host: text(bytes, head.effectiveHost), body: body))
        }
    } catch {
        return .refused(error.status)
    }
    return .incomplete
}

private func readResponse(_ bytes: [UInt8], to method: String, ends: [Int]) -> Verdict {
    var parser = ResponseParser()
    var head = MessageHead()
    do {
        for (index, end) in ends.enumerated()
        where try parser.parse(bytes.span.extracting(first: end), into: &head) {
            let framing = BodyFraming(response: head, to: method == "HEAD" ? .head : .get)
            var name = text(framing)
            if framing == .none, head.contentLength == 0, method != "HEAD" { name = "length=0" }
            let body = try? readBody(bytes, from: head.byteCount, ends: ends[index...], framing)
            return .accepted(.init(start: "\(method) \(head.status) \(name)", body: body))
        }
        return .incomplete
    } catch {
        return .refused(502)
    }
}

/// Places at which a message is split: every one, or of long ones a sample with both ends.
private func splits(_ count: Int) -> [Int] {
    let all = 1..<max(2, count)
    return count < 1200 ? Array(all) : all.filter { $0 < 100 || $0 % 509 == 0 || $0 > count - 100 }
}

@Suite struct CorpusTests {
    static let requests = Corpus.rows("requests.tsv", beside: #filePath)
    static let responses = Corpus.rows("responses.tsv", beside: #filePath)

    @Test func corpusIsThere() {
        #expect(Self.requests.count >= 300)
        #expect(Self.responses.count >= 120)
        #expect(Set(Self.requests.map(\.id)).count == Self.requests.count)
        #expect(Set(Self.responses.map(\.id)).count == Self.responses.count)
    }

    @Test(arguments: requests) func requestWhole(_ row: CorpusRow) {
        let verdict = readRequest(row.bytes, ends: [row.bytes.count])
        #expect(Outcome(row.outcome).isMet(by: verdict), "\(row.id) (RFC \(row.section)): \(verdict)")
    }

    @Test(arguments: requests) func requestSplit(_ row: CorpusRow) {
        let outcome = Outcome(row.outcome)
        for split in splits(row.bytes.count) {
            let verdict = readRequest(row.bytes, ends: [split, row.bytes.count])
            #expect(outcome.isMet(by: verdict), "\(row.id) split at \(split): \(verdict)")
        }
        if row.bytes.count < 600 {
            let verdict = readRequest(row.bytes, ends: Array(1...row.bytes.count))
            #expect(outcome.isMet(by: verdict), "\(row.id) byte by byte: \(verdict)")
        }
    }

    /// A prefix is incomplete, or ends as the whole does: what follows a head never changes what it means.
    @Test(arguments: requests) func requestTruncated(_ row: CorpusRow) {
        let outcome = Outcome(row.outcome)
        for end in splits(row.bytes.count) {
            switch readRequest(Array(row.bytes.prefix(end)), ends: [end]) {
            case .incomplete: continue
            case .accepted(let summary):
                #expect(outcome.parser == "accept " + summary.start, "\(row.id) cut at \(end): \(summary)")
            case .refused(let status): #expect(outcome.parser == "\(status)", "\(row.id) cut at \(end): \(status)")
            }
        }
    }

    @Test(arguments: responses) func response(_ row: CorpusRow) {
        let outcome = Outcome(row.outcome)
        let words = outcome.parser.split(separator: " ").map(String.init)
        let method = words.count > 1 ? words[1] : "GET"
        let whole = readResponse(row.bytes, to: method, ends: [row.bytes.count])
        #expect(outcome.isMet(by: whole), "\(row.id) (RFC \(row.section)): \(whole)")
        if case .accepted(let summary) = whole, outcome.proxy == nil || outcome.proxy == "cut" {
            #expect((summary.body == nil) == (outcome.proxy == "cut"), "\(row.id): the body is \(summary)")
        }
        for split in splits(row.bytes.count) {
            let verdict = readResponse(row.bytes, to: method, ends: [split, row.bytes.count])
            #expect(outcome.isMet(by: verdict), "\(row.id) split at \(split): \(verdict)")
            let cut = readResponse(row.bytes, to: method, ends: [split])
            if case .refused = cut { #expect(outcome.isMet(by: cut), "\(row.id) cut at \(split): \(cut)") }
        }
    }
}
