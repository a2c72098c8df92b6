// ballast: reads the command line and does what it says. Exit codes: 0 a clean stop or a valid file, 1 a failure at run
// time, 2 a bad command line or configuration.
import EventLoop

func refuse(_ text: String) -> Never {
    File.write(text, to: 2)
    Machine.exit(2)
}

Machine.holdStandardDescriptors()
do throws(Command.Mistake) {
    switch try Command.parse(Array(CommandLine.arguments.dropFirst())) {
    case .help:
        File.write(Command.helpText, to: 1)
    case .version:
        File.write(Version.text, to: 1)
    case .test(let origin):
        switch Loading.settings(from: origin) {
        case .loaded(let loaded):
            File.write(loaded.warnings, to: 2)
            if let text = Loading.outsideMistakes(loaded.settings) { refuse(text) }
            File.write("the configuration is valid\n", to: 1)
        case .refused(let text): refuse(text)
        }
    case .dump(let origin):
        switch Loading.settings(from: origin) {
        case .loaded(let loaded):
            File.write(loaded.warnings, to: 2)
            if let text = Loading.outsideMistakes(loaded.settings) { refuse(text) }
            File.write(loaded.dump, to: 1)
        case .refused(let text): refuse(text)
        }
    case .run(let origin):
        switch Loading.settings(from: origin) {
        case .loaded(let loaded):
            File.write(loaded.warnings, to: 2)
            Machine.exit(Daemon(loaded.settings).run())
        case .refused(let text): refuse(text)
        }
    }
} catch {
    refuse("ballast: \(error.text); see ballast --help\n")
}
