// The user that the process becomes once its ports are open. It is looked up before, so that a wrong name stops the start. It never
// comes back from root's rights to them.
import Glibc

/// A user with a group.
public struct Account: Sendable {
    private let name: String
    private let user: uid_t
    private let group: gid_t

    /// The account called `NAME` or `NAME:GROUP`; nil where there is no such user or group.
    public init?(_ text: String) {
        let parts = text.split(separator: ":").map(String.init)
        guard let first = parts.first, let entry = unsafe getpwnam(first) else { return nil }
        name = first
        user = unsafe entry.pointee.pw_uid
        guard parts.count > 1 else {
            group = unsafe entry.pointee.pw_gid
            return
        }
        guard let found = unsafe getgrnam(parts[1]) else { return nil }
        group = unsafe found.pointee.gr_gid
    }

    /// The process is this user already.
    public var isCurrent: Bool { geteuid() == user }

    /// The process may become others.
    public static var mayChange: Bool { geteuid() == 0 }

    /// Runs `body` with the account's rights to files; for a process of root's, before it has threads that care.
    public func temporarily(_ body: () -> Void) {
        let (oldUser, oldGroup) = (geteuid(), getegid())
        guard setegid(group) == 0, seteuid(user) == 0 else { return }
        body()
        _ = seteuid(oldUser)
        _ = setegid(oldGroup)
    }

    /// Gives the file at `path` to the account: of a UNIX socket, so that the account's own group can connect.
    public func take(_ path: String) throws(SystemError) {
        guard unsafe chown(path, user, group) == 0 else { throw .last("chown") }
    }

    /// Becomes the account, in every thread, with no way back.
    public func become() throws(SystemError) {
        guard unsafe initgroups(name, group) == 0 else { throw .last("initgroups") }
        guard setgid(group) == 0 else { throw .last("setgid") }
        guard setuid(user) == 0 else { throw .last("setuid") }
        guard user == 0 || setuid(0) != 0 else { throw SystemError(call: "setuid", code: EPERM) }
    }
}
