// swift-tools-version: 6.2
// The package: every target with the arrows it may have, and the compiler settings that all of them share.
// No dependency on other packages, so that a build needs nothing but the toolchain.
import PackageDescription

/// Swift 6 mode, memory safety checked strictly, imports internal unless they say otherwise.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// For leaves: their functions may be inlined into other modules.
let leafSettings = settings + [.unsafeFlags(["-cross-module-optimization"], .when(configuration: .release))]
/// For modules of objects.
let objectSettings = settings + [.unsafeFlags(["-disable-cmo"], .when(configuration: .release))]

func library(_ name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .target(
        name: name, dependencies: dependencies, exclude: exclude,
        swiftSettings: ["EventLoop", "Engine"].contains(name) ? objectSettings : leafSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

let package = Package(
    name: "ballast",
    targets: [
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "COpenSSL", providers: [.apt(["libssl-dev"])]),
        library("Addresses"),
        library("HTTP"),
        library("Balancing", ["Addresses"]),
        library("Relay", ["Addresses", "HTTP", "Balancing"]),
        library("Configuration", ["Addresses", "Balancing"]),
        library("Metrics"),
        library("EventLoop", ["Addresses", "CLinux", "COpenSSL"], exclude: ["README.md"]),
        library(
            "Engine",
            ["Addresses", "CZlib", "HTTP", "Balancing", "Relay", "Configuration", "Metrics", "EventLoop"]),
        .executableTarget(
            name: "ballast",
            dependencies: ["Addresses", "Balancing", "Configuration", "Engine", "EventLoop", "HTTP", "Metrics"],
            swiftSettings: settings),
        .executableTarget(
            name: "demo-replica", dependencies: ["Addresses", "EventLoop", "HTTP"], swiftSettings: settings),

        .target(
            name: "TestKit",
            dependencies: [
                "Addresses", "Balancing", "COpenSSL", "Configuration", "Engine", "EventLoop", "HTTP", "Metrics",
                "Relay",
            ],
            path: "Tests/TestKit", swiftSettings: settings),
        .executableTarget(
            name: "simulate", dependencies: ["EventLoop", "TestKit"], path: "Tests/Simulate", swiftSettings: settings),
        tests("HTTPTests", ["HTTP", "TestKit"], exclude: ["Corpus"]),
        tests("AddressesTests", ["Addresses"]),
        tests("BalancingTests", ["Addresses", "Balancing", "TestKit"]),
        tests("RelayTests", ["Addresses", "Balancing", "HTTP", "Relay"]),
        tests("ConfigurationTests", ["Configuration"], exclude: ["Golden"]),
        tests("MetricsTests", ["Metrics"]),
        tests("EventLoopTests", ["Addresses", "COpenSSL", "EventLoop"]),
        tests("EngineTests", ["Configuration", "Engine", "EventLoop", "HTTP", "TestKit"]),
        tests("HouseRulesTests", []),
    ]
)
