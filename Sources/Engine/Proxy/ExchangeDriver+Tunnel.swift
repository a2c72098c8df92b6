// A tunnel: after a true 101, bytes of either side pass to the other as they come, and so do their ends. It reads none of
// them.
import Configuration
import EventLoop
import HTTP
import Metrics
import Relay

extension ExchangeDriver {
    /// Sends the 101 and passes everything from here on, beginning with what either side has sent already.
    func startTunnel() {
        guard let server, let client else { return }
        leavingFraming = .untilClose
        keepsClient = false
        isTunnel = true
        metrics.counters.add(.tunnelsOpened)
        writeResponseHead(framing: .none, connection: .upgrade)
        server.wire.consume(responseHead.byteCount, worker.loop)
        requestPump.release()
        requestPump = BodyPump(.untilClose, leaving: .untilClose)
        responsePump = BodyPump(.untilClose, leaving: .untilClose)
        times.headArrived = true
        client.setAlarm(nil)
        passTunnel()
    }

    /// Passes what has come, in both directions.
    func passTunnel() {
        guard let client, let server, case .tunnelling = machine.state else { return }
        let before = (requestPump.received, responsePump.received)
        if !isRequestBroken { requestFlow = requestPump.move(from: &client.wire, to: &server.wire, worker.loop) }
        responseFlow = responsePump.move(from: &server.wire, to: &client.wire, worker.loop)
        if requestFlow == .sinkFailed, responsePump.isSourceDone {
            // The server has said its last and left: nobody hears the client any more, which still gets all of it.
            isRequestBroken = true
            requestFlow = .done
        }
        // Nothing is read of a client while its server takes nothing: that it has gone is told once.
        if client.wire.stream.hasFailed { requestFlow = .sourceFailed }
        if responsePump.received > before.1 { server.server.metrics.lastByte = worker.now }
        if (requestPump.received, responsePump.received) != before { tell(.tunnelBytes) }
        switch (requestFlow, responseFlow) {
        case (.done, .done):
            tell(.responseEnded)
        case (.sourceFailed, _), (_, .sinkFailed):
            // A client that goes without a word ends its tunnel as well as one that says so; the server is told how.
            server.close(worker, resetting: true)
            self.server = nil
            tell(.responseEnded)
        case (.sinkFailed, _), (_, .sourceFailed):
            serverFailed(.reset)
        case _:
            goOnTunnelling(client, server)
        }
    }

    private func goOnTunnelling(_ client: ClientConnection, _ server: ServerConnection) {
        if requestFlow == .again { worker.runLater(client.token) }
        if responseFlow == .again { worker.runLater(server.token) }
        // Who has finished sending may still read (RFC 9293, 3.6).
        if requestFlow == .done, !hasFinishedRequest, !isRequestBroken {
            hasFinishedRequest = server.wire.stream.finishSending(on: worker.network)
        }
        if responseFlow == .done, !hasFinishedResponse {
            hasFinishedResponse = client.wire.stream.finishSending(on: worker.network)
        }
    }

    /// Both sides have said their last.
    func finishTunnel() {
        closeServer()
        end(.answered, status: responseHead.status, plan.settings.ejectOn.result(status: responseHead.status))
        client?.close()
    }
}
