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

extension BackendPlan {
    /// A check of `server` on `socket`, which is connecting.
    func makeCheck(of server: SharedServer, on socket: SocketID) -> any HealthCheck {
        switch settings.health {
        case .auto:
            // A server that answers 404 is alive.
            let expected = settings.healthExpect ?? StatusSet(200...499)
            return HTTPCheck(socket, method: "GET", path: "/health", host: checkHost(server), expected: expected)
        case .http(let method, let path):
            let expected = settings.healthExpect ?? StatusSet(200...399)
            return HTTPCheck(socket, method: method, path: path, host: checkHost(server), expected: expected)
        case .tcp, .off:
            return TCPCheck(socket)
        }
    }

    private func checkHost(_ server: SharedServer) -> [UInt8] {
        settings.healthHost.map { Array($0.utf8) } ?? server.authority
    }
}
