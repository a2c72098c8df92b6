// Statistics as Prometheus text, version 0.0.4. Label values are escaped: nothing in them ends a line or a quote.

typealias Labels = [(name: String, value: String)]

/// The samples of one metric, written as they come.
struct SampleList {
    private(set) var text = ""
    private let name: String

    init(_ name: String) { self.name = name }

    mutating func add(_ value: Int, _ labels: Labels = []) { line(name, "\(value)", labels) }
    mutating func add(_ value: Double, _ labels: Labels = []) { line(name, "\(value)", labels) }

    mutating func add(_ histogram: Histogram.Snapshot, _ labels: Labels) {
        var sum = 0
        for (index, bound) in Histogram.bounds.enumerated() {
            sum += histogram.counts[index]
            line("\(name)_bucket", "\(sum)", labels + [("le", bound == bound.rounded() ? "\(Int(bound))" : "\(bound)")])
        }
        line("\(name)_bucket", "\(histogram.count)", labels + [("le", "+Inf")])
        line("\(name)_sum", "\(histogram.seconds)", labels)
        line("\(name)_count", "\(histogram.count)", labels)
    }

    private mutating func line(_ name: String, _ value: String, _ labels: Labels) {
        text += name
        if !labels.isEmpty {
            let pairs = labels.map { "\($0.name)=\"\(PrometheusText.escaped($0.value))\"" }
            text += "{\(pairs.joined(separator: ","))}"
        }
        text += " \(value)\n"
    }
}

public enum PrometheusText {
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    public static func text(_ statistics: Statistics) -> String {
        var text = ""
        for metric in MetricTable.rows {
            text += "# HELP \(metric.name) \(metric.help)\n# TYPE \(metric.name) \(metric.kind.rawValue)\n"
            var list = SampleList(metric.name)
            metric.samples(statistics, &list)
            text += list.text
        }
        return text
    }

    /// Backslash, quote and line feed as the format says; other bytes outside printable ASCII as `?`.
    static func escaped(_ value: String) -> String {
        var text = ""
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): text += "\\\\"
            case UInt8(ascii: "\""): text += "\\\""
            case 0x0a: text += "\\n"
            case 0x20..<0x7f: text.unicodeScalars.append(Unicode.Scalar(byte))
            case _: text += "?"
            }
        }
        return text
    }
}
