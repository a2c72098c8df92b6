// What an operator has set by hand on a running ballast, over what the configuration says. It lasts as long as the server
// is known: over reloads, not over a restart.

/// Of one server.
public struct ManualSetting: Sendable, Equatable {
    public enum Mode: Sendable, Equatable {
        case asConfigured
        /// It serves although the configuration disables it.
        case enabled
        /// It takes no new requests, and finishes those that it has.
        case draining
        /// The same; and it is not checked.
        case disabled
    }

    public var mode = Mode.asConfigured
    /// Nil is the configuration's.
    public var weight: Int?

    public init() {}

    /// It takes no new requests because of this.
    public var isOut: Bool { mode == .draining || mode == .disabled || weight == 0 }

    /// The server as it is used.
    func applied(to configured: Server) -> Server {
        var server = configured
        if let weight { server.weight = weight }
        switch mode {
        case .asConfigured: break
        case .enabled: server.isDisabled = false
        case .draining: server.weight = 0
        case .disabled: server.isDisabled = true
        }
        return server
    }
}

/// What somebody does to a server by hand.
public enum ManualAction: Sendable, Equatable {
    case drain, disable
    /// Ends both.
    case resume
    /// 0 to `Server.maximumWeight`; nil is the configuration's.
    case weight(Int?)

    func change(_ setting: inout ManualSetting, of configured: Server) {
        switch self {
        case .drain: setting.mode = .draining
        case .disable: setting.mode = .disabled
        case .resume:
            setting.mode = configured.isDisabled ? .enabled : .asConfigured
            // A weight of 0 is another way to drain.
            if setting.weight == 0 { setting.weight = nil }
        case .weight(let weight): setting.weight = weight
        }
    }
}
