// Little graphs as SVG, drawn by attributes alone: the page allows no style but its own. Each says in words what it shows.

enum PageGraphs {
    /// A line over the last five minutes, on a ground that begins at 0.
    /// - Parameter what: for those who do not see it.
    static func line(_ values: [Float?], _ what: String, width: Int, height: Int, _ writer: inout TextWriter) {
        let known = values.compactMap(\.self)
        let most = known.max() ?? 0
        writer.raw(
            "<svg class=\"line\" viewBox=\"0 0 \(width) \(height)\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\""
        )
        if known.isEmpty {
            writer.raw("\(what), last 5 minutes: none")
        } else {
            writer.raw("\(what), last 5 minutes: ")
            value(known.min() ?? 0, &writer)
            writer.raw(" to ")
            value(most, &writer)
        }
        writer.raw("\">")
        let scale = most > 0 ? Float(height - 2) / most : 0
        // Right is now, however young ballast is.
        let step = Float(width) / Float(Track.count - 2)
        var x = Float(width) - step * Float(max(values.count - 1, 0))
        var points: [(Float, Float)] = []
        for value in values {
            if let value {
                points.append((x, Float(height - 1) - value * scale))
            } else {
                draw(&points, height, &writer)
            }
            x += step
        }
        draw(&points, height, &writer)
        writer.raw("</svg>")
    }

    /// One piece without a gap, and the ground below it.
    private static func draw(_ points: inout [(Float, Float)], _ height: Int, _ writer: inout TextWriter) {
        guard let first = points.first, let last = points.last else { return }
        // A single one would be nothing.
        if points.count == 1 { points.append((last.0 + 1, last.1)) }
        var path = TextWriter()
        for (index, point) in points.enumerated() {
            // On a level, only its ends are needed.
            if index > 0, index + 1 < points.count, points[index - 1].1 == point.1, points[index + 1].1 == point.1 {
                continue
            }
            path.raw(index == 0 ? "" : " ")
            path.number(Double(point.0), places: 1)
            path.raw(",")
            path.number(Double(point.1), places: 1)
        }
        writer.raw("<polygon points=\"")
        writer.number(Double(first.0), places: 1)
        writer.raw(",\(height) ")
        writer.raw(path)
        writer.raw(" ")
        writer.number(Double(points.last?.0 ?? last.0), places: 1)
        writer.raw(",\(height)\"/><polyline points=\"")
        writer.raw(path)
        writer.raw("\"/>")
        points.removeAll(keepingCapacity: true)
    }

    private static func value(_ value: Float, _ writer: inout TextWriter) {
        writer.number(Double(value), places: value >= 10 ? 0 : 2)
    }

    /// How much of what there is is taken.
    static func bar(_ part: Int, of whole: Int, isLimit: Bool, _ writer: inout TextWriter) {
        let width = whole > 0 ? min(60, (part * 60 + whole - 1) / whole) : 0
        let style = !isLimit ? "bar free" : part >= whole ? "bar full" : "bar"
        writer.raw("<svg class=\"\(style)\" viewBox=\"0 0 60 8\" width=\"60\" height=\"8\" aria-hidden=\"true\">")
        writer.raw(
            "<rect width=\"60\" height=\"8\" rx=\"2\"/><rect class=\"part\" width=\"\(width)\" height=\"8\" rx=\"2\"/></svg>"
        )
    }

    /// Columns by size, from the first that has any to the last.
    static func histogram(
        _ title: String, _ histogram: Histogram.Snapshot, _ writer: inout TextWriter
    ) {
        let counts = histogram.counts
        writer.raw("<div class=\"sizes\"><h3>\(title)</h3>")
        guard let first = counts.firstIndex(where: { $0 > 0 }), let last = counts.lastIndex(where: { $0 > 0 }) else {
            return writer.raw("<p>none yet</p></div>")
        }
        let most = counts.max() ?? 1
        writer.raw("<table><tbody>")
        for index in first...last {
            writer.raw("<tr><th scope=\"row\">")
            if index < Histogram.bounds.count {
                writer.raw("≤ ")
                bound(Histogram.bounds[index], &writer)
            } else {
                writer.raw("more")
            }
            writer.raw(
                "</th><td><svg viewBox=\"0 0 90 8\" width=\"90\" height=\"8\" aria-hidden=\"true\"><rect class=\"part\" width=\""
            )
            writer.number(Double(counts[index]) * 90 / Double(most), places: 1)
            writer.raw("\" height=\"8\" rx=\"1\"/></svg></td><td class=\"n\">\(counts[index])</td></tr>")
        }
        writer.raw("</tbody></table></div>")
    }

    private static func bound(_ seconds: Double, _ writer: inout TextWriter) {
        if seconds < 1 { return writer.raw("\(Int((seconds * 1000).rounded())) ms") }
        if seconds < 60 { return writer.raw(seconds == seconds.rounded() ? "\(Int(seconds)) s" : "\(seconds) s") }
        writer.raw("\(Int(seconds) / 60) min")
    }
}
