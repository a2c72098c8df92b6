// What has happened lately that an operator asks about first: bounded, kept over reloads, shown on the page.
import Synchronization

/// One thing that happened.
public struct RecentEvent: Sendable, Equatable {
    public enum Kind: String, Sendable { case state, action, configuration, certificate }

    /// From 1 on, by one more for each.
    public var number = 0
    /// When: RFC 3339, UTC, with milliseconds.
    public var stamp: String
    public var kind: Kind
    /// It says that something is not as it should be.
    public var isTrouble: Bool
    /// Empty where it is about none.
    public var backend: String
    public var server: String
    /// One line.
    public var text: String

    public init(
        at stamp: String, kind: Kind, isTrouble: Bool = false, backend: String = "", server: String = "", text: String
    ) {
        self.stamp = stamp
        self.kind = kind
        self.isTrouble = isTrouble
        self.backend = backend
        self.server = server
        self.text = text
    }
}

/// The last of them. Safe to use from any thread.
public final class RecentEvents: Sendable {
    /// How many are kept.
    public static let limit = 200

    private struct State {
        var events: [RecentEvent] = []
        var count = 0
    }

    private let state = Mutex(State())

    public init() {}

    public func note(_ event: RecentEvent) {
        state.withLock { state in
            state.count += 1
            var event = event
            event.number = state.count
            if state.events.count == Self.limit { state.events.removeFirst() }
            state.events.append(event)
        }
    }

    /// The newest first.
    public var all: [RecentEvent] { state.withLock { $0.events.reversed() } }
}
