// ballast: reads the command line and does what it says. Exit codes: 0 a clean stop or a valid file, 1 a failure at run
// time, 2 a bad command line or configuration.
import Configuration
import Dispatch
import EventLoop

func refuse(_ text: String, _ code: Int32 = 2) -> Never {
    File.write(text, to: 2)
    Machine.exit(code)
}

/// What a command's configuration comes to; ends the process where it is refused.
/// - Parameter isStart: names that cannot be looked up, and files that cannot be written, may be otherwise the next time.
func ready(_ origin: ConfigurationOrigin, isStart: Bool = false) -> Loading.Ready {
    do throws(Refusal) {
        let ready = try Loading.ready(from: origin)
        for line in ready.warnings { File.write(line + "\n", to: 2) }
        return ready
    } catch {
        refuse(error.text, isStart && error.isOutside ? 1 : 2)
    }
}

/// Asks the ballast that runs with the configuration's pid file.
func ask(_ request: Command.Request, _ origin: ConfigurationOrigin) {
    // A configuration with mistakes is nothing to reload, but no reason not to stop.
    if request == .reload { _ = ready(origin) }
    let (path, mistakes) = Loading.pidFile(from: origin)
    if let mistakes, path == nil { refuse(mistakes.text) }
    guard let path else {
        refuse("ballast: -s needs the key 'pid-file' in the configuration: where the process is found\n")
    }
    let signal =
        switch request {
        case .reload: Machine.hangUpSignal
        case .stop: Machine.terminateSignal
        case .quit: Machine.quitSignal
        case .reopen: Machine.firstUserSignal
        }
    do throws(PidFile.Failure) {
        let process = try PidFile.process(at: path)
        do throws(SystemError) { try Machine.send(signal, to: process) } catch {
            refuse("ballast: cannot signal process \(process): \(error.reason)\n", 1)
        }
    } catch {
        refuse("ballast: \(error)\n", 1)
    }
}

Machine.holdStandardDescriptors()
do throws(Command.Mistake) {
    switch try Command.parse(Array(CommandLine.arguments.dropFirst())) {
    case .help: File.write(Command.helpText, to: 1)
    case .version: File.write(Version.text, to: 1)
    case .test(let origin):
        for certificate in ready(origin).security.certificates {
            guard let text = certificate.warning(now: Machine.wallTime) else { continue }
            File.write("warning: \(text)\n", to: 2)
        }
        File.write("the configuration is valid\n", to: 1)
    case .dump(let origin): File.write(ready(origin).effective.dump, to: 1)
    case .signal(let request, let origin): ask(request, origin)
    case .run(let origin):
        // A reload that is asked for while the configuration is read must not be lost.
        let control = DispatchQueue(label: "ballast.control")
        let signals = Signals(queue: control)
        let daemon = Daemon(ready(origin, isStart: true), from: origin, signals, control: control)
        Machine.exit(daemon.run())
    }
} catch {
    refuse("ballast: \(error.text); see ballast --help\n")
}
