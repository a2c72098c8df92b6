// A health check that only connects, with a handshake where connections are secured. It asks nothing.
import EventLoop

/// Passes when the server accepts a connection, and proves who it is.
final class TCPCheck: HealthCheck {
    private var stream: Stream

    init(_ stream: Stream) { self.stream = stream }

    func handle(_ readiness: Readiness, _ loop: LoopContext) -> CheckResult? {
        stream.note(readiness)
        if stream.hasFailed { return .failed("connection refused") }
        guard stream.maySend || stream.tls != nil else { return nil }
        let (result, isDone) = stream.handshakeForCheck()
        return isDone ? .passed("connected") : result
    }

    func close(_ loop: LoopContext) { stream.close(resetting: false, on: loop.network) }
}
