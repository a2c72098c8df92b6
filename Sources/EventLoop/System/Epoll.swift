// One epoll set with room for a batch of events. It knows descriptors and their tags, not what they mean.
import CLinux
import Glibc

/// A set of watched descriptors (epoll(7)).
final class Epoll {
    static let batch = Int(clinux_epoll_batch)

    private let descriptor: Descriptor
    /// One property for a batch, because each access to one is checked for exclusivity.
    private var ready = Batch()

    /// The events of the last wait.
    private struct Batch {
        var tags = [UInt64](repeating: 0, count: Epoll.batch)
        var bits = [UInt32](repeating: 0, count: Epoll.batch)

        mutating func fill(from set: Int32, milliseconds: Int32) -> Int {
            // Both arrays have room for a batch, which is what the shim asks the kernel for.
            Int(unsafe clinux_epoll_wait(set, &tags, &bits, milliseconds))
        }

        func entry(_ index: Int) -> (tag: UInt64, bits: UInt32) { (tags[index], bits[index]) }
    }

    /// What the kernel says of a descriptor.
    struct Event {
        let tag: UInt64
        private let bits: UInt32

        init(tag: UInt64, bits: UInt32) {
            self.tag = tag
            self.bits = bits
        }

        var isReadable: Bool { bits & clinux_in != 0 }
        var isWritable: Bool { bits & clinux_out != 0 }
        var hasPeerFinished: Bool { bits & clinux_rdhup != 0 }
        var isHungUp: Bool { bits & clinux_hup != 0 }
        var hasFailed: Bool { bits & clinux_err != 0 }
    }

    init() throws(SystemError) {
        let number = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard number >= 0 else { throw .last("epoll_create1") }
        descriptor = Descriptor(owning: number)
    }

    var number: Int32 { descriptor.number }

    /// Watches a socket for everything, once and for all, edge-triggered.
    func watchSocket(_ number: Int32, tag: UInt64) throws(SystemError) {
        try add(number, clinux_in | clinux_out | clinux_rdhup | clinux_edge, tag)
    }

    /// Watches a listener, level-triggered. Where several loops share one, a client wakes one of them.
    func watchListener(_ number: Int32, tag: UInt64) throws(SystemError) {
        try add(number, clinux_in | clinux_exclusive, tag)
    }

    /// Watches for input, level-triggered: eventfds, timerfds.
    func watchInput(_ number: Int32, tag: UInt64) throws(SystemError) {
        try add(number, clinux_in, tag)
    }

    func remove(_ number: Int32) {
        _ = epoll_ctl(descriptor.number, EPOLL_CTL_DEL, number, nil)
    }

    /// Waits for at most `milliseconds`; returns how many events there are.
    func wait(milliseconds: Int32) -> Int {
        max(0, ready.fill(from: descriptor.number, milliseconds: milliseconds))
    }

    /// The event at `index` of the last `wait`.
    func event(_ index: Int) -> Event {
        let (tag, bits) = ready.entry(index)
        return Event(tag: tag, bits: bits)
    }

    private func add(_ number: Int32, _ events: UInt32, _ tag: UInt64) throws(SystemError) {
        guard clinux_epoll_add(descriptor.number, number, events, tag) == 0 else { throw .last("epoll_ctl") }
    }
}
