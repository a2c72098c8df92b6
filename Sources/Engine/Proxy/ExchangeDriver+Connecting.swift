// How an attempt gets its connection: a kept one, a new one, or a new one later.
import Configuration
import EventLoop
import HTTP
import Relay

extension ExchangeDriver {
    /// Before a server whose line of connections was full is asked again.
    private static let pause = Duration.milliseconds(10)

    func open(fresh: Bool) -> Exchange.Event? {
        guard let target = slotServer else { return .serverFailed(.connect) }
        times.begin(attemptAt: worker.now)
        times.connected = nil
        // Nothing of the last attempt may reach into this one.
        responseParser = ResponseParser()
        isRequestBroken = false
        hasOwnFault = false
        if !fresh, let kept = worker.leaseIdle(target, mayReplay: machine.isRepeatable) {
            kept.lease(self, worker)
            server = kept
            times.connected = worker.now
            return .connected(isKept: true)
        }
        return connect(target)
    }

    private func connect(_ target: WorkerServer) -> Exchange.Event? {
        do throws(SystemError) {
            let connection = try worker.connect(target, of: backend, keepFor: plan.settings.poolIdle)
            connection.driver = self
            server = connection
            return nil
        } catch {
            // The line of a UNIX socket is full: a connection of TCP would wait for timeout-connect, and so does this.
            guard error.code != SystemError.notNow else {
                connectAlarm.set(worker.now + Self.pause, token: token, in: &worker.timers)
                return nil
            }
            // A server that cannot be reached counts as one that refuses.
            hasOwnFault = error.isOwnNeed
            worker.warnOfConnect(target.shared.endpoint, error)
            return .serverFailed(.connect)
        }
    }

    func serverIsConnected(_ connection: ServerConnection, isKept: Bool) {
        times.connected = worker.now
        tell(.connected(isKept: isKept))
        // A server may have answered before it was asked anything; its bytes came with the same event.
        if self.server === connection { pumpResponse() }
    }

    /// Asks again for a connection that there was no place for.
    func connectAgain() {
        guard let target = slotServer, let event = connect(target) else { return }
        tell(event)
    }
}
