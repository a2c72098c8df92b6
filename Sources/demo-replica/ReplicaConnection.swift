// One connection to a demo replica: reads requests, answers them, one after the other. It trusts its clients no more
// than ballast does.
import EventLoop
import HTTP

final class ReplicaConnection {
    private enum Work {
        case head, body
        /// In line for a slot.
        case waiting
        case generating(token: Int)
        /// This many bytes of a long answer are still to be written.
        case pouring(Int)
    }

    /// The first bytes of a body, enough to find the few keys that matter.
    private static let keptBody = 64 << 10

    let token: Token
    private let replica: Replica
    private var stream: Stream
    private let input: Buffer
    private let output: Buffer
    private var parser = RequestParser()
    private var head = MessageHead()
    private var framing = BodyFraming.none
    private var decoder = ChunkDecoder()
    private var remaining: UInt64 = 0
    private var body: [UInt8] = []
    private var received = 0
    private var path = ""
    private var work = Work.head
    private var holdsSlot = false
    private var tokens = 0
    private var isStreaming = false
    private var closesAfter = false
    private var alarm = Alarm()

    init(token: Token, socket: SocketID, replica: Replica) {
        self.token = token
        self.replica = replica
        stream = Stream(socket)
        input = replica.pool.take()
        output = replica.pool.take()
    }

    func handle(_ readiness: Readiness) {
        stream.note(readiness)
        while stream.mayRead {
            if input.isFull { input.compact() }
            guard !input.isFull else { break }
            switch stream.receive(into: input, on: replica.network) {
            case .moved:
                guard process() else { return }
            case .wouldBlock: continue
            case .ended, .failed:
                // The client has gone, so the generation stops: that is what ballast's clients pay for.
                close()
                return
            }
        }
        flush()
    }

    /// Works through the input; false when the connection is closed.
    private func process() -> Bool {
        do throws(ProtocolError) {
            while !input.isEmpty {
                switch work {
                case .head: guard try readHead() else { return flush() }
                case .body: guard try readBody() else { return flush() }
                case .waiting, .generating, .pouring: return flush()
                }
            }
            return flush()
        } catch {
            closesAfter = true
            answer("\(error.explanation)\n", status: error.status)
            return flush()
        }
    }

    private func readHead() throws(ProtocolError) -> Bool {
        let isComplete = try input.withBytes { bytes throws(ProtocolError) -> Bool in
            try parser.parse(bytes, limits: RequestParser.Limits(), into: &head)
        }
        guard isComplete else { return false }
        path = input.withBytes { bytes in
            let target = bytes.extracting(head.target.indices)
            var text = ""
            for index in target.indices { text.unicodeScalars.append(Unicode.Scalar(target[index])) }
            return text
        }
        input.consume(head.byteCount)
        framing = BodyFraming(request: head)
        decoder = ChunkDecoder()
        if case .length(let length) = framing { remaining = length }
        body.removeAll(keepingCapacity: true)
        received = 0
        closesAfter = !Persistence.isKept(after: head)
        if framing == .none {
            respond()
        } else {
            if head.expectsContinue { output.append { $0.put("HTTP/1.1 100 Continue\r\n\r\n") } }
            work = .body
        }
        return true
    }

    private func readBody() throws(ProtocolError) -> Bool {
        let used = try input.withBytes { bytes throws(ProtocolError) -> Int in
            var position = 0
            while position < bytes.count {
                let count: Int
                if framing == .chunked {
                    switch try decoder.next(bytes, at: &position) {
                    case .data(let length): count = length
                    case .incomplete: return position
                    case .end, .trailers: count = 0
                    }
                } else {
                    count = Int(min(remaining, UInt64(bytes.count - position)))
                    remaining -= UInt64(count)
                }
                keep(bytes.extracting(position..<position + count))
                position += count
                if framing == .chunked ? decoder.isDone : remaining == 0 { return position }
            }
            return position
        }
        input.consume(used)
        if framing == .chunked ? decoder.isDone : remaining == 0 { respond() }
        return true
    }

    private func keep(_ data: Span<UInt8>) {
        received += data.count
        for index in 0..<min(data.count, Self.keptBody - body.count) { body.append(data[index]) }
    }

    // MARK: Answers

    private func respond() {
        work = .head
        if path != "/health" {
            if replica.dropsNow() {
                closesAfter = true
                return
            }
            guard !replica.failsNow() else { return answer("failed, as it was told to\n", status: 500) }
        }
        switch (head.method, path) {
        case (.get, "/health"), (.head, "/health"):
            let isLoaded = replica.isLoaded
            answer("{\"status\":\"\(isLoaded ? "ok" : "loading")\"}\n", status: isLoaded ? 200 : 503)
        case (.get, "/v1/models"): answer(Answers.models(replica.options.name))
        case (.post, "/predict"): answer(Answers.prediction(replica.options.name, received: received))
        case (.post, "/v1/chat/completions"):
            tokens = min(replica.options.tokens, max(1, Answers.number("max_tokens", in: body) ?? .max))
            isStreaming = Answers.isTrue("stream", in: body)
            work = .waiting
            if replica.takeSlot(token) { slotGranted() }
        case (.get, let path) where path.hasPrefix("/bytes/"):
            guard let count = Int(path.dropFirst(7)), count >= 0 else {
                answer("not a number\n", status: 400)
                return
            }
            startHead(status: 200, type: "application/octet-stream", length: count)
            work = .pouring(count)
        case _: answer("nothing here\n", status: 404)
        }
    }

    private func startHead(status: Int, type: StaticString, length: Int?) {
        output.append { target in
            target.put("HTTP/1.1 ")
            target.put(UInt64(status))
            target.put(status == 200 ? " OK\r\nContent-Type: " : " Error\r\nContent-Type: ")
            target.put(type)
            target.put(closesAfter ? "\r\nConnection: close\r\n" : "\r\n")
            if let length {
                HeadWriter.contentLength(UInt64(length), to: &target)
            } else {
                HeadWriter.framing(.chunked, to: &target)
            }
            target.put("\r\n")
        }
    }

    private func answer(_ text: String, status: Int = 200) {
        startHead(status: status, type: "application/json", length: text.utf8.count)
        let isHead = head.method == .head
        if !isHead { output.append { $0.put(Array(text.utf8).span) } }
    }

    private func put(chunk text: String) {
        output.append { HeadWriter.chunk(Array(text.utf8).span, to: &$0) }
    }

    // MARK: Generating

    /// A slot is there: the generation starts.
    func slotGranted() {
        holdsSlot = true
        work = .generating(token: 0)
        let whole = replica.options.timeToFirstToken + replica.options.timePerToken * (tokens - 1)
        setAlarm(after: isStreaming ? replica.options.timeToFirstToken : whole)
    }

    private func setAlarm(after delay: Duration) {
        alarm.set(replica.now + delay, token: token, in: &replica.timers)
    }

    func expire(_ time: Duration) {
        guard alarm.isDue(time, now: replica.now, token: token, in: &replica.timers),
            case .generating(let index) = work
        else { return }
        let name = replica.options.name
        if !isStreaming {
            answer(Answers.completion(name, tokens: tokens))
            finishGenerating()
            return
        }
        if index == 0 { startHead(status: 200, type: "text/event-stream", length: nil) }
        put(chunk: Answers.event(name, token: index, of: tokens, sentAt: replica.now))
        if index + 1 < tokens {
            work = .generating(token: index + 1)
            // The rhythm is kept: the next token is due one step after this one was, not after it was sent.
            alarm.set(time + replica.options.timePerToken, token: token, in: &replica.timers)
            _ = flush()
        } else {
            put(chunk: Answers.lastEvent)
            output.append { $0.put(HeadWriter.lastChunk) }
            finishGenerating()
        }
    }

    private func finishGenerating() {
        work = .head
        giveSlot()
        if flush(), !input.isEmpty { _ = process() }
    }

    private func giveSlot() {
        guard holdsSlot else { return }
        holdsSlot = false
        replica.giveSlot()
    }

    // MARK: Output

    /// Sends what there is; false when the connection is closed.
    @discardableResult
    private func flush() -> Bool {
        pour()
        while !output.isEmpty {
            guard stream.maySend else { return true }
            switch stream.send(output, nil, limit: 0, on: replica.network) {
            case .moved: pour()
            case .wouldBlock: return true
            case .ended, .failed:
                close()
                return false
            }
        }
        if closesAfter, case .head = work {
            close()
            return false
        }
        return true
    }

    /// Fills the output with a long answer's next bytes.
    private func pour() {
        guard case .pouring(let rest) = work, output.isEmpty || output.freeCount > 0 else { return }
        let count = min(rest, output.freeCount)
        output.append { $0.append(repeating: UInt8(ascii: "x"), count: count) }
        work = rest == count ? .head : .pouring(rest - count)
    }

    func close() {
        alarm.set(nil, token: token, in: &replica.timers)
        replica.network.close(stream.socket, resetting: false)
        input.clear()
        output.clear()
        replica.pool.give(input)
        replica.pool.give(output)
        replica.remove(token)
        giveSlot()
    }
}
