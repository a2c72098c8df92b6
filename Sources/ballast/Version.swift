// What this build is.

enum Version {
    static let number = "0.1.0"

    /// The language version that it was compiled as.
    static var compiler: String {
        #if compiler(>=6.3)
            "6.3 or later"
        #else
            "6.2"
        #endif
    }

    static var text: String {
        #if DEBUG
            let build = "debug build"
        #else
            let build = "release build"
        #endif
        #if arch(x86_64)
            let machine = "x86_64"
        #elseif arch(arm64)
            let machine = "arm64"
        #else
            let machine = "unknown machine"
        #endif
        return "ballast \(number) (\(build), \(machine))\n"
    }
}
