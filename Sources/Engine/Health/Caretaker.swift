// Lets time take effect on backends: ends ejections and goes on with slow starts, for all workers, on one worker's loop.
import Balancing
import EventLoop

final class Caretaker {
    /// One backend in which something ends by time.
    private final class Care {
        let token: Token
        let backend: SharedBackend
        var alarm = Alarm()

        init(_ token: Token, _ backend: SharedBackend) {
            self.token = token
            self.backend = backend
        }
    }

    private var cares = SlotTable<Care>(kind: TokenKind.backend.rawValue)

    /// Something has changed at `backend`, or is due.
    func tend(_ backend: SharedBackend, _ worker: Worker) {
        let care = cares.all.first { $0.backend === backend } ?? cares.insert { Care($0, backend) }
        let (aftermath, next) = backend.backend.tend(now: worker.now)
        care.alarm.set(next, token: care.token, in: &worker.timers)
        if next == nil { cares.remove(care.token) }
        worker.carryOut(aftermath, backend)
    }

    func expire(_ token: Token, _ time: Duration, _ worker: Worker) {
        guard let care = cares[token], care.alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else {
            return
        }
        tend(care.backend, worker)
    }
}
