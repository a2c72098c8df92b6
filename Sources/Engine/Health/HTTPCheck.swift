// One health check over HTTP: connect, ask, read one response head, done. It never keeps its connection.
import Balancing
import EventLoop
import HTTP
import Relay

/// One request; its status decides.
final class HTTPCheck: HealthCheck {
    private var wire: Wire
    private let request: [UInt8]
    private let expected: StatusSet
    private var hasSent = false
    private var interimHeads = 0
    /// Interim responses to a check, at most. A check's answer is small: the limits of traffic are not for it.
    private static let maximumInterimHeads = 32

    private var parser = ResponseParser()
    private var head = MessageHead()

    /// - Parameter expected: statuses that pass.
    init(_ stream: Stream, method: String, path: String, host: [UInt8], expected: StatusSet) {
        wire = Wire(stream)
        self.expected = expected
        request =
            Array("\(method) \(path) HTTP/1.1\r\nHost: ".utf8) + host
            + Array("\r\nUser-Agent: ballast-health\r\nAccept: */*\r\nConnection: close\r\n\r\n".utf8)
    }

    /// Goes on with the check; its result when there is one.
    func handle(_ readiness: Readiness, _ loop: LoopContext) -> CheckResult? {
        wire.stream.note(readiness)
        if !hasSent {
            if wire.stream.hasFailed { return .failed("connection refused") }
            guard wire.stream.maySend || wire.stream.tls != nil else { return nil }
            let (result, isDone) = wire.stream.handshakeForCheck()
            guard isDone, wire.stream.maySend else { return result }
            let request = request
            wire.outputBlock(loop).append { $0.put(request.span) }
            hasSent = true
        }
        if wire.hasOutput, wire.stream.maySend {
            switch wire.send(nil, limit: 0, loop) {
            case .moved, .wouldBlock: break
            case .ended, .failed: return .failed("connection reset")
            }
        }
        return read(loop)
    }

    private func read(_ loop: LoopContext) -> CheckResult? {
        while wire.stream.mayRead {
            switch wire.receive(loop) {
            case .moved(0): return .failed("too much comes that is no answer")
            case .moved: if let result = parse() { return result }
            case .wouldBlock: return nil
            case .ended: return .failed("the connection closed without an answer")
            case .failed(let error): return .failed(error.reason)
            }
        }
        return nil
    }

    private func parse() -> CheckResult? {
        while let input = wire.input {
            do throws(ProtocolError) {
                let isComplete = try input.withBytes { bytes throws(ProtocolError) -> Bool in
                    try parser.parse(bytes, into: &head)
                }
                guard isComplete else { return nil }
            } catch {
                return .failed("malformed answer: \(error.explanation)")
            }
            guard head.status < 200 else {
                return expected.contains(head.status) ? .passed("\(head.status)") : .failed("status \(head.status)")
            }
            interimHeads += 1
            guard interimHeads <= Self.maximumInterimHeads else { return .failed("too many interim answers") }
            input.consume(head.byteCount)
            if input.isEmpty { return nil }
        }
        return nil
    }

    func close(_ loop: LoopContext) { wire.close(resetting: false, loop) }
}
