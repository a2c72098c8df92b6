// Samples as the text that Prometheus and its kin read. What is told stands in the metric table.

/// A format of exposition.
public enum Exposition: Sendable, Hashable {
    /// Prometheus text 0.0.4.
    case prometheus
    /// OpenMetrics 1.0.0.
    case openMetrics

    public var contentType: String {
        switch self {
        case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }
}

/// Samples of one metric, as they are written.
struct SampleList {
    private(set) var writer = TextWriter()
    private let format: Exposition
    private var name = ""

    init(_ format: Exposition) { self.format = format }

    /// Begins the metric whose row this is.
    mutating func begin(_ metric: Metric) {
        name = metric.name
        // In OpenMetrics a counter's samples have the suffix, and its family has not.
        let isSuffixed = format == .openMetrics && metric.kind == .counter && name.hasSuffix("_total")
        let family = isSuffixed ? String(name.dropLast(6)) : name
        writer.raw("# HELP \(family) \(metric.help)\n# TYPE \(family) \(metric.kind.rawValue)\n")
    }

    /// What stands at the end of everything.
    mutating func end() { if format == .openMetrics { writer.raw("# EOF\n") } }

    mutating func add(_ value: Int, _ labels: Labels = Labels()) {
        head("", labels)
        tail(value)
    }

    mutating func add(_ value: Double, _ labels: Labels = Labels()) {
        head("", labels)
        tail(value)
    }

    /// - Parameter label: one more label, and its value, which needs no escaping.
    mutating func add(_ value: Int, _ labels: Labels, _ label: String, _ labelValue: String) {
        head("", labels, label, labelValue)
        tail(value)
    }

    /// - Parameter bounds: how many of its bounds are told.
    mutating func add(_ histogram: Histogram.Snapshot, _ labels: Labels, bounds: Int = Histogram.bounds.count) {
        var sum = 0
        let texts = format == .openMetrics ? Histogram.canonicalTexts : Histogram.texts
        for index in 0..<bounds {
            sum += histogram.counts[index]
            head("_bucket", labels, "le", texts[index])
            tail(sum)
        }
        let count = histogram.count
        head("_bucket", labels, "le", "+Inf")
        tail(count)
        head("_sum", labels)
        tail(histogram.seconds)
        head("_count", labels)
        tail(count)
    }

    private mutating func head(_ suffix: String, _ labels: Labels, _ label: String = "", _ value: String = "") {
        writer.raw(name)
        writer.raw(suffix)
        if labels.text.isEmpty, label.isEmpty { return writer.raw(" ") }
        writer.raw("{")
        writer.raw(labels.text)
        if !label.isEmpty {
            writer.raw(labels.text.isEmpty ? "" : ",")
            writer.raw(label)
            writer.raw("=\"")
            writer.raw(value)
            writer.raw("\"")
        }
        writer.raw("} ")
    }

    private mutating func tail(_ value: Int) {
        writer.number(value)
        writer.raw("\n")
    }

    private mutating func tail(_ value: Double) { writer.raw("\(value)\n") }
}

/// Labels with their values, written once for the many samples that have them.
struct Labels {
    fileprivate(set) var text: [UInt8] = []

    init() {}

    init(_ pairs: (name: String, value: String)...) {
        var writer = TextWriter()
        for (index, pair) in pairs.enumerated() {
            writer.raw(index == 0 ? "" : ",")
            writer.raw(pair.name)
            writer.raw("=\"")
            writer.label(pair.value)
            writer.raw("\"")
        }
        text = writer.bytes
    }
}

public enum PrometheusText {
    /// Every metric with every sample.
    public static func bytes(_ statistics: Statistics, as format: Exposition = .prometheus) -> [UInt8] {
        var list = SampleList(format)
        let told = Told(statistics)
        let rows = statistics.hasAutoscalingAliases ? MetricTable.rows + MetricTable.aliases : MetricTable.rows
        for metric in rows {
            list.begin(metric)
            metric.samples(told, &list)
        }
        list.end()
        return list.writer.bytes
    }
}
