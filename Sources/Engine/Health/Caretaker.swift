// Lets time take effect on backends: ends ejections and goes on with slow starts, for all workers, on one worker's loop.
import Balancing
import EventLoop

final class Caretaker {
    private var alarms: [Alarm]

    init(backendCount: Int) { alarms = Array(repeating: Alarm(), count: backendCount) }

    /// Something has changed at `backend`, or is due.
    func tend(_ backend: Int, _ worker: Worker) {
        let (aftermath, next) = worker.plan.backends[backend].backend.tend(now: worker.now)
        alarms[backend].set(next, token: token(backend), in: &worker.timers)
        worker.carryOut(aftermath, backend)
    }

    func expire(_ token: Token, _ time: Duration, _ worker: Worker) {
        let backend = token.slot
        guard alarms[backend].isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        tend(backend, worker)
    }

    private func token(_ backend: Int) -> Token {
        Token(kind: TokenKind.backend.rawValue, slot: backend, generation: 0)
    }
}
