// What browsers may do with ballast's own answers: run and style what the page brings along, ask where it came from, and
// nothing else (Content Security Policy, level 3).
import EventLoop
import Metrics

enum PagePolicy {
    /// Made once.
    static let value: String = {
        let style = Digest(StatsPage.style.utf8).base64
        let script = Digest(StatsPage.script.utf8).base64
        return "default-src 'none'; style-src 'sha256-\(style)'; script-src 'sha256-\(script)'; connect-src 'self'; "
            + "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    }()
}
