// The real engine on the simulated network: seeds, and the same seed in two processes.
import Foundation
import TestKit
import Testing

@Suite struct SimulationTests {
    /// Seeds that a run of the suite tries; `Scripts/soak` tries any number.
    static let seeds: [UInt64] = Array(1...200)

    /// Seeds that found a bug once. 3967: a response head cut in its middle, then a retry.
    static let remembered: [UInt64] = [3967, 1074]

    @Test(arguments: seeds + remembered) func promisesHold(_ number: UInt64) throws {
        let scenario = try Scenario(number)
        scenario.run()
        #expect(scenario.complaints.isEmpty, "run 'Scripts/simulate \(number) 1 --record': \(scenario.complaints)")
    }

    /// A seed is only worth something if it repeats: in this process, and in another one.
    @Test func theSameSeedGivesTheSameTraceInTwoProcesses() throws {
        var combined: UInt64 = 0
        for number in UInt64(1)...20 {
            let scenario = try Scenario(number)
            scenario.run()
            combined = combined &* 31 &+ scenario.world.trace
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("simulate")
        process.arguments = ["1", "20"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(output.hasPrefix("trace \(combined)\n"), "\(output)")
    }
}
