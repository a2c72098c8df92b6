// Answers that ballast gives itself: few, short, and in the form that AI clients show their users.
import EventLoop
import HTTP
import Relay

enum Replies {
    /// What an answer needs besides its failure.
    struct Context {
        var date: HTTPDate
        var connection: Forwarding.Connection
        /// In how many seconds to come again, where the answer is 503 or 429.
        var retryAfter: Int?
        /// The request was HEAD: the answer has no body.
        var isHead = false
        var form = AnswerForm.text
        var requestID: [UInt8] = []
        /// Of an answer over TLS.
        var strictTransport: String?

        /// Takes from a request what its answer depends on: of a head that was refused, as far as it is known.
        mutating func fit(_ head: borrowing MessageHead, _ bytes: Span<UInt8>) {
            isHead = head.method == .head
            form = AnswerForm(for: head, bytes)
            guard let own = RequestID.own(head, bytes) else { return }
            requestID = own.indices.map { bytes[$0] }
        }
    }

    /// Methods that pass, for Allow.
    static let allowed: StaticString = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

    /// Bytes of an answer's head, at most.
    private static let largestHead = 1024

    /// Writes the whole answer to `output`, behind interim heads that may stand there.
    static func write(_ failure: Failure, _ bodies: AnswerBodies, _ context: Context, to output: Buffer) {
        let status = failure.status
        // Interim heads that the client has not read yet may stand before it.
        let room = max(0, output.freeCount - largestHead)
        let body = bodies.body(failure, context.form, requestID: context.requestID, room: room)
        var head = "HTTP/1.1 \(status) \(reason(status))\r\nContent-Type: \(context.form.contentType)\r\n"
        head += "Content-Length: \(body.count)\r\n"
        // What is told depends on the moment, and on Accept.
        head += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        if status == 503 || status == 429 { head += "Retry-After: \(context.retryAfter ?? 1)\r\n" }
        // RFC 9110, 15.5.6 requires it.
        if status == 405 { head += "Allow: \(allowed)\r\n" }
        write(head, context.isHead ? [] : body, context, to: output)
    }

    /// The answer of the last recipient of an OPTIONS request (RFC 9110, 7.6.2 and 9.3.7).
    static func writeOptions(_ context: Context, to output: Buffer) {
        write("HTTP/1.1 200 OK\r\nAllow: \(allowed)\r\nContent-Length: 0\r\n", [], context, to: output)
    }

    /// Sends the client elsewhere, with the same method and body (RFC 9110, 15.4.9).
    static func writeRedirect(to location: [UInt8], _ context: Context, to output: Buffer) {
        let head = "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\n"
        output.append { target in
            target.put(Array(head.utf8).span)
            target.put("Location: ")
            target.put(location.span)
            target.put("\r\n")
            writeEnd([], context, to: &target)
        }
    }

    private static func write(_ head: String, _ body: [UInt8], _ context: Context, to output: Buffer) {
        output.append { target in
            target.put(Array(head.utf8).span)
            writeEnd(body, context, to: &target)
        }
    }

    private static func writeEnd(_ body: [UInt8], _ context: Context, to target: inout OutputSpan<UInt8>) {
        HeadWriter.field(.date, context.date.bytes.span, to: &target)
        HeadWriter.field(.xRequestID, context.requestID.span, to: &target)
        if let value = context.strictTransport {
            target.put(Array("Strict-Transport-Security: \(value)\r\n".utf8).span)
        }
        Forwarding.connection(context.connection, to: &target)
        target.put("\r\n")
        target.put(body.span)
    }

    /// Reason phrases of RFC 9110, 15 for the statuses ballast makes.
    static func reason(_ status: Int) -> StaticString {
        switch status {
        case 200: "OK"
        case 303: "See Other"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 411: "Length Required"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        case _: "Error"
        }
    }
}
