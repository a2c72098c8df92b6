// The real engine on the simulated network while its configuration changes: seeds, and a crowd.
import TestKit
import Testing

@Suite struct ReloadTests {
    /// Seeds that a run of the suite tries; `Scripts/soak reloads` tries any number.
    static let seeds: [UInt64] = Array(1...60)

    @Test(arguments: seeds) func everyRequestIsAnsweredOnce(_ number: UInt64) throws {
        let scenario = try ReloadScenario(number)
        scenario.run()
        #expect(scenario.complaints.isEmpty, "run 'Scripts/simulate \(number) 1 --reload': \(scenario.complaints)")
        #expect(scenario.reloads > 5)
    }

    @Test func aCrowdDoesNotNotice() throws {
        let scenario = try ReloadScenario(1, clientCount: 600, reloadCount: 50)
        scenario.run()
        #expect(scenario.complaints.isEmpty, "\(scenario.complaints.prefix(20))")
    }
}
