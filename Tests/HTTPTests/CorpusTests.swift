// Every row of the corpus: fed whole, split at every byte, and truncated at every byte.
import HTTP
import TestKit
import Testing

/// What a parser made of some bytes.
private enum Verdict: Equatable {
    case incomplete
    case refused(Int)
    case accepted(String)
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

/// Reads one request from the pieces of `bytes` that end at `ends`, its chunked body too.
private func readRequest(_ bytes: [UInt8], ends: [Int]) -> Verdict {
    var parser = RequestParser()
    var head = MessageHead()
    var decoder: ChunkDecoder?
    var position = 0
    do {
        for end in ends {
            if decoder == nil {
                guard try parser.parse(bytes.span.extracting(first: end), limits: RequestParser.Limits(), into: &head)
                else { continue }
                decoder = ChunkDecoder()
                position = head.byteCount
            }
            guard BodyFraming(request: head) == .chunked else { continue }
            while case .data(let count)? = try decoder?.next(bytes.span.extracting(first: end), at: &position) {
                position += count
            }
        }
    } catch {
        return .refused(error.status)
    }
    guard let decoder else { return .incomplete }
    let framing = BodyFraming(request: head)
    if framing == .chunked, !decoder.isDone { return .incomplete }
    var summary = "\(text(bytes, head.methodName)) \(text(bytes, head.target)) \(text(framing))"
    summary += " host=" + text(bytes, head.effectiveHost)
    return .accepted(summary)
}

private func readResponse(_ bytes: [UInt8], to method: Method, ends: [Int]) -> Verdict {
    var parser = ResponseParser()
    var head = MessageHead()
    do {
        for end in ends where try parser.parse(bytes.span.extracting(first: end), into: &head) {
            var framing = text(BodyFraming(response: head, to: method))
            if framing == "none", head.contentLength == 0, method != .head { framing = "length=0" }
            return .accepted("\(head.status) \(framing)")
        }
        return .incomplete
    } catch {
        return .refused(502)
    }
}

private func isMet(_ outcome: String, _ verdict: Verdict) -> Bool {
    switch verdict {
    case .incomplete: false
    case .refused(let status): outcome == "\(status)"
    case .accepted(let summary):
        outcome.hasPrefix("accept ")
            && (summary == outcome.dropFirst(7) || summary.hasPrefix(outcome.dropFirst(7) + " host="))
    }
}

/// Every place at which a message can be split.
private func splits(_ count: Int) -> Range<Int> { 1..<max(2, count) }

@Suite struct CorpusTests {
    static let requests = Corpus.rows("requests.tsv", beside: #filePath)
    static let responses = Corpus.rows("responses.tsv", beside: #filePath)

    @Test func corpusIsThere() {
        #expect(Self.requests.count >= 150)
        #expect(Self.responses.count >= 50)
        #expect(Set(Self.requests.map(\.id)).count == Self.requests.count)
        #expect(Set(Self.responses.map(\.id)).count == Self.responses.count)
    }

    @Test(arguments: requests) func requestWhole(_ row: CorpusRow) {
        let verdict = readRequest(row.bytes, ends: [row.bytes.count])
        #expect(isMet(row.outcome, verdict), "\(row.id) (RFC \(row.section)): \(verdict)")
    }

    @Test(arguments: requests) func requestSplit(_ row: CorpusRow) {
        for split in splits(row.bytes.count) {
            let verdict = readRequest(row.bytes, ends: [split, row.bytes.count])
            #expect(isMet(row.outcome, verdict), "\(row.id) split at \(split): \(verdict)")
        }
        if row.bytes.count < 600 {
            let verdict = readRequest(row.bytes, ends: Array(1...row.bytes.count))
            #expect(isMet(row.outcome, verdict), "\(row.id) byte by byte: \(verdict)")
        }
    }

    /// A prefix is incomplete, or ends as the whole does: what follows a head never changes what it means.
    @Test(arguments: requests) func requestTruncated(_ row: CorpusRow) {
        for end in splits(row.bytes.count) {
            let verdict = readRequest(row.bytes, ends: [end])
            switch verdict {
            case .incomplete: continue
            case .refused, .accepted: #expect(isMet(row.outcome, verdict), "\(row.id) cut at \(end): \(verdict)")
            }
        }
    }

    @Test(arguments: responses) func response(_ row: CorpusRow) {
        let method: Method = row.outcome.contains(" HEAD ") ? .head : .get
        var outcome = row.outcome
        for name in ["GET ", "HEAD ", "POST "] where outcome.hasPrefix("accept " + name) {
            outcome = "accept " + outcome.dropFirst(7 + name.count)
        }
        let whole = readResponse(row.bytes, to: method, ends: [row.bytes.count])
        #expect(isMet(outcome, whole), "\(row.id) (RFC \(row.section)): \(whole)")
        for split in splits(row.bytes.count) {
            let verdict = readResponse(row.bytes, to: method, ends: [split, row.bytes.count])
            #expect(isMet(outcome, verdict), "\(row.id) split at \(split): \(verdict)")
            let cut = readResponse(row.bytes, to: method, ends: [split])
            if case .refused = cut { #expect(isMet(outcome, cut), "\(row.id) cut at \(split): \(cut)") }
        }
    }
}
