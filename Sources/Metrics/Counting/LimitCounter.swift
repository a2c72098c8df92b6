// The limits of the configuration, each with its key: how often each was reached. It limits nothing itself.

/// A limit that a client, a server or a request has reached.
public enum LimitCounter: Int, CounterKey {
    case maxConnections, listenerMaxConnections, maxConnectionsPerClient, connectionRatePerClient, requestsPerConnection
    case headLimit, targetLimit, fieldsLimit, emptyLinesLimit, chunkLineLimit, chunkExtensionsLimit, trailersLimit
    case bodyLimit, interimLimit, responseHeadLimit, responseFieldsLimit
    case minimumSendRate, minimumReadRate, queue
    case timeoutHead, timeoutKeepalive, timeoutClient, timeoutQueue, timeoutConnect, timeoutResponse, timeoutIdle
    case timeoutRequest, timeoutTunnel
    case compressMemory

    /// The key that sets it; of a listener's own limit, with the key before it.
    public var key: String {
        switch self {
        case .maxConnections: "max-connections"
        case .listenerMaxConnections: "listen max-connections"
        case .maxConnectionsPerClient: "max-connections-per-client"
        case .connectionRatePerClient: "connection-rate-per-client"
        case .requestsPerConnection: "requests-per-connection"
        case .headLimit: "head-limit"
        case .targetLimit: "target-limit"
        case .fieldsLimit: "fields-limit"
        case .emptyLinesLimit: "empty-lines-limit"
        case .chunkLineLimit: "chunk-line-limit"
        case .chunkExtensionsLimit: "chunk-extensions-limit"
        case .trailersLimit: "trailers-limit"
        case .bodyLimit: "body-limit"
        case .interimLimit: "interim-limit"
        case .responseHeadLimit: "response-head-limit"
        case .responseFieldsLimit: "response-fields-limit"
        case .minimumSendRate: "minimum-send-rate"
        case .minimumReadRate: "minimum-read-rate"
        case .queue: "queue"
        case .timeoutHead: "timeout-head"
        case .timeoutKeepalive: "timeout-keepalive"
        case .timeoutClient: "timeout-client"
        case .timeoutQueue: "timeout-queue"
        case .timeoutConnect: "timeout-connect"
        case .timeoutResponse: "timeout-response"
        case .timeoutIdle: "timeout-idle"
        case .timeoutRequest: "timeout-request"
        case .timeoutTunnel: "timeout-tunnel"
        case .compressMemory: "compress-memory"
        }
    }
}
