// In which form a client wants to be told of a failure. It reads fields only, and a head that was refused half-way will do.
import HTTP

/// A form of ballast's own answers.
public enum AnswerForm: String, CaseIterable, Sendable {
    case json, html, text

    var contentType: StaticString {
        switch self {
        case .json: "application/json"
        case .html: "text/html; charset=utf-8"
        case .text: "text/plain; charset=utf-8"
        }
    }

    /// What files of this form are called.
    public var suffix: String { self == .text ? "txt" : rawValue }

    /// The form that the Accept fields like best (RFC 9110, 12.5.1). Where two are liked the same, and where there is no
    /// Accept, a request that brings JSON gets JSON, the rest gets text.
    init(for head: borrowing MessageHead, _ bytes: Span<UInt8>) {
        var likings = Likings()
        var bringsJSON = false
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            if ByteScan.equal(bytes, field.name, ignoringCaseOf: "Accept") {
                likings.note(bytes, field.value)
            } else if ByteScan.equal(bytes, field.name, ignoringCaseOf: "Content-Type") {
                let type = Quality.word(bytes, field.value)
                bringsJSON = ByteScan.equal(bytes, type, ignoringCaseOf: "application/json")
            }
        }
        let order: [AnswerForm] = bringsJSON ? [.json, .text, .html] : [.text, .json, .html]
        self = order[0]
        var best = likings.of(order[0])
        for form in order.dropFirst() where likings.of(form) > best {
            best = likings.of(form)
            self = form
        }
    }
}

/// How much each form is liked, in thousandths; the more special range counts.
private struct Likings {
    private var json: Int?
    private var html: Int?
    private var text: Int?
    private var anyText: Int?
    private var anyApplication: Int?
    private var any: Int?
    private var isAsked = false

    func of(_ form: AnswerForm) -> Int {
        guard isAsked else { return 1000 }
        switch form {
        case .json: return json ?? anyApplication ?? any ?? 0
        case .html: return html ?? anyText ?? any ?? 0
        case .text: return text ?? anyText ?? any ?? 0
        }
    }

    mutating func note(_ bytes: Span<UInt8>, _ value: ByteRange) {
        isAsked = true
        ByteScan.forEachElement(bytes, value) { noteRange(bytes, $0) }
    }

    private mutating func noteRange(_ bytes: Span<UInt8>, _ element: ByteRange) {
        guard !element.isEmpty else { return }
        let type = Quality.word(bytes, element)
        let quality = Quality.of(element, after: type, bytes)
        func isType(_ name: StaticString) -> Bool { ByteScan.equal(bytes, type, ignoringCaseOf: name) }
        // Who reads an event stream reads the errors of the same service.
        if isType("application/json") || isType("text/event-stream") {
            json = max(json ?? 0, quality)
        } else if isType("text/html") {
            html = quality
        } else if isType("text/plain") {
            text = quality
        } else if isType("text/*") {
            anyText = quality
        } else if isType("application/*") {
            anyApplication = quality
        } else if isType("*/*") {
            any = quality
        }
    }
}
