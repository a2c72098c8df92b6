// demo-replica: starts one scripted inference server and runs it until it is told to end.
import Addresses
import Dispatch
import EventLoop

do {
    guard let options = try Options.parse(Array(CommandLine.arguments.dropFirst())) else {
        File.write(Options.help, to: 1)
        Machine.exit(0)
    }
    Machine.ignoreBrokenPipes()
    _ = Machine.raiseDescriptorLimit()
    let replica = try Replica(options)
    let endpoint = try replica.listen()
    File.write("demo-replica \(options.name) on http://\(endpoint)\n", to: 1)
    let loop = Loop(label: "demo-replica", network: replica.network, subject: replica)
    loop.start()
    withExtendedLifetime(loop) { dispatchMain() }
} catch let mistake as Options.Mistake {
    File.write("demo-replica: \(mistake.text); see --help\n", to: 2)
    Machine.exit(2)
} catch let error as SystemError where error.code == SystemError.addressInUse {
    File.write("demo-replica: cannot listen: another process has the port\n", to: 2)
    Machine.exit(1)
} catch {
    File.write("demo-replica: \(error)\n", to: 2)
    Machine.exit(1)
}
