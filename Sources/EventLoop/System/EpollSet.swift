// One epoll set with room for a batch of events. It knows descriptors and tokens, not what they mean.
import CLinux
import Glibc

/// A set of watched descriptors (epoll(7)).
final class EpollSet {
    static let batch = Int(clinux_epoll_batch)

    private let descriptor: Descriptor
    /// One property for a batch, because each access to one is checked for exclusivity.
    private var ready = Batch()

    /// The events of the last wait.
    private struct Batch {
        var tokens = [UInt64](repeating: 0, count: EpollSet.batch)
        var events = [UInt32](repeating: 0, count: EpollSet.batch)

        mutating func fill(from set: Int32, milliseconds: Int32) -> Int {
            // Both arrays have room for a batch, which is what the shim asks the kernel for.
            Int(unsafe clinux_epoll_wait(set, &tokens, &events, milliseconds))
        }

        func entry(_ index: Int) -> (token: UInt64, bits: UInt32) { (tokens[index], events[index]) }
    }

    init() throws(SystemError) {
        let number = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard number >= 0 else { throw .last("epoll_create1") }
        descriptor = Descriptor(owning: number)
    }

    var number: Int32 { descriptor.number }

    /// Watches a socket for everything, once and for all, edge-triggered.
    func watchSocket(_ number: Int32, token: Token) throws(SystemError) {
        try add(number, clinux_in | clinux_out | clinux_rdhup | clinux_edge, token)
    }

    /// Watches for input, level-triggered: listeners, eventfds, timerfds.
    func watchInput(_ number: Int32, token: Token) throws(SystemError) {
        try add(number, clinux_in, token)
    }

    func remove(_ number: Int32) {
        _ = epoll_ctl(descriptor.number, EPOLL_CTL_DEL, number, nil)
    }

    /// Waits for at most `milliseconds`; returns how many events there are.
    func wait(milliseconds: Int32) -> Int {
        max(0, ready.fill(from: descriptor.number, milliseconds: milliseconds))
    }

    /// The event at `index` of the last `wait`.
    func event(_ index: Int) -> ReadyEvent {
        let (token, bits) = ready.entry(index)
        var readiness: Readiness = []
        if bits & clinux_in != 0 { readiness.insert(.readable) }
        if bits & clinux_out != 0 { readiness.insert(.writable) }
        if bits & clinux_rdhup != 0 { readiness.insert(.peerFinished) }
        if bits & clinux_hup != 0 { readiness.insert(.hungUp) }
        if bits & clinux_err != 0 { readiness.insert(.failed) }
        return ReadyEvent(token: Token(rawValue: token), readiness: readiness)
    }

    private func add(_ number: Int32, _ events: UInt32, _ token: Token) throws(SystemError) {
        guard clinux_epoll_add(descriptor.number, number, events, token.rawValue) == 0 else { throw .last("epoll_ctl") }
    }
}
