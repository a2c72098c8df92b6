// simulate: runs simulated scenarios by seed, for long searches and for looking at one run.
// usage: simulate FIRST COUNT [--record] [--reload [CLIENTS]]
import EventLoop
import Metrics
import TestKit

let arguments = CommandLine.arguments
let first = arguments.count > 1 ? UInt64(arguments[1]) ?? 1 : 1
let count = arguments.count > 2 ? UInt64(arguments[2]) ?? 1 : 1
let isRecording = arguments.contains("--record")
var failures = 0
var combined: UInt64 = 0
var totals = Snapshot<RequestCounter>([])
let reload = arguments.firstIndex(of: "--reload")
let clientCount = reload.flatMap { $0 + 1 < arguments.count ? Int(arguments[$0 + 1]) : nil }
var reloads = 0
for number in first..<(first + count) where reload != nil {
    let scenario = try ReloadScenario(number, clientCount: clientCount, recording: isRecording)
    scenario.run()
    reloads += scenario.reloads
    totals += scenario.requests
    combined = combined &* 31 &+ scenario.world.trace
    for complaint in scenario.complaints {
        print(complaint)
        failures += 1
    }
    if isRecording { for line in scenario.world.record { print(line) } }
}
for number in first..<(first + count) where reload == nil {
    let scenario = try Scenario(number, recording: isRecording)
    scenario.run()
    totals += scenario.requests
    combined = combined &* 31 &+ scenario.world.trace
    for complaint in scenario.complaints {
        print(complaint)
        failures += 1
    }
    if isRecording { for line in scenario.world.record { print(line) } }
}
print("trace \(combined)")
print(RequestCounter.allCases.map { "\($0) \(totals[$0])" }.joined(separator: ", "))
if reload != nil { print("\(reloads) reloads") }
print("\(count) seeds from \(first): \(failures) complaints")
if failures > 0 { Machine.exit(1) }
