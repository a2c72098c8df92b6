// A key as a row: its name, where it may stand, its default, its help, and the field that it sets with its bounds.
import Addresses
import Balancing

/// The field a key sets, and how its value is read.
enum KeyTarget<Root: Sendable>: Sendable {
    case duration(any WritableKeyPath<Root, Duration> & Sendable, ClosedRange<Duration>)
    case size(any WritableKeyPath<Root, Int> & Sendable, ClosedRange<Int>)
    case count(any WritableKeyPath<Root, Int> & Sendable, ClosedRange<Int>)
    /// Parts of 100, written with `%`.
    case percent(any WritableKeyPath<Root, Int> & Sendable, ClosedRange<Int>)
    case choice(any WritableKeyPath<Root, String> & Sendable, [String])
    /// Reads all words by itself; for values with a form of their own.
    case words(@Sendable (inout Root, Setting) throws(Mistake) -> Void)

    /// Sets the field from `setting`.
    func apply(_ setting: Setting, to root: inout Root) throws(Mistake) {
        switch self {
        case .duration(let path, let bounds): root[keyPath: path] = try Values.duration(try setting.single, in: bounds)
        case .size(let path, let bounds): root[keyPath: path] = try Values.size(try setting.single, in: bounds)
        case .count(let path, let bounds): root[keyPath: path] = try Values.count(try setting.single, in: bounds)
        case .percent(let path, let bounds): root[keyPath: path] = try Values.percent(try setting.single, in: bounds)
        case .choice(let path, let words): root[keyPath: path] = try Values.choice(try setting.single, among: words)
        case .words(let read): try read(&root, setting)
        }
    }
}

extension KeyTarget {
    /// What a value may be, for people; nil where the help says it.
    var bounds: String? {
        switch self {
        case .duration(_, let bounds): "\(Values.text(bounds.lowerBound)) to \(Values.text(bounds.upperBound))"
        case .size(_, let bounds): "\(Values.text(size: bounds.lowerBound)) to \(Values.text(size: bounds.upperBound))"
        case .count(_, let bounds): "\(bounds.lowerBound) to \(bounds.upperBound)"
        case .percent(_, let bounds): "\(bounds.lowerBound)% to \(bounds.upperBound)%"
        case .choice(_, let words): words.joined(separator: ", ")
        case .words: nil
        }
    }
}

/// One row of the schema.
struct Key: Sendable {
    enum Scope: Sendable {
        case global(KeyTarget<Settings>)
        /// In a `[backend]`, or before the first section as every backend's default.
        case backend(KeyTarget<BackendSettings>)
        case stats(KeyTarget<StatsSettings>)
        case tls(KeyTarget<TLSSettings>)
        /// Read by the loader before any other key.
        case include
    }

    let name: String
    let scope: Scope
    /// The default as a configuration would write it; nil where there is none.
    let defaultText: String?
    /// A value for the annotated configuration where there is no default.
    let sample: String
    let repeats: Bool
    /// One sentence, for the reference page and the annotated configuration.
    let help: String

    /// What a value may be, for people.
    var bounds: String? {
        switch scope {
        case .global(let target): target.bounds
        case .backend(let target): target.bounds
        case .stats(let target): target.bounds
        case .tls(let target): target.bounds
        case .include: nil
        }
    }

    static func global(
        _ name: String, _ target: KeyTarget<Settings>, default text: String?, sample: String = "",
        repeats: Bool = false, _ help: String
    ) -> Key {
        Key(name: name, scope: .global(target), defaultText: text, sample: sample, repeats: repeats, help: help)
    }

    static func backend(
        _ name: String, _ target: KeyTarget<BackendSettings>, default text: String?, sample: String = "",
        repeats: Bool = false, _ help: String
    ) -> Key {
        Key(name: name, scope: .backend(target), defaultText: text, sample: sample, repeats: repeats, help: help)
    }

    static func stats(
        _ name: String, _ target: KeyTarget<StatsSettings>, default text: String?, sample: String = "",
        repeats: Bool = false, _ help: String
    ) -> Key {
        Key(name: name, scope: .stats(target), defaultText: text, sample: sample, repeats: repeats, help: help)
    }

    static func tls(
        _ name: String, _ target: KeyTarget<TLSSettings>, default text: String?, sample: String = "",
        repeats: Bool = false, _ help: String
    ) -> Key {
        Key(name: name, scope: .tls(target), defaultText: text, sample: sample, repeats: repeats, help: help)
    }

    static func include(_ name: String, sample: String, _ help: String) -> Key {
        Key(name: name, scope: .include, defaultText: nil, sample: sample, repeats: true, help: help)
    }
}
