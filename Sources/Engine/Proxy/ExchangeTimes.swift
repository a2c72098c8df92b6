// When an exchange's stages happened: for histograms and the access log. It decides nothing.
import Balancing
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

/// Points in time of one exchange, on the loop's clock.
struct ExchangeTimes {
    /// The first byte of the request was seen.
    var began = Duration.zero
    /// It stands in line since.
    var queued: Duration?
    /// How long it stood in line, all attempts together; nil if it never did.
    var waited: Duration?
    /// Of the last attempt: it began, its connection was ready.
    var opened: Duration?
    var connected: Duration?
    /// The first byte of the response's body came.
    var firstByte: Duration?
    /// When the last piece of a stream came.
    private var lastPiece = PieceTime()
    /// Events of a stream that have passed.
    var events = 0
    /// The final head has come.
    var headArrived = false

    init(began: Duration = .zero) { self.began = began }

    /// What is counted of an exchange that is over.
    struct Spans {
        let whole: Duration
        /// Of the last attempt.
        let attempt: Duration?
        let hasHead: Bool
    }

    func spans(to now: Duration) -> Spans {
        Spans(whole: now - began, attempt: opened.map { now - $0 }, hasHead: headArrived)
    }

    /// - Returns: how long it was waited for, by the client and since the request was sent.
    mutating func noteFirstByte(at now: Duration) -> (whole: Duration, attempt: Duration?) {
        firstByte = now
        return (now - began, connected.map { now - $0 })
    }

    /// A piece of a stream has come from the server that `metrics` are of.
    mutating func notePiece(_ metrics: ServerMetrics, events: Int, at now: Duration) {
        self.events += events
        metrics.notePiece(events: events, at: now, last: &lastPiece)
    }

    /// Another attempt begins: what the one before came to was for nobody.
    mutating func begin(attemptAt now: Duration) {
        opened = now
        (connected, headArrived, firstByte) = (nil, false, nil)
        (events, lastPiece) = (0, PieceTime())
    }
}

extension ExchangeDriver {
    /// The first byte of a body is what a client of a model waits for.
    func noteFirstByte(_ server: ServerConnection) {
        let waits = times.noteFirstByte(at: worker.now)
        metrics.noteFirstByte(after: waits.whole)
        if let attempt = waits.attempt { server.server.metrics.noteFirstByte(after: attempt) }
    }

    /// A stream may last for hours: what is in it is told while it passes.
    func notePiece(_ server: ServerConnection, events: Int) {
        times.notePiece(server.server.metrics, events: events, at: worker.now)
    }

    /// What the access log tells.
    func record(_ disposition: Disposition, _ status: Int?, server: SharedServer?) -> AccessRecord {
        var record = AccessRecord()
        record.endedAt = worker.shared.stamp
        record.status = status ?? 0
        record.end = disposition.word
        if let effectiveClient { record.client = effectiveClient.text }
        if let backend { record.backend = backend.name }
        if let server { record.server = server.name }
        requestBytes?.withBytes { bytes in record.describe(requestHead, bytes) }
        record.id = String(decoding: requestIDBytes, as: UTF8.self)
        record.attempts = machine.attempts
        record.queue = times.waited
        if let opened = times.opened, let connected = times.connected { record.connect = connected - opened }
        record.firstByte = times.firstByte.map { $0 - times.began }
        record.total = worker.now - times.began
        record.received = requestPump.received
        record.sent = times.headArrived ? responsePump.received : 0
        record.events = times.events
        if let client { record.describe(client) }
        return record
    }
}

extension ClientConnection {
    /// Counts and tells a request that never came to an exchange: of it nothing is certain but who sent it.
    /// - Parameter isHeadWhole: the head of the driver is its, and tells more.
    func countUnstarted(_ disposition: Disposition, status: Int?, id: [UInt8] = [], isHeadWhole: Bool = false) {
        let metrics = worker.metrics.unrouted
        metrics.counters.add(.requests)
        metrics.count(disposition, status: status)
        metrics.duration.observe(worker.now - requestBegan)
        guard worker.plan.traffic.accessLog != nil else { return }
        var record = AccessRecord()
        record.endedAt = worker.shared.stamp
        record.client = identity.text
        record.method = "-"
        record.path = "-"
        record.version = "-"
        record.status = status ?? 0
        record.end = disposition.word
        record.id = String(decoding: id, as: UTF8.self)
        record.total = worker.now - requestBegan
        if isHeadWhole, let driver, let input = wire.input {
            input.withBytes { record.describe(driver.requestHead, $0) }
        }
        record.describe(self)
        worker.plan.traffic.log(record)
    }
}

extension AccessRecord {
    fileprivate mutating func describe(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) {
        method = Self.text(head.methodName, bytes)
        path = Self.text(head.target, bytes)
        version = head.version == .http11 ? "HTTP/1.1" : "HTTP/1.0"
        host = Self.text(head.effectiveHost, bytes)
    }

    /// Where it came in, and how that connection is secured.
    fileprivate mutating func describe(_ client: ClientConnection) {
        listener = client.listener.settings.text
        guard let session = client.wire.stream.tls else { return }
        tls = session.versionName
        cipher = session.cipherName
        if let subject = client.certificate?.subject { certificate = String(decoding: subject, as: UTF8.self) }
    }

    /// The bytes of `range`, up to a query: what stands there may be private.
    private static func text(_ range: ByteRange, _ bytes: Span<UInt8>) -> String {
        var copy: [UInt8] = []
        for index in range.indices {
            if bytes[index] == UInt8(ascii: "?") || copy.count > 2048 { break }
            copy.append(bytes[index])
        }
        return String(decoding: copy, as: UTF8.self)
    }
}
