// The contract of one health check: a connection that finds out one thing. A new kind is one file, and one case where
// checks are made.
import Balancing
import Configuration
import EventLoop

/// What a check found.
struct CheckResult: Equatable {
    var verdict: CheckVerdict
    /// In a few words, for the log and the page.
    var text: String
    /// Why its connection could not be secured, where that is what was found.
    var failure: TLSFailure?

    static func passed(_ text: String) -> CheckResult { CheckResult(verdict: .passed, text: text) }
    static func failed(_ text: String) -> CheckResult { CheckResult(verdict: .failed, text: text) }
    static func timedOut(_ text: String) -> CheckResult { CheckResult(verdict: .timedOut, text: text) }
}

/// One check on a connection of its own.
protocol HealthCheck: AnyObject {
    /// Goes on with the check; its result when there is one.
    func handle(_ readiness: Readiness, _ loop: LoopContext) -> CheckResult?
    func close(_ loop: LoopContext)
}

extension Stream {
    /// Goes on with the handshake of a check's connection, if it has one.
    /// - Returns: what the check has found out, where that is the end of it; whether it may go on.
    mutating func handshakeForCheck() -> (result: CheckResult?, isDone: Bool) {
        switch handshake() {
        case .done: (nil, true)
        case .waiting: (nil, false)
        case .failed(let failure):
            (CheckResult(verdict: .failed, text: "no secured connection: \(failure.text)", failure: failure), false)
        }
    }
}

extension BackendPlan {
    /// A check of `server` on `socket`, which is connecting.
    /// - Parameter tls: nil where the connection is plain.
    func makeCheck(of server: SharedServer, on socket: SocketID, tls: TLSSession?) -> any HealthCheck {
        let stream = Stream(socket, tls: tls)
        switch settings.health {
        case .auto:
            // A server that answers 404 is alive.
            let expected = settings.healthExpect ?? StatusSet(200...499)
            return HTTPCheck(stream, method: "GET", path: "/health", host: checkHost(server), expected: expected)
        case .http(let method, let path):
            let expected = settings.healthExpect ?? StatusSet(200...399)
            return HTTPCheck(stream, method: method, path: path, host: checkHost(server), expected: expected)
        case .tcp, .off:
            return TCPCheck(stream)
        }
    }

    private func checkHost(_ server: SharedServer) -> [UInt8] {
        settings.healthHost.map { Array($0.utf8) } ?? server.authority
    }
}
