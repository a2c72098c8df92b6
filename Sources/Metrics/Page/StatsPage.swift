// The page: one HTML document that needs nothing else, made of parts that are sent again when they have changed. Everything
// shown is escaped, whoever chose it.

/// The parts of the page at one moment.
public struct PageFragments: Sendable {
    struct Part: Sendable {
        /// Of the element that it is.
        let id: String
        let html: [UInt8]
    }

    /// In the order of the page.
    fileprivate(set) var parts: [Part] = []
    /// Which elements there are: where that is another one, the page has to be loaded anew.
    fileprivate(set) var shape = ""

    public init() {}

    /// One event for those who watch (HTML, 9.2): what has changed since `before`, or everything.
    public func event(since before: PageFragments?) -> [UInt8] {
        var writer = TextWriter()
        writer.raw("data: {\"shape\":")
        writer.json(shape)
        writer.raw(",\"parts\":[")
        var isFirst = true
        // Other elements: the parts would not find theirs.
        let isSame = before.map { $0.shape == shape && $0.parts.count == parts.count } ?? true
        for index in parts.indices where isSame {
            if let before, before.parts[index].html == parts[index].html { continue }
            writer.raw(isFirst ? "[" : ",[")
            isFirst = false
            writer.json(parts[index].id)
            writer.raw(",")
            writer.json(String(decoding: parts[index].html, as: UTF8.self))
            writer.raw("]")
        }
        writer.raw("]}\n\n")
        return writer.bytes
    }
}

public enum StatsPage {
    /// The whole page.
    /// - Parameter canAct: servers can be drained from it, and so on.
    public static func bytes(_ statistics: Statistics, canAct: Bool) -> [UInt8] {
        let page = fragments(statistics, canAct: canAct)
        var parts = page.parts[...]
        var writer = TextWriter()
        func next() -> [UInt8] { parts.popFirst()?.html ?? [] }
        writer.raw(
            """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>
            """)
        PageParts.title(statistics, &writer)
        writer.raw(
            "</title><link rel=\"icon\" href=\"\(icon)\"><noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>"
        )
        writer.raw("<style>\(style)</style></head><body data-shape=\"\(page.shape)\">\n")
        writer.raw(next())
        writer.raw("<main>\n")
        writer.raw(next())
        for (index, backend) in statistics.backends.enumerated() {
            writer.raw("<section class=\"backend\">")
            writer.raw(next())
            PageParts.tableHead(index, canAct: canAct, &writer)
            for _ in backend.servers {
                writer.raw(next())
                writer.raw(next())
            }
            writer.raw("</tbody></table></div>")
            writer.raw(next())
            writer.raw("</section>\n")
        }
        writer.raw(next())
        writer.raw(next())
        writer.raw("</main><p id=\"said\" role=\"status\"></p>\n<script>\(script)</script></body></html>\n")
        return writer.bytes
    }

    public static func fragments(_ statistics: Statistics, canAct: Bool) -> PageFragments {
        var page = PageFragments()
        var names = FixedSum()
        func add(_ id: String, _ write: (inout TextWriter) -> Void) {
            var writer = TextWriter()
            write(&writer)
            page.parts.append(.init(id: id, html: writer.bytes))
        }
        names.take(canAct ? "acts" : "shows")
        add("status") { PageParts.status(statistics, &$0) }
        add("tiles") { PageParts.tiles(statistics, &$0) }
        for (index, backend) in statistics.backends.enumerated() {
            names.take(backend.name)
            add("b\(index)") { PageParts.heading(index, backend, &$0) }
            let typical = PageParts.typicalFirstByte(backend)
            for (position, server) in backend.servers.enumerated() {
                names.take(server.name)
                let place = PageParts.Place(
                    id: "b\(index)s\(position)", backend: backend.name, canAct: canAct, typicalFirstByte: typical)
                add(place.id) { PageParts.row(place, server, backend, &$0) }
                add("\(place.id)m") { PageParts.details(place, server, &$0) }
            }
            names.take("")
            add("b\(index)x") { PageParts.more(index, backend, &$0) }
        }
        add("recent") { PageParts.recent(statistics, &$0) }
        add("about") { PageParts.about(statistics, canAct: canAct, &$0) }
        page.shape = names.text
        return page
    }

    /// Of names in their order (FNV-1a); a collision costs one page that is late.
    private struct FixedSum {
        private var sum: UInt64 = 0xcbf2_9ce4_8422_2325

        mutating func take(_ text: String) {
            for byte in text.utf8 { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
            sum = (sum ^ 0xff) &* 0x100_0000_01b3
        }

        var text: String { String(sum, radix: 16) }
    }
}
