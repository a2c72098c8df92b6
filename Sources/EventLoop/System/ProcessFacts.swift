// What the system knows of this process: for statistics. It is read from /proc; what cannot be read is zero.
import CLinux
import Glibc

/// The process as the system sees it.
public struct ProcessFacts: Sendable {
    /// Of user and system.
    public private(set) var cpuSeconds = 0.0
    public private(set) var residentBytes = 0
    public private(set) var virtualBytes = 0
    public private(set) var openDescriptors = 0
    public private(set) var maximumDescriptors = 0
    /// Seconds since 1970.
    public private(set) var startedAt = 0.0

    /// The facts of this moment.
    public init() {
        var usage = rusage()
        if unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            cpuSeconds = Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime)
        }
        let page = max(0, sysconf(Int32(_SC_PAGESIZE)))
        let sizes = Self.words("/proc/self/statm").prefix(2).map { Int($0) ?? 0 }
        if sizes.count == 2 {
            virtualBytes = sizes[0] * page
            residentBytes = sizes[1] * page
        }
        openDescriptors = max(0, ((try? File.names(in: "/proc/self/fd"))?.count ?? 1) - 1)
        var limit = rlimit()
        if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            maximumDescriptors = Int(clamping: limit.rlim_cur)
        }
        startedAt = Self.startTime
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

    private static func words(_ path: String) -> [String] {
        guard let bytes = try? File.read(path) else { return [] }
        return bytes.split { $0 == 0x20 || $0 == 0x0a }.map { String(decoding: $0, as: UTF8.self) }
    }

    /// The machine's boot and the process's start after it, which the system tells in ticks.
    private static let startTime: Double = {
        let ticks = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        // The name in parentheses may hold blanks; what is meant is the 22nd word with it, the 20th behind it.
        guard let bytes = try? File.read("/proc/self/stat"), let close = bytes.lastIndex(of: UInt8(ascii: ")")) else {
            return 0
        }
        let behind = bytes[(close + 1)...].split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
        let boot = words("/proc/stat")
        guard behind.count > 19, let start = Double(behind[19]), let mark = boot.firstIndex(of: "btime"),
            boot.count > mark + 1, let bootTime = Double(boot[mark + 1])
        else { return 0 }
        return bootTime + start / ticks
    }()
}
