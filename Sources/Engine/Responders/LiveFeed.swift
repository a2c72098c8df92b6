// Those who watch the page: each second they get what has changed on it. It makes nothing of it itself.
import Configuration
import EventLoop
import HTTP

/// One answer on its way: as long as it is, it leaves in blocks.
final class OwnAnswer {
    private let head: [UInt8]
    private let body: [UInt8]
    private var position = 0
    /// The connection stays.
    let keeps: Bool

    init(head: [UInt8] = [], _ body: [UInt8], keeps: Bool) {
        self.head = head
        self.body = body
        self.keeps = keeps
    }

    var isDone: Bool { position == head.count + body.count }

    /// Writes as much of the rest as there is room for.
    func fill(_ output: Buffer) {
        // Copies of the arrays, as their owner is not theirs alone; no byte is copied for that.
        let (head, body) = (head, body)
        output.append { target in
            if position < head.count {
                let count = min(target.freeCapacity, head.count - position)
                target.put(head.span.extracting(position..<position + count))
                position += count
            }
            let start = position - head.count
            guard start >= 0 else { return }
            let count = min(target.freeCapacity, body.count - start)
            target.put(body.span.extracting(start..<start + count))
            position += count
        }
    }
}

/// One who watches.
final class LiveWatch {
    /// What is on its way.
    var pending: OwnAnswer?
    /// It has not got everything yet, or could not follow.
    var needsAll = true
    /// Whose name it was let in by; nil where none was asked for.
    let who: Credential?

    init(_ head: OwnAnswer, who: Credential?) {
        pending = head
        self.who = who
    }
}

final class LiveFeed {
    /// Watchers at a time.
    static let limit = 16
    private static let interval = Duration.seconds(1)
    private let token = Token(kind: TokenKind.live.rawValue, slot: 0, generation: 0)
    private var watchers: [Token] = []
    private var isComposing = false
    private var alarm = Alarm()

    /// Whether there is room for one more.
    func hasRoom(_ worker: Worker) -> Bool {
        watchers.removeAll { worker.clients[$0] == nil }
        return watchers.count < Self.limit
    }

    func add(_ client: Token, _ worker: Worker) {
        watchers.append(client)
        compose(worker)
        if alarm.deadline == nil { alarm.set(worker.now + Self.interval, token: token, in: &worker.timers) }
    }

    /// Another configuration is in effect: who would not be let in by it is not let watch.
    func adopt(_ worker: Worker) { for watcher in watchers { worker.clients[watcher]?.reconsiderWatching() } }

    func expire(_ time: Duration, _ worker: Worker) {
        guard alarm.isDue(time, now: worker.now, token: token, in: &worker.timers) else { return }
        watchers.removeAll { worker.clients[$0] == nil }
        guard !watchers.isEmpty else { return }
        alarm.set(worker.now + Self.interval, token: token, in: &worker.timers)
        compose(worker)
    }

    private func compose(_ worker: Worker) {
        guard !isComposing else { return }
        isComposing = true
        worker.shared.composeLive(needsAll: watchers.contains { worker.clients[$0]?.needsWholePage == true })
    }

    func deliver(_ update: LiveUpdate, _ worker: Worker) {
        isComposing = false
        for watcher in watchers { worker.clients[watcher]?.show(update) }
    }
}
