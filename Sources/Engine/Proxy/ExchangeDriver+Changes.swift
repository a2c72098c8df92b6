// What one request's heads get besides what all get: who its client is, which protocol it may switch to, and what the
// configuration says of its fields. Most requests need none of it.
import Configuration
import EventLoop
import HTTP
import Relay

extension ExchangeDriver {
    /// Whether anything is special about the request whose head was taken.
    func needsChanges(_ client: ClientConnection) -> Bool {
        client.identity.isTrusted || plan.changesRequests || requestHead.connection.contains(.upgrade)
            || client.certificate != nil
    }

    /// Of a tunnel too: only a request that was offered a protocol, which is a change, becomes one.
    func forgetChanges() {
        changes = nil
        forwardedClient = nil
        isTunnel = false
        hasFinishedRequest = false
        hasFinishedResponse = false
    }

    func prepareChanges(_ client: ClientConnection) {
        let changes = Forwarding.RequestChanges()
        self.changes = changes
        guard let bytes = requestBytes else { return }
        let isTrusted = client.identity.isTrusted && requestHead.present.contains(.xForwardedFor)
        bytes.withBytes { bytes in
            if isTrusted,
                let ip = ClientIdentity.forwarded(requestHead, bytes, trusted: plan.traffic.trustedProxies)
            {
                forwardedClient = ClientIdentity(ip, isTrusted: false)
            }
            changes.prefix = prefixCount(bytes)
            changes.upgrade = offeredProtocol(bytes)
        }
        changes.client = forwardedClient?.address
        changes.edits = plan.requestEdits
        if let certificate = client.certificate { changes.certificate = certificate.lines }
    }

    /// Who asks.
    var effectiveClient: ClientIdentity? { forwardedClient ?? client?.identity }

    /// What values of fields speak of.
    func fieldValues(for edits: FieldEdits) -> FieldValues {
        guard edits.needsValues else { return FieldValues() }
        let isSecure = requestHead.hasSecureScheme || client?.identity.isSecure == true || saysHTTPS
        return FieldValues(
            client: effectiveClient?.address ?? [], requestID: requestIDBytes,
            server: Array((slotServer?.shared.name ?? "").utf8),
            scheme: isSecure ? "https" : "http", host: requestText(requestHead.effectiveHost))
    }

    /// A trusted peer says that its client came over TLS.
    private var saysHTTPS: Bool {
        guard client?.identity.isTrusted == true, requestHead.present.contains(.xForwardedProto) else { return false }
        for index in 0..<requestHead.fieldCount where requestHead.field(index).known == .xForwardedProto {
            return requestText(requestHead.field(index).value).map(ByteScan.lowercased).elementsEqual("https".utf8)
        }
        return false
    }

    /// A copy of a part of the request's head.
    private func requestText(_ range: ByteRange) -> [UInt8] {
        var copy: [UInt8] = []
        requestBytes?.withBytes { bytes in for index in range.indices { copy.append(bytes[index]) } }
        return copy
    }

    /// Bytes of the prefix that the target loses: the longest that fits, ending at a slash or at the path's end.
    private func prefixCount(_ bytes: Span<UInt8>) -> Int {
        let target = requestHead.target
        for prefix in plan.stripPrefixes where target.count >= prefix.count {
            var isEqual = true
            for index in prefix.indices where bytes[target.start + index] != prefix[index] { isEqual = false }
            guard isEqual else { continue }
            guard target.count > prefix.count else { return prefix.count }
            let next = target.start + prefix.count
            // Two slashes at the beginning are a host's name to who makes a link of them (RFC 3986, 4.2).
            let isDouble = next + 1 < target.end && bytes[next + 1] == UInt8(ascii: "/")
            if bytes[next] == UInt8(ascii: "?") || bytes[next] == UInt8(ascii: "/") && !isDouble { return prefix.count }
        }
        return 0
    }

    // MARK: Switching protocols

    /// The first protocol that the client offers and the configuration allows. A request with a body has to be read before
    /// anything else can be spoken, and HTTP/1.0 knows no Upgrade (RFC 9110, 7.8).
    private func offeredProtocol(_ bytes: Span<UInt8>) -> ByteRange {
        guard requestHead.connection.contains(.upgrade), requestHead.version == .http11,
            BodyFraming(request: requestHead) == .none
        else { return .empty }
        var found = ByteRange.empty
        for index in 0..<requestHead.fieldCount where requestHead.field(index).known == .upgrade {
            ByteScan.forEachElement(bytes, requestHead.field(index).value) { element in
                if found.isEmpty, plan.upgrades.contains(bytes, element) { found = element }
            }
        }
        return found
    }

    /// The server's 101 names the one protocol that it was offered, and no other.
    func hasSwitchedAsOffered(_ response: Span<UInt8>) -> Bool {
        guard let changes, !changes.upgrade.isEmpty, responseHead.connection.contains(.upgrade) else { return false }
        let offered = requestText(changes.upgrade)
        var named = 0
        var isOffered = true
        for index in 0..<responseHead.fieldCount where responseHead.field(index).known == .upgrade {
            let value = responseHead.field(index).value
            named += 1
            isOffered = isOffered && value.count == offered.count
            for place in value.indices where isOffered {
                let byte = ByteScan.lowercased(offered[place - value.start])
                isOffered = ByteScan.lowercased(response[place]) == byte
            }
        }
        return named == 1 && isOffered
    }
}
