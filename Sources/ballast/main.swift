import Addresses
import Configuration
import Balancing
import Dispatch
import Engine
import EventLoop
import Metrics
var settings = Settings()
settings.listeners = [ListenerSettings(text: ":8080", address: .loopback, port: UInt16(CommandLine.arguments[1])!, position: Position(file: "x", line: 0, column: 0))]
settings.threads = 1
let backend = BackendSettings(name: "default")
let servers = CommandLine.arguments.dropFirst(2).map { Server(name: $0, endpoint: Endpoint(.loopback, port: UInt16($0)!)) }
let plan = Plan(settings, backends: [BackendPlan(backend, servers: servers)])
Machine.ignoreBrokenPipes()
let w = try Workers(plan: plan, count: 1, log: EventLog(level: .debug) { File.write($0, to: 2) }, seed: 1)
w.start()
let semaphore = DispatchSemaphore(value: 0); semaphore.wait()
