// What the machine allows: processors, descriptors, clocks, signals.
import CLinux
import Glibc

/// Facts about the machine and the process.
public enum Machine {
    /// The monotonic clock, since an unspecified start.
    public static var monotonicTime: Duration {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return .nanoseconds(Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// Seconds since 1970, UTC.
    public static var wallSeconds: Int64 {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME_COARSE, &time)
        return Int64(time.tv_sec)
    }

    /// Seconds since 1970, UTC, with their fraction.
    public static var wallTime: Double {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Whether standard error is read by the journal, which says where it reads (systemd.exec(5), JOURNAL_STREAM).
    public static var isStandardErrorJournal: Bool {
        var about = stat()
        guard let stream = File.environment("JOURNAL_STREAM"), unsafe fstat(2, &about) == 0 else { return false }
        return stream == "\(about.st_dev):\(about.st_ino)"
    }

    /// What the machine calls itself.
    public static var hostName: String {
        var name = utsname()
        guard unsafe uname(&name) == 0 else { return "" }
        return unsafe withUnsafeBytes(of: &name.nodename) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// Bytes of memory that the machine has; nil when it does not say.
    public static var memory: Int? {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let size = sysconf(Int32(_SC_PAGESIZE))
        return pages > 0 && size > 0 ? pages * size : nil
    }

    /// Processors this process may use: its affinity mask, bounded by the control group's quota.
    public static var usableProcessors: Int {
        let mask = max(1, Int(clinux_affinity_count()))
        guard let quota = controlGroupQuota else { return mask }
        return max(1, min(mask, Int(quota.rounded(.up))))
    }

    /// Processors' worth of time that the control group grants; nil is no limit.
    private static var controlGroupQuota: Double? {
        if let text = try? File.read("/sys/fs/cgroup/cpu.max") {
            let words = text.split { $0 == 0x20 || $0 == 0x0a }.map { String(decoding: $0, as: UTF8.self) }
            guard words.count == 2, let quota = Double(words[0]), let period = Double(words[1]), period > 0 else {
                return nil
            }
            return quota / period
        }
        guard let quota = number(in: "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), quota > 0,
            let period = number(in: "/sys/fs/cgroup/cpu/cpu.cfs_period_us"), period > 0
        else { return nil }
        return quota / period
    }

    private static func number(in path: String) -> Double? {
        guard let bytes = try? File.read(path) else { return nil }
        return Double(String(decoding: bytes.filter { $0 != 0x0a }, as: UTF8.self))
    }

    /// Raises the soft limit on open descriptors to the hard one and returns it.
    public static func raiseDescriptorLimit() -> Int {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }

    /// Lets the calling thread sleep; never call it from a loop.
    public static func pause(_ duration: Duration) { usleep(UInt32(clamping: Int(duration / .microseconds(1)))) }

    /// Whether IPv6 sockets can be made here.
    public static let hasIPv6 = Socket.hasIPv6

    public static let terminateSignal = SIGTERM
    public static let interruptSignal = SIGINT
    public static let quitSignal = SIGQUIT
    public static let hangUpSignal = SIGHUP
    public static let firstUserSignal = SIGUSR1
    public static let secondUserSignal = SIGUSR2

    /// Takes a signal's default action away, so that a source can hear of it.
    public static func ignoreSignal(_ number: Int32) { _ = signal(number, SIG_IGN) }

    /// Sends a signal to a process.
    public static func send(_ signal: Int32, to process: Int32) throws(SystemError) {
        guard kill(process, signal) == 0 else { throw .last("kill") }
    }

    /// Ignores SIGPIPE: a peer that has gone is an error of the call that found out.
    public static func ignoreBrokenPipes() { _ = signal(SIGPIPE, SIG_IGN) }

    /// Opens /dev/null where standard input, output or error is closed: the next socket would become it.
    public static func holdStandardDescriptors() {
        while true {
            let number = unsafe open("/dev/null", O_RDWR)
            if number < 0 || number > 2 {
                if number > 2 { _ = Glibc.close(number) }
                return
            }
        }
    }

    /// From here on no dump of the process's memory is written, and no other process of its user can read it: keys are there.
    public static func guardMemory() {
        var none = rlimit(rlim_cur: 0, rlim_max: 0)
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
        _ = clinux_undumpable()
    }

    /// Ends the process.
    public static func exit(_ code: Int32) -> Never { Glibc.exit(code) }
}
