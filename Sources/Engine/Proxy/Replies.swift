// Answers that ballast gives itself: few, short, and in the form that AI clients show their users.
import EventLoop
import HTTP
import Relay

enum Replies {
    /// What an answer needs besides its failure.
    struct Context {
        /// Empty where the request has none: its head never was.
        var requestID: [UInt8]
        var date: HTTPDate
        var connection: Forwarding.Connection
        /// The request was HEAD: the answer has no body.
        var isHead: Bool
        /// In how many seconds to come again, where the answer is 503.
        var retryAfter: Int?
    }

    /// Writes the whole answer to `output`, behind interim heads that may stand there.
    static func write(_ failure: Failure, _ context: Context, to output: Buffer) {
        let status = failure.status
        let body =
            "{\"error\":{\"message\":\"\(failure.explanation)\",\"type\":\"\(failure.word)\",\"code\":\(status)}}\n"
        var head = "HTTP/1.1 \(status) \(reason(status))\r\nContent-Type: application/json\r\n"
        head += "Content-Length: \(body.utf8.count)\r\n"
        if status == 503 { head += "Retry-After: \(context.retryAfter ?? 1)\r\n" }
        // RFC 9110, 15.5.6 requires it.
        if status == 405 { head += "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" }
        output.append { target in
            target.put(Array(head.utf8).span)
            HeadWriter.field(.date, context.date.bytes.span, to: &target)
            if !context.requestID.isEmpty { HeadWriter.field(.xRequestID, context.requestID.span, to: &target) }
            Forwarding.connection(context.connection, to: &target)
            target.put("\r\n")
            if !context.isHead { target.put(Array(body.utf8).span) }
        }
    }

    /// Reason phrases of RFC 9110, 15 for the statuses ballast makes.
    static func reason(_ status: Int) -> StaticString {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
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
