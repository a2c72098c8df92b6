// Which limit of the configuration a failure reached: the one place that names it.
import HTTP
import Metrics
import Relay

extension LimitCounter {
    /// Nil for failures that are no limit's.
    init?(_ failure: Failure) {
        switch failure {
        case .connectTimeout: self = .timeoutConnect
        case .firstByteTimeout: self = .timeoutResponse
        case .idleTimeout: self = .timeoutIdle
        case .requestTimeout: self = .timeoutRequest
        case .tunnelTimeout: self = .timeoutTunnel
        case .headTimeout: self = .timeoutHead
        case .bodyTimeout, .writeTimeout: self = .timeoutClient
        case .bodyRate: self = .minimumSendRate
        case .readRate: self = .minimumReadRate
        case .tooLarge: self = .bodyLimit
        case .queueFull: self = .queue
        case .queueTimeout: self = .timeoutQueue
        case .badRequest(let error): self.init(error, isResponse: false)
        case .badResponse(let error): self.init(error, isResponse: true)
        // Which of the two limits of a client's address it was is counted where it is known.
        case .clientLimit, .connect, .upstreamTLS, .reset, .noServer, .noRoute, .shutdown: return nil
        }
    }

    private init?(_ error: ProtocolError, isResponse: Bool) {
        switch error {
        case .headTooLarge: self = isResponse ? .responseHeadLimit : .headLimit
        case .tooManyFields: self = isResponse ? .responseFieldsLimit : .fieldsLimit
        case .targetTooLong: self = .targetLimit
        case .tooManyEmptyLines: self = .emptyLinesLimit
        case .chunkLineTooLong: self = .chunkLineLimit
        case .chunkExtensionsTooLong: self = .chunkExtensionsLimit
        case .trailersTooLarge: self = .trailersLimit
        case .tooManyInterimResponses: self = .interimLimit
        case .bodyTooLarge: self = .bodyLimit
        case .malformedRequestLine, .malformedTarget, .misdirected, .ambiguousPath, .malformedVersion,
            .unsupportedVersion, .methodNotAllowed, .methodTooLong, .tunnelNotSupported, .malformedField, .foldedField,
            .missingHost, .malformedHost, .unknownExpectation, .malformedContentLength,
            .contentLengthWithTransferEncoding, .malformedTransferEncoding, .unknownTransferCoding,
            .transferEncodingInOldVersion, .malformedChunk, .malformedStatusLine, .unexpectedSwitch,
            .malformedProxyHeader, .unexpectedProxyHeader, .plainHTTP, .unexpectedTLS, .otherHost:
            return nil
        }
    }
}
