// Pages of ballast's own, made beside the loops: with a thousand servers that takes longer than a stream should wait.
public import Configuration
import EventLoop
import Metrics
import Synchronization

/// One of them, in one form.
struct OwnPage: Equatable, Sendable {
    enum Kind: Equatable, Sendable {
        case html, json, csv, configuration, events
        case metrics(Exposition)
    }

    let kind: Kind
    let isGzip: Bool

    var contentType: String {
        switch kind {
        case .html: "text/html; charset=utf-8"
        case .json, .configuration, .events: "application/json"
        case .csv: "text/csv; charset=utf-8; header=present"
        case .metrics(let format): format.contentType
        }
    }
}

/// What those who watch the page get of one moment.
struct LiveUpdate: Sendable {
    /// Everything, for those who have just come or could not follow; nil where nobody needs that.
    let all: [UInt8]?
    /// What has changed since the last one.
    let changes: [UInt8]
}

extension Shared {
    /// Makes a page; it comes back to the first worker.
    func compose(_ page: OwnPage) {
        side.run { [self] in
            let bytes = content(page.kind)
            let coded = page.isGzip ? Gzip.compressed(bytes, budget: compressBudget) : nil
            // Without memory to compress it, it leaves as it is.
            let form = OwnPage(kind: page.kind, isGzip: coded != nil)
            send(.composed(page, as: form, coded ?? bytes), to: 0)
        }
    }

    private func content(_ kind: OwnPage.Kind) -> [UInt8] {
        switch kind {
        case .configuration: return configurationText
        case .events: return StatsJSON.events(events.all)
        case .html: return StatsPage.bytes(statistics(now: Machine.monotonicTime), canAct: canAct)
        case .json: return StatsJSON.bytes(statistics(now: Machine.monotonicTime))
        case .csv: return StatsCSV.bytes(statistics(now: Machine.monotonicTime))
        case .metrics(let format):
            return PrometheusText.bytes(statistics(now: Machine.monotonicTime), as: format)
        }
    }

    /// Makes what those who watch get; it comes back to the first worker.
    func composeLive(needsAll: Bool) {
        side.run { [self] in
            let page = StatsPage.fragments(statistics(now: Machine.monotonicTime), canAct: canAct)
            let before = lastFragments.withLock { last in
                defer { last = page }
                return last
            }
            let update = LiveUpdate(
                all: needsAll ? page.event(since: nil) : nil, changes: page.event(since: before))
            send(.live(update), to: 0)
        }
    }

    /// The page has what changes something on it.
    private var canAct: Bool { plan?.hasActions ?? false }

    /// ballast has started with this configuration.
    public func noteStart(_ settings: EffectiveSettings) {
        noteConfiguration(settings)
        events.note(RecentEvent(at: stamp, kind: .configuration, text: "ballast \(build.version) started"))
    }

    /// Another configuration has come into effect.
    /// - Parameter changes: one line for each section.
    public func noteReload(_ settings: EffectiveSettings, changes: [String]) {
        noteConfiguration(settings)
        let text = changes.isEmpty ? "reloaded, nothing has changed" : "reloaded: " + changes.joined(separator: "; ")
        events.note(RecentEvent(at: stamp, kind: .configuration, text: String(text.prefix(300))))
    }

    /// The configuration in effect, as JSON: what `--dump` tells, with secrets as `***`.
    private func noteConfiguration(_ settings: EffectiveSettings) {
        var writer = TextWriter()
        writer.raw("{\"settings\":[")
        for (index, setting) in settings.told.enumerated() {
            writer.raw(index == 0 ? "\n" : ",\n")
            writer.raw("{\"section\":")
            writer.json(setting.section)
            writer.raw(",\"key\":")
            writer.json(setting.key)
            writer.raw(",\"value\":")
            writer.json(setting.value)
            writer.raw(",\"origin\":")
            writer.json(setting.origin)
            writer.raw("}")
        }
        writer.raw("\n]}\n")
        configurationText = writer.bytes
    }
}

/// A whole text at once.
enum Gzip {
    private static let level = 4

    /// Nil where there is no memory for it.
    static func compressed(_ bytes: [UInt8], budget: MemoryBudget) -> [UInt8]? {
        guard let deflater = Deflater(level: level, budget: budget) else { return nil }
        var result: [UInt8] = []
        func collect() {
            deflater.output.withBytes { span in
                for index in span.indices { result.append(span[index]) }
            }
            deflater.output.clear()
        }
        var position = 0
        while position < bytes.count {
            let end = min(bytes.count, position + Deflater.mostAtOnce)
            deflater.take(bytes.span.extracting(position..<end))
            while deflater.isHolding {
                collect()
                deflater.goOn()
            }
            position = end
        }
        deflater.end()
        while !deflater.isFinished {
            collect()
            deflater.goOn()
        }
        collect()
        return result
    }
}
