// A key as a row: its name, where it may stand, its default, its help, and the field that it sets with its bounds.
import Addresses
import Balancing

/// The field a key sets, and how its value is read.
enum KeyTarget<Root: Sendable>: Sendable {
    case duration(any WritableKeyPath<Root, Duration> & Sendable, ClosedRange<Duration>)
    case size(any WritableKeyPath<Root, Int> & Sendable, ClosedRange<Int>)
    case count(any WritableKeyPath<Root, Int> & Sendable, ClosedRange<Int>)
    case choice(any WritableKeyPath<Root, String> & Sendable, [String])
    /// Reads all words by itself; for values with a form of their own.
    case words(@Sendable (inout Root, Setting) throws(Mistake) -> Void)

    /// Sets the field from `setting`.
    func apply(_ setting: Setting, to root: inout Root) throws(Mistake) {
        switch self {
        case .duration(let path, let bounds): root[keyPath: path] = try Values.duration(try setting.single, in: bounds)
        case .size(let path, let bounds): root[keyPath: path] = try Values.size(try setting.single, in: bounds)
        case .count(let path, let bounds): root[keyPath: path] = try Values.count(try setting.single, in: bounds)
        case .choice(let path, let words): root[keyPath: path] = try Values.choice(try setting.single, among: words)
        case .words(let read): try read(&root, setting)
        }
    }
}

/// One row of the schema.
struct Key: Sendable {
    enum Scope: Sendable {
        case global(KeyTarget<Settings>)
        /// In a `[backend]`, or before the first section as every backend's default.
        case backend(KeyTarget<BackendSettings>)
        /// Read by the loader before any other key.
        case include
    }

    let name: String
    let scope: Scope
    /// The default as a configuration would write it; nil where there is none.
    let defaultText: String?
    let repeats: Bool
    /// One sentence, for the reference page and the annotated configuration.
    let help: String

    private init(_ name: String, _ scope: Scope, _ defaultText: String?, repeats: Bool, _ help: String) {
        self.name = name
        self.scope = scope
        self.defaultText = defaultText
        self.repeats = repeats
        self.help = help
    }

    static func global(
        _ name: String, _ target: KeyTarget<Settings>, default text: String?, repeats: Bool = false, _ help: String
    ) -> Key {
        Key(name, .global(target), text, repeats: repeats, help)
    }

    static func backend(
        _ name: String, _ target: KeyTarget<BackendSettings>, default text: String?, repeats: Bool = false,
        _ help: String
    ) -> Key {
        Key(name, .backend(target), text, repeats: repeats, help)
    }

    static func include(_ name: String, _ help: String) -> Key {
        Key(name, .include, nil, repeats: true, help)
    }
}
