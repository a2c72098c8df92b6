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
    /// The final head has come.
    var headArrived = false

    init(began: Duration = .zero) { self.began = began }
}

extension ExchangeDriver {
    /// The first byte of a body is what a client of a model waits for.
    func noteFirstByte(_ server: ServerConnection) {
        times.firstByte = worker.now
        if let connected = times.connected { server.server.metrics.firstByte.observe(worker.now - connected) }
    }

    /// The line of the access log.
    func accessLine(_ disposition: Disposition, _ status: Int?, server: SharedServer?) -> String {
        var record = AccessRecord()
        record.endedAt = CivilDate.timestamp(worker.shared.wallTime)
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
        return record.line
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
        guard let log = worker.plan.traffic.accessLog else { return }
        var record = AccessRecord()
        record.endedAt = CivilDate.timestamp(worker.shared.wallTime)
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
        log(record.line)
    }
}

extension AccessRecord {
    fileprivate mutating func describe(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) {
        method = Self.text(head.methodName, bytes)
        path = Self.text(head.target, bytes)
        version = head.version == .http11 ? "HTTP/1.1" : "HTTP/1.0"
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
