// Passwords against their hashes, as crypt(3) makes them. Slow by intent: never called on a loop.
import CLinux
import Glibc

public enum PasswordHash {
    /// Whether `password` has this hash.
    public static func verify(_ password: String, _ hash: String) -> Bool {
        // A zero byte would end it early, and more would be right than was said.
        guard !password.utf8.contains(0), !hash.utf8.contains(0) else { return false }
        guard let made = crypt(password, hash) else { return false }
        let expected = Array(hash.utf8)
        guard made.count == expected.count else { return false }
        var difference: UInt8 = 0
        for index in made.indices { difference |= made[index] ^ expected[index] }
        return difference == 0
    }

    /// Whether the system knows hashes of this kind, and this one is whole.
    public static func isKnown(_ hash: String) -> Bool { crypt("", hash)?.count == hash.utf8.count }

    private static func crypt(_ password: String, _ setting: String) -> [UInt8]? {
        // Room of its own, because several may be asked at a time; libcrypt makes it, and says how much it is.
        var room: UnsafeMutableRawPointer?
        var size: Int32 = 0
        defer { unsafe free(room) }
        guard let made = unsafe crypt_ra(password, setting, &room, &size), unsafe made[0] != CChar(UInt8(ascii: "*"))
        else { return nil }
        return unsafe Array(String(cString: made).utf8)
    }
}
