// Whether a connection may carry another message. It knows the versions' defaults, not why somebody else may close.

/// RFC 9112, 9.3: what a head says about keeping its connection.
public enum Persistence {
    public static func isKept(after head: borrowing MessageHead) -> Bool {
        let options = head.connection
        return switch head.version {
        case .http11: !options.contains(.close)
        case .http10: options.contains(.keepAlive) && !options.contains(.close)
        }
    }
}
