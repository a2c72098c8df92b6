// A client with a script: sends requests as its seed says, and holds every answer against the promises.
public import Addresses
import HTTP

/// One request of a script.
public struct ScriptedRequest {
    public var nonce: String
    public var method: String
    /// Bytes that the answer shall have, and how it shall be framed.
    public var answerSize = 0
    public var kind = "length"
    public var bodySize: Int?
    public var isChunked = false
    public var expectsContinue = false
    public var isKeyed = false
    /// Bytes to send through a tunnel; nil asks for none.
    public var tunnelSize: Int?

    public init(nonce: String, method: String) {
        self.nonce = nonce
        self.method = method
    }

    var bytes: [UInt8] {
        var text =
            "\(method) /\(nonce)/\(answerSize)/\(kind)/\(bodySize ?? 0) HTTP/1.1\r\nHost: model.test\r\nConnection: x-drop\r\nX-Drop: 1\r\n"
        if tunnelSize != nil {
            return Array(
                "GET /\(nonce)/0/tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n".utf8)
        }
        if isKeyed { text += "Idempotency-Key: \(nonce)\r\n" }
        if expectsContinue { text += "Expect: 100-continue\r\n" }
        guard let bodySize else { return Array((text + "\r\n").utf8) }
        let body = OriginConversation.body(nonce: nonce, size: bodySize, received: 0)
        guard isChunked else { return Array((text + "Content-Length: \(bodySize)\r\n\r\n").utf8) + body }
        var bytes = Array((text + "Transfer-Encoding: chunked\r\n\r\n").utf8)
        var rest = body[...]
        while !rest.isEmpty {
            let piece = rest.prefix(700)
            bytes += Array((String(piece.count, radix: 16) + "\r\n").utf8) + piece + [0x0d, 0x0a]
            rest = rest.dropFirst(piece.count)
        }
        return bytes + Array("0\r\n\r\n".utf8)
    }
}

/// How a scripted client treats its connection.
public struct ClientManners {
    /// Sends a request before the last one is answered.
    public var pipelines = false
    /// Leaves after this long, by FIN or by reset.
    public var leavesAfter: Duration?
    public var leavesByReset = false
    /// Reads only this many bytes every 10 ms.
    public var readsSlowly: Int?
    /// Sends pieces of this size every millisecond.
    public var sendsSlowly: Int?
    /// Bytes to send instead of requests.
    public var malformed: String?

    public init() {}
}

/// What became of one request.
public enum AnswerOutcome: Equatable {
    case answered(status: Int)
    /// The connection ended before the answer did.
    case cut
    case none
}

public final class ScriptedClient: Peer {
    public private(set) var outcomes: [String: AnswerOutcome] = [:]
    public private(set) var hasLeft = false
    /// The connection was closed by ballast, or by the client.
    public private(set) var isOver = false
    private let world: SimulatedWorld
    private let judge: Judge
    private let manners: ClientManners
    private var waiting: [ScriptedRequest]
    private var asked: [ScriptedRequest] = []
    private var side: Side?
    private var output: [UInt8] = []
    private var bytes: [UInt8] = []
    private var parser = ResponseParser()
    private var head = MessageHead()
    private var framing = BodyFraming.none
    private var isReadingBody = false
    private var decoder = ChunkDecoder()
    private var remaining: UInt64 = 0
    private var body: [UInt8] = []
    private var isSendingSlowly = false
    private var refusal: Int?
    /// Both sides have switched; what comes back is kept.
    private var isTunnel = false
    private var echoed: [UInt8] = []

    public init(_ world: SimulatedWorld, judge: Judge, requests: [ScriptedRequest], manners: ClientManners) {
        self.world = world
        self.judge = judge
        self.manners = manners
        waiting = requests
        for request in requests { outcomes[request.nonce] = AnswerOutcome.none }
    }

    /// Requests that were sent and got no answer.
    public var unanswered: [String] { asked.map(\.nonce) }

    /// The status that malformed bytes were answered with.
    public var refusalStatus: Int? { refusal }

    public func start(_ endpoint: Endpoint) {
        guard let side = world.connectClient(self, to: endpoint) else {
            isOver = true
            return
        }
        self.side = side
        if let malformed = manners.malformed {
            output = Array(malformed.utf8)
            flush()
        } else {
            askNext()
        }
        if let time = manners.leavesAfter { world.schedule(after: time) { [weak self] in self?.leave() } }
        if manners.readsSlowly != nil { readLater() }
    }

    private func leave() {
        guard let side, !isOver else { return }
        hasLeft = true
        isOver = true
        if manners.leavesByReset { side.reset() } else { side.close() }
        self.side = nil
    }

    private func askNext() {
        guard !waiting.isEmpty else {
            if asked.isEmpty { close() }
            return
        }
        repeat {
            let request = waiting.removeFirst()
            asked.append(request)
            output += request.bytes
        } while manners.pipelines && !waiting.isEmpty
        flush()
    }

    private func flush() {
        guard let side else { return }
        if let piece = manners.sendsSlowly {
            if !isSendingSlowly { sendPiece(piece) }
            return
        }
        output.removeFirst(side.send(output))
    }

    private func sendPiece(_ size: Int) {
        guard let side, !output.isEmpty else {
            isSendingSlowly = false
            if isTunnel { finishTunnel() }
            return
        }
        isSendingSlowly = true
        output.removeFirst(side.send(Array(output.prefix(size))))
        world.schedule(after: .milliseconds(1)) { [weak self] in self?.sendPiece(size) }
    }

    private func readLater() {
        world.schedule(after: .milliseconds(10)) { [weak self] in
            guard let self, let side, !isOver else { return }
            bytes += side.take(manners.readsSlowly ?? .max)
            read()
            readLater()
        }
    }

    public func connected(_ side: Side) {}

    public func received(_ side: Side) {
        guard manners.readsSlowly == nil else { return }
        bytes += side.take()
        read()
    }

    public func mayWrite(_ side: Side) { isTunnel ? sendTunnel() : flush() }

    public func finished(_ side: Side) {
        bytes += side.take()
        if isTunnel { return endTunnel(side) }
        read()
        if isReadingBody, framing == .untilClose { endAnswer() }
        connectionEnded()
        side.close()
        self.side = nil
    }

    public func wasReset(_ side: Side) {
        if side.wasRefused { asked = [] }
        connectionEnded()
        self.side = nil
    }

    private func close() {
        isOver = true
        side?.close()
        side = nil
    }

    private func connectionEnded() {
        isOver = true
        if isReadingBody || isTunnel, let request = asked.first { outcomes[request.nonce] = .cut }
        isReadingBody = false
    }

    // MARK: Tunnels

    private func beginTunnel() {
        isTunnel = true
        guard let request = asked.first, let size = request.tunnelSize else {
            return judge.complain("101 came to a request that did not ask for it")
        }
        output += OriginConversation.body(nonce: request.nonce, size: size, received: 0)
        sendTunnel()
    }

    private func sendTunnel() {
        flush()
        finishTunnel()
    }

    /// All is said.
    private func finishTunnel() {
        if output.isEmpty, let side, !hasFinished {
            hasFinished = true
            side.finish()
        }
    }

    private var hasFinished = false

    /// The other side has finished, which it does when it has sent everything back.
    private func endTunnel(_ side: Side) {
        echoed += bytes
        bytes = []
        guard let request = asked.first else { return }
        asked.removeFirst()
        let expected = OriginConversation.body(nonce: request.nonce, size: request.tunnelSize ?? 0, received: 0)
        if echoed != expected {
            judge.complain(
                "tunnel \(request.nonce) ended properly with \(echoed.count) bytes, \(expected.count) were sent")
        }
        outcomes[request.nonce] = .answered(status: 101)
        world.note("tunnel \(request.nonce) \(echoed.count)")
        isOver = true
        side.close()
        self.side = nil
    }

    // MARK: Answers

    private func read() {
        while !bytes.isEmpty, !isOver {
            if isTunnel {
                echoed += bytes
                bytes = []
                return
            }
            if isReadingBody {
                guard readBody() else { return }
                endAnswer()
                continue
            }
            do {
                guard try parser.parse(bytes.span, into: &head) else { return }
            } catch {
                let shown = String(decoding: bytes.prefix(60), as: UTF8.self)
                judge.complain("ballast sent a malformed response to \(asked.first?.nonce ?? "-"): \(error): \(shown)")
                return close()
            }
            bytes.removeFirst(head.byteCount)
            if head.status == 101 {
                beginTunnel()
                continue
            }
            if head.status < 200 { continue }
            beginAnswer()
        }
    }

    private func beginAnswer() {
        let method: Method = asked.first?.method == "HEAD" ? .head : .get
        framing = BodyFraming(response: head, to: method)
        body = []
        decoder = ChunkDecoder()
        if case .length(let count) = framing { remaining = count }
        guard framing != .none else { return endAnswer() }
        isReadingBody = true
    }

    private func readBody() -> Bool {
        var position = 0
        var isDone = false
        while position < bytes.count, !isDone {
            var count = bytes.count - position
            switch framing {
            case .chunked:
                do {
                    if case .data(let length) = try decoder.next(bytes.span, at: &position) {
                        count = length
                    } else {
                        count = 0
                    }
                } catch {
                    judge.complain("ballast sent a malformed chunk: \(error)")
                    close()
                    return false
                }
                isDone = decoder.isDone
            case .length:
                count = Int(min(remaining, UInt64(count)))
                remaining -= UInt64(count)
                isDone = remaining == 0
            case .none, .untilClose: break
            }
            body += bytes[position..<(position + count)]
            position += count
        }
        bytes.removeFirst(position)
        return isDone
    }

    private func endAnswer() {
        isReadingBody = false
        guard !asked.isEmpty else {
            refusal = head.status
            if manners.malformed == nil { judge.complain("an answer came that nobody asked for: \(head.status)") }
            return
        }
        let request = asked.removeFirst()
        outcomes[request.nonce] = .answered(status: head.status)
        world.note("answer \(request.nonce) \(head.status)")
        if head.status == 200 { check(request) }
        if head.connection.contains(.close) {
            // What follows the last answer is nothing: an answer to a head that never ended cannot know it was HEAD.
            isOver = true
            side?.close()
            side = nil
            return
        }
        if asked.isEmpty { askNext() }
    }

    /// A whole answer holds exactly what its request asked for.
    private func check(_ request: ScriptedRequest) {
        guard request.method != "HEAD" else { return }
        let expected = OriginConversation.body(nonce: request.nonce, size: request.answerSize, received: 0)
        if body != expected {
            judge.complain(
                "request \(request.nonce) got \(body.count) bytes as whole, \(expected.count) were meant, or another's")
        }
    }
}
