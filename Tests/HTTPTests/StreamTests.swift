import HTTP
import TestKit
import Testing

@Suite struct EventCounterTests {
    @Test(arguments: [
        ("data: a\n\ndata: b\n\n", 2), ("data: a\r\n\r\ndata: b\r\n\r\n", 2), (": ping\n\n", 0), ("data: a\n", 0),
        ("event: x\ndata: a\ndata: b\nid: 1\n\n", 1), ("\n\n\n", 0), ("event: x\n\n", 0), ("data\n\n", 1),
        ("data: a\n\n\n: ping\n\ndata: [DONE]\n\n", 2), ("", 0),
    ]) func events(_ text: String, _ count: Int) {
        let bytes = Array(text.utf8)
        // Whatever the pieces.
        for split in 0...bytes.count {
            var counter = EventCounter()
            counter.scan(bytes.span.extracting(0..<split))
            counter.scan(bytes.span.extracting(split..<bytes.count))
            #expect(counter.count == count, "\(split)")
        }
        var counter = EventCounter()
        for index in bytes.indices { counter.scan(bytes.span.extracting(index..<index + 1)) }
        #expect(counter.count == count)
    }
}
