// Descriptors that wake a loop: an eventfd for what others hand over, a timerfd for the next deadline.
import CLinux
import Glibc

/// Wakes a loop from any thread (eventfd(2)).
final class EventWaker: Sendable {
    private let descriptor: Descriptor

    init() throws(SystemError) {
        let number = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard number >= 0 else { throw .last("eventfd") }
        descriptor = Descriptor(owning: number)
    }

    var number: Int32 { descriptor.number }

    func wake() { _ = eventfd_write(descriptor.number, 1) }

    func clear() {
        var count: eventfd_t = 0
        _ = unsafe eventfd_read(descriptor.number, &count)
    }
}

/// Wakes a loop at a time (timerfd_create(2)).
final class TimerWaker {
    private let descriptor: Descriptor

    init() throws(SystemError) {
        let number = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
        guard number >= 0 else { throw .last("timerfd_create") }
        descriptor = Descriptor(owning: number)
    }

    var number: Int32 { descriptor.number }

    /// Fires at `time` of the monotonic clock; nil is never.
    func arm(at time: Duration?) {
        var value = itimerspec()
        if let time {
            let (seconds, attoseconds) = time.components
            value.it_value = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
            // All zero would disarm it.
            if seconds == 0, value.it_value.tv_nsec == 0 { value.it_value.tv_nsec = 1 }
        }
        _ = unsafe timerfd_settime(descriptor.number, Int32(TFD_TIMER_ABSTIME), &value, nil)
    }

    func clear() {
        var expirations: UInt64 = 0
        _ = unsafe read(descriptor.number, &expirations, 8)
    }
}
