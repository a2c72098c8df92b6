// simulate: runs simulated scenarios by seed, for long searches and for looking at one run.
// usage: simulate FIRST COUNT [--record] [--reload [CLIENTS]]
import EventLoop
import Metrics
import TestKit

let arguments = CommandLine.arguments
let first = arguments.count > 1 ? UInt64(arguments[1]) ?? 1 : 1
let runs = arguments.count > 2 ? UInt64(arguments[2]) ?? 1 : 1
let isRecording = arguments.contains("--record")
var failures = 0
var combined: UInt64 = 0
var totals = Snapshot<RequestCounter>([])
let reload = arguments.firstIndex(of: "--reload")
let clientCount = reload.flatMap { $0 + 1 < arguments.count ? Int(arguments[$0 + 1]) : nil }
var reloads = 0

/// Takes in what came of one run.
@MainActor func count(_ requests: Snapshot<RequestCounter>, _ complaints: [String], in world: SimulatedWorld) {
    totals += requests
    combined = combined &* 31 &+ world.trace
    failures += complaints.count
    for line in complaints + (isRecording ? world.record : []) { print(line) }
}

for number in first..<(first + runs) {
    if reload == nil {
        let scenario = try Scenario(number, recording: isRecording)
        scenario.run()
        count(scenario.requests, scenario.complaints, in: scenario.world)
    } else {
        let scenario = try ReloadScenario(number, clientCount: clientCount, recording: isRecording)
        scenario.run()
        reloads += scenario.reloads
        count(scenario.requests, scenario.complaints, in: scenario.world)
    }
}
print("trace \(combined)")
print(RequestCounter.allCases.map { "\($0) \(totals[$0])" }.joined(separator: ", "))
if reload != nil { print("\(reloads) reloads") }
print("\(runs) seeds from \(first): \(failures) complaints")
if failures > 0 { Machine.exit(1) }
