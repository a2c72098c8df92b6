// A server with a script: answers as a request's target asks, fails as its seed says, and judges what it is sent.
public import Addresses
import EventLoop
import HTTP

/// One simulated origin; each connection is a `OriginConversation`.
public final class ScriptedOrigin {
    public let endpoint: Endpoint
    public var profile: OriginProfile
    let world: SimulatedWorld
    let judge: Judge
    var seed: Seed
    private var conversations: [OriginConversation] = []

    public init(_ world: SimulatedWorld, endpoint: Endpoint, profile: OriginProfile, judge: Judge) {
        self.world = world
        self.endpoint = endpoint
        self.profile = profile
        self.judge = judge
        seed = world.seed.split()
        world.serve(endpoint) { [weak self] in
            guard let self, !self.profile.refuses else { return nil }
            let conversation = OriginConversation(self)
            conversations.append(conversation)
            return conversation
        }
    }

    /// Dies: refuses from now on and resets what is open.
    public func die() {
        profile.refuses = true
        for conversation in conversations { conversation.die() }
        conversations = []
    }

    public func revive() { profile.refuses = false }

    /// Stops as a process does that got SIGSTOP: connections are made, nothing is read or sent.
    public func freeze() { isFrozen = true }

    public func thaw() {
        isFrozen = false
        for conversation in conversations { conversation.goOn() }
    }

    public private(set) var isFrozen = false
}

/// One connection to an origin.
final class OriginConversation: Peer {
    private let origin: ScriptedOrigin
    private var side: Side?
    private var bytes: [UInt8] = []
    private var parser = RequestParser()
    private var head = MessageHead()
    private var decoder = ChunkDecoder()
    private var remaining: UInt64 = 0
    private var framing = BodyFraming.none
    private var isReadingBody = false
    private var isAnswering = false
    private var received: [UInt8] = []
    private var target = ""
    private var method = Method.other
    private var output: [UInt8] = []
    private var resetAfter: Int?
    private var closesAfter = false
    private var isCounted = false
    /// It has switched, and sends back what it gets.
    private var isTunnel = false
    private var hasPeerFinished = false

    init(_ origin: ScriptedOrigin) { self.origin = origin }

    func connected(_ side: Side) { self.side = side }

    func received(_ side: Side) {
        guard !origin.isFrozen else { return }
        bytes += side.take()
        read()
    }

    /// Does what a frozen process missed.
    func goOn() {
        guard let side else { return }
        bytes += side.take()
        if side.isReset {
            wasReset(side)
        } else if side.peerFinished {
            finished(side)
        } else {
            if let answer = heldAnswer {
                heldAnswer = nil
                think(answer)
            }
            read()
            flush()
        }
    }

    /// What it was thinking about when it froze.
    private var heldAnswer: String?

    func finished(_ side: Side) {
        guard !origin.isFrozen else { return }
        if isTunnel {
            // What came before the end is sent back first.
            hasPeerFinished = true
            bytes += side.take()
            return echo()
        }
        count(working: false)
        side.close()
    }

    private func echo() {
        output += bytes
        bytes = []
        flush()
        guard hasPeerFinished, output.isEmpty else { return }
        count(working: false)
        side?.close()
        side = nil
    }
    func wasReset(_ side: Side) {
        count(working: false)
        self.side = nil
    }
    func mayWrite(_ side: Side) { flush() }

    func die() {
        count(working: false)
        side?.reset()
        side = nil
    }

    /// Counts the request under way, from its head to the end of its answer or of its connection.
    private func count(working: Bool) {
        guard working != isCounted else { return }
        isCounted = working
        let name = origin.endpoint.description
        let judge = origin.judge
        judge.working[name, default: 0] += working ? 1 : -1
        let now = judge.working[name, default: 0]
        judge.mostWorking[name] = max(judge.mostWorking[name] ?? 0, now)
        if let limit = origin.profile.maxconn, now > limit {
            judge.complain("\(name) works on \(now), maxconn \(limit)")
        }
    }

    private func read() {
        if isTunnel { return echo() }
        while !bytes.isEmpty, side != nil, !isTunnel {
            if isAnswering {
                // ballast never sends a request before the last one is answered, except the rest of its body.
                if !isReadingBody { origin.judge.complain("bytes arrived before the answer was complete") }
                if !readBody() { return }
                continue
            }
            if isReadingBody {
                guard readBody() else { return }
                begin()
                continue
            }
            guard readHead() else { return }
        }
    }

    private func readHead() -> Bool {
        do {
            guard try parser.parse(bytes.span, limits: RequestParser.Limits(), into: &head) else { return false }
        } catch {
            origin.judge.complain("ballast sent a malformed request: \(error)")
            die()
            return false
        }
        target = String(decoding: bytes[head.target.indices], as: UTF8.self)
        method = head.method
        for name in [FieldName.host, .via, .xForwardedFor, .xRequestID, .xRealIP] where !head.present.contains(name) {
            if target != "/health" { origin.judge.complain("a request lacks \(name.text)") }
        }
        isTunnel = head.present.contains(.upgrade)
        if isTunnel, !head.connection.contains(.upgrade) { origin.judge.complain("Upgrade came without Connection") }
        if head.connection.contains(.close), target != "/health" { origin.judge.complain("Connection went through") }
        bytes.removeFirst(head.byteCount)
        if target != "/health" { count(working: true) }
        guard !isTunnel else {
            beginTunnel()
            return false
        }
        framing = BodyFraming(request: head)
        decoder = ChunkDecoder()
        received = []
        if case .length(let count) = framing { remaining = count }
        isReadingBody = framing != .none
        if !isReadingBody {
            begin()
        } else if head.expectsContinue {
            output += Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
            flush()
        } else if origin.seed.chance(origin.profile.answersEarly) {
            begin()
        }
        return true
    }

    private func beginTunnel() {
        origin.judge.executions[target.split(separator: "/").first.map(String.init) ?? "", default: 0] += 1
        if origin.seed.chance(origin.profile.resetBeforeAnswer) { return die() }
        output += Array("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".utf8)
        if origin.seed.chance(origin.profile.resetInAnswer) { resetAfter = origin.seed.pick(1...400) }
        echo()
    }

    /// True when the body is complete.
    private func readBody() -> Bool {
        guard isReadingBody else {
            bytes = []
            return false
        }
        var position = 0
        var isDone = false
        while position < bytes.count, !isDone {
            let count: Int
            if framing == .chunked {
                do {
                    if case .data(let length) = try decoder.next(bytes.span, at: &position) {
                        count = length
                    } else {
                        count = 0
                    }
                } catch {
                    origin.judge.complain("ballast sent a malformed chunk: \(error)")
                    die()
                    return false
                }
                isDone = decoder.isDone
            } else {
                count = Int(min(remaining, UInt64(bytes.count - position)))
                remaining -= UInt64(count)
                isDone = remaining == 0
            }
            received += bytes[position..<(position + count)]
            position += count
        }
        bytes.removeFirst(position)
        if isDone { isReadingBody = false }
        return isDone
    }

    /// Answers after some thought, or fails.
    private func begin() {
        isAnswering = true
        let profile = origin.profile
        guard target != "/health" else { return answer(plain: "ok", nonce: "") }
        let nonce = target.split(separator: "/").first.map(String.init) ?? ""
        checkBody(nonce)
        if origin.seed.chance(profile.refusesWork) { return answer(status: "503 Service Unavailable") }
        origin.judge.executions[nonce, default: 0] += 1
        if origin.seed.chance(profile.silent) { return }
        let sinceTick = origin.world.now.attoseconds % Duration.milliseconds(10).attoseconds
        let wait =
            profile.thinkTime.map { origin.seed.milliseconds($0) } ?? .milliseconds(10)
            - Duration(attoseconds: sinceTick)
        origin.world.schedule(after: wait) { [weak self] in self?.think(nonce) }
    }

    private func think(_ nonce: String) {
        guard !origin.isFrozen else {
            heldAnswer = nonce
            return
        }
        guard let side, isAnswering else { return }
        let profile = origin.profile
        if origin.seed.chance(profile.resetBeforeAnswer) { return die() }
        if origin.seed.chance(profile.failsWork) { return answer(status: "500 Internal Server Error") }
        if origin.seed.chance(profile.garbage) {
            side.send(Array(origin.seed.pick(Self.garbage).utf8))
            return
        }
        if origin.seed.chance(profile.resetInAnswer) { resetAfter = origin.seed.pick(1...400) }
        closesAfter = origin.seed.chance(profile.closesAfterAnswer)
        answer(plain: nil, nonce: nonce)
    }

    /// The target ends with the size of the body that its client sends: a replayed one must be whole.
    private func checkBody(_ nonce: String) {
        let parts = target.split(separator: "/")
        guard !isReadingBody, parts.count > 3, let size = Int(parts[3]) else { return }
        if received != Self.body(nonce: nonce, size: size, received: 0) {
            origin.judge.complain("request \(nonce) came with a body of \(received.count) bytes, \(size) were sent")
        }
    }

    private func answer(status: String) {
        output += Array("HTTP/1.1 \(status)\r\nContent-Length: 0\r\n\r\n".utf8)
        flush()
    }

    private static let garbage = [
        "HTTP/1.1 2000 OK\r\n\r\n", "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "HTTP/2 200\r\n\r\n",
    ]

    /// The target is `/nonce/size/kind`; the body repeats the nonce, so that a wrong or cut one shows.
    private func answer(plain: String?, nonce: String) {
        let parts = target.split(separator: "/")
        let size = plain == nil && parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let kind = plain == nil && parts.count > 2 ? String(parts[2]) : "length"
        let body = plain.map { Array($0.utf8) } ?? Self.body(nonce: nonce, size: size, received: received.count)
        var text = "HTTP/1.1 200 OK\r\nX-Nonce: \(nonce)\r\nX-Received: \(received.count)\r\n"
        if kind == "interim" { output += Array("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".utf8) }
        switch kind {
        case "empty": text = "HTTP/1.1 204 No Content" + text.dropFirst("HTTP/1.1 200 OK".count) + "\r\n"
        case "chunked": text += "Transfer-Encoding: chunked\r\n\r\n"
        case "close":
            closesAfter = true
            text += "Connection: close\r\n\r\n"
        case _:
            if closesAfter { text += "Connection: close\r\n" }
            text += "Content-Length: \(body.count)\r\n\r\n"
        }
        output += Array(text.utf8)
        if method != .head, kind != "empty" {
            if kind == "chunked" { appendChunks(body) } else { output += body }
        }
        if let resetAfter { output = Array(output.prefix(resetAfter)) }
        flush()
    }

    private func appendChunks(_ body: [UInt8]) {
        var rest = body[...]
        while !rest.isEmpty {
            let piece = rest.prefix(origin.seed.pick(1...3000))
            // Spellings that ballast must not pass on: leading zeros, extensions.
            let size = String(piece.count, radix: 16)
            output +=
                Array((origin.seed.chance(20) ? "00\(size);a=b" : size).utf8) + [0x0d, 0x0a] + piece + [0x0d, 0x0a]
            rest = rest.dropFirst(piece.count)
        }
        output += Array((origin.seed.chance(20) ? "0\r\nX-Sum: 1\r\n\r\n" : "0\r\n\r\n").utf8)
    }

    static func body(nonce: String, size: Int, received: Int) -> [UInt8] {
        let unit = Array("\(nonce).".utf8)
        var body: [UInt8] = []
        body.reserveCapacity(size + unit.count)
        while body.count < size { body += unit }
        return Array(body.prefix(size))
    }

    private func flush() {
        guard let side, !side.isClosed, !side.isReset, !origin.isFrozen, !output.isEmpty else { return }
        if let pace = origin.profile.pace, isAnswering {
            guard !isPacing else { return }
            output.removeFirst(side.send(Array(output.prefix(pace))))
            isPacing = true
            origin.world.schedule(after: .milliseconds(10)) { [weak self] in
                self?.isPacing = false
                self?.flush()
            }
        } else {
            let sent = side.send(output)
            output.removeFirst(sent)
            if isTunnel { return tunnelSent(sent) }
        }
        ended()
    }

    /// A tunnel that is to break does so after so many bytes.
    private func tunnelSent(_ count: Int) {
        if let left = resetAfter {
            resetAfter = left - count
            if left <= count { return die() }
        }
        if hasPeerFinished, output.isEmpty { echo() }
    }

    private var isPacing = false

    /// What there was to send may be gone.
    private func ended() {
        guard let side else { return }
        guard output.isEmpty, isAnswering else { return }
        if resetAfter != nil { return die() }
        isAnswering = false
        count(working: false)
        if closesAfter || isReadingBody {
            side.close()
            self.side = nil
            return
        }
        read()
    }
}
