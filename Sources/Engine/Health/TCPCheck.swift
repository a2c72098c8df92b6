// A health check that only connects. It sends nothing, and reads nothing.
import EventLoop

/// Passes when the server accepts a connection.
final class TCPCheck: HealthCheck {
    private var stream: Stream

    init(_ socket: SocketID) { stream = Stream(socket) }

    func handle(_ readiness: Readiness, _ loop: LoopContext) -> CheckResult? {
        stream.note(readiness)
        if stream.hasFailed { return .failed("connection refused") }
        return stream.maySend ? .passed("connected") : nil
    }

    func close(_ loop: LoopContext) { loop.network.close(stream.socket, resetting: false) }
}
