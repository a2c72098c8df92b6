// One request and its response as a state machine: events in, one action out. Every transition is in this file; it
// never touches a socket, a buffer or a clock.
public import Balancing
public import HTTP

/// The contract between what happens on the wire and what ballast does about it.
///
/// The driver tells each event once, in the order of happening, with the time of its turn, and carries out the returned
/// action at once; what that leads to is told from within it. After an action that ends the exchange (`finish`, `reply`, `cut`, `abandon`)
/// no further event is told. `deadline` is looked at after each event: when it passes, `.expired` is told.
public struct Exchange: Sendable {
    public enum State: Equatable, Sendable {
        case idle
        case choosing
        /// In line for a server.
        case queued
        case connecting(server: Int)
        /// The request is on its way, or wholly sent; no final response head has come.
        case awaiting(server: Int)
        /// The final head is forwarded, the body follows.
        case responding(server: Int)
        /// Both sides have switched to another protocol; bytes pass in both directions.
        case tunnelling(server: Int)
        case ended(Disposition)
    }

    public enum Event: Sendable {
        /// A request head is complete and lawful.
        case began(Method, hasBody: Bool, isKeyed: Bool)
        case chosen(server: Int)
        /// No server: the one failure that says why.
        case noServer(Failure)
        case queued
        case connected(isKept: Bool)
        /// Bytes of the request were handed to the kernel.
        /// `isKept`: what was sent of the body so far can be sent again.
        case sent(ofBody: Bool, isKept: Bool)
        /// The last byte of the request was handed over.
        case requestEnded
        /// Bytes of a response arrived that are no whole head yet.
        case responseBegan
        /// `isContinue`: it is the 100 that a client has asked for.
        case interimHead(isContinue: Bool)
        case finalHead(status: Int)
        /// The server has switched to the protocol that it was offered.
        case switched
        case bodyBytes
        /// Bytes have passed through the tunnel, in either direction.
        case tunnelBytes
        /// The response is delivered; or both sides of a tunnel have ended.
        case responseEnded
        /// The attempt failed on the server's side.
        case serverFailed(Failure)
        /// So did one whose response had begun, and no byte of that is on its way to the client.
        case serverFailedUnseen(Failure)
        /// Checks say that the server at work is down.
        case serverIsDown
        /// The client broke the rules or a time limit of its own.
        case clientFailed(Failure)
        case clientLeft
        /// The deadline passed. `isHeldByClient`: the request waits for the client to send, or the response for it to
        /// read, so the server is not late.
        case expired(isHeldByClient: Bool)
    }

    public enum Action: Equatable, Sendable {
        case none
        /// Ask the backend for a server outside `exclusions`, and wait in line if need be.
        case choose(isRetry: Bool)
        /// Ask the backend for a server other than the one at work; give that up only if there is another: at once where a
        /// response is at hand, else in line as well.
        case chooseInstead
        /// Use a kept connection to the server, or make one.
        case open(server: Int)
        /// Make a new connection to the same server: the kept one was dead.
        case openFresh(server: Int)
        /// Write the request's head, then let its body follow.
        case send
        case forwardInterim
        case forwardHead
        /// Forward the head of the 101, then every byte of either side.
        case tunnel
        /// The response is delivered.
        case finish
        /// Answer the client; what there is of a server connection closes.
        case reply(Failure)
        /// Close both sides so that the client sees the response is not whole.
        case cut(Failure)
        /// The client has gone; close the server's side so that it stops working.
        case abandon
    }

    /// What waits for the answer to `chooseInstead`. The answer is told before `chooseInstead`'s own event is over, so no
    /// other event can come between.
    private enum Reconsidered { case nothing, response, attempt }

    public private(set) var state = State.idle
    /// When the step under way is over; nil while nothing is waited for that has a limit.
    private var stepEnd: Duration?
    /// When the whole request is.
    private var requestEnd: Duration?
    public private(set) var exclusions = Exclusions()
    public private(set) var attempts = 0

    private let limits: TimeLimits
    private let rule: RetryRule
    private var facts = AttemptFacts()
    private var retried = 0
    private var interimHeads = 0
    private let interimLimit: Int
    private var requestHasEnded = false
    private var hasBodyBytes = false
    private var reconsidered = Reconsidered.nothing

    /// - Parameter interimLimit: interim responses to the request, at most.
    public init(limits: TimeLimits, rule: RetryRule = RetryRule(), interimLimit: Int = 32) {
        self.limits = limits
        self.rule = rule
        self.interimLimit = interimLimit
    }

    /// When `.expired` is due; nil while nothing is waited for that has a limit.
    public var deadline: Duration? {
        guard let requestEnd else { return stepEnd }
        return min(stepEnd ?? requestEnd, requestEnd)
    }

    /// The server at work, if one is.
    public var server: Int? {
        switch state {
        case .connecting(let server), .awaiting(let server), .responding(let server), .tunnelling(let server): server
        case .idle, .choosing, .queued, .ended: nil
        }
    }

    /// Whether the request's body is worth keeping while it is sent.
    public var wantsBody: Bool { !facts.hasResponse && !facts.hasLostBody && rule.wantsBody(facts) }

    public var disposition: Disposition? {
        if case .ended(let disposition) = state { return disposition }
        return nil
    }

    /// Whether the whole request has been handed to the server.
    public var hasRequestEnded: Bool { requestHasEnded }

    public mutating func handle(_ event: Event, now: Duration) -> Action {
        switch event {
        case .began(let method, let hasBody, let isKeyed):
            facts.isIdempotent = method.isIdempotent
            facts.isKeyed = isKeyed
            requestHasEnded = !hasBody
            requestEnd = TimeLimits.deadline(limits.request, from: now)
            state = .choosing
            return .choose(isRetry: false)
        case .queued:
            giveUpReconsidered()
            state = .queued
            stepEnd = TimeLimits.deadline(limits.queue, from: now)
            return .none
        case .chosen(let server):
            return chosen(server, now: now)
        case .noServer(let failure):
            return foundNone(failure)
        case .connected(let isKept):
            guard case .connecting(let server) = state else { return .none }
            facts.isKept = isKept
            state = .awaiting(server: server)
            stepEnd = TimeLimits.deadline(limits.response, from: now)
            return .send
        case .sent(let ofBody, let isKept):
            facts.hasSent = true
            facts.hasLostBody = facts.hasLostBody || ofBody && !isKept
            if ofBody, case .awaiting = state { stepEnd = TimeLimits.deadline(limits.response, from: now) }
            return .none
        case .requestEnded:
            requestHasEnded = true
            if case .awaiting = state { stepEnd = TimeLimits.deadline(limits.response, from: now) }
            return .none
        case .responseBegan, .interimHead, .finalHead, .switched, .bodyBytes, .tunnelBytes, .responseEnded:
            return handleResponse(event, now: now)
        case .serverFailed(let failure):
            return attemptFailed(failure, now: now)
        case .serverFailedUnseen(let failure):
            return isResponding ? end(.replied(failure)) : attemptFailed(failure, now: now)
        case .serverIsDown:
            return serverIsDown()
        case .clientFailed(let failure):
            return isResponding ? end(.cut(failure)) : end(.replied(failure))
        case .clientLeft:
            return end(.clientLeft(phase))
        case .expired(let isHeldByClient):
            return expired(isHeldByClient: isHeldByClient, now: now)
        }
    }

    /// Why the last attempt failed, if one did.
    public private(set) var lastFailure: Failure?

    /// The attempt was on a kept connection that died before a byte of a response: it says nothing about the server.
    public var wasStale: Bool { facts.isKept && !facts.hasResponse && lastFailure == .reset }

    /// The request may run twice where it has to, and can be sent again from its beginning.
    public var isRepeatable: Bool { rule.isRepeatable(facts) }

    /// `chooseInstead` was asked because of the response whose head has come.
    public var isReconsideringResponse: Bool { reconsidered == .response }

    /// The client has got a part of its response.
    private var isResponding: Bool {
        switch state {
        case .responding, .tunnelling: true
        case .idle, .choosing, .queued, .connecting, .awaiting, .ended: false
        }
    }

    private var phase: Phase {
        switch state {
        case .queued: .queued
        case .idle, .choosing, .connecting: .connecting
        case .awaiting: requestHasEnded ? .waiting : .uploading
        case .responding, .tunnelling, .ended: .streaming
        }
    }

    private mutating func handleResponse(_ event: Event, now: Duration) -> Action {
        facts.hasResponse = true
        switch event {
        case .responseBegan:
            return .none
        case .interimHead(let isContinue):
            facts.hasForwarded = facts.hasForwarded || !isContinue
            interimHeads += 1
            guard interimHeads <= interimLimit else {
                return attemptFailed(.badResponse(.tooManyInterimResponses), now: now)
            }
            return .forwardInterim
        case .finalHead(let status):
            guard case .awaiting(let server) = state else { return .none }
            if rule.retries(after: status, facts, retried: retried, attempts: attempts) {
                reconsidered = .response
                return .chooseInstead
            }
            state = .responding(server: server)
            return .forwardHead
        case .switched:
            guard case .awaiting(let server) = state else { return .none }
            state = .tunnelling(server: server)
            requestHasEnded = true
            // What a whole request may take is no measure for what comes now.
            requestEnd = nil
            stepEnd = TimeLimits.deadline(limits.tunnel, from: now)
            return .tunnel
        case .tunnelBytes:
            stepEnd = TimeLimits.deadline(limits.tunnel, from: now)
            return .none
        case .bodyBytes:
            hasBodyBytes = true
            stepEnd = TimeLimits.deadline(limits.idle, from: now)
            return .none
        case .responseEnded:
            return end(.answered)
        case .began, .queued, .chosen, .noServer, .connected, .sent, .requestEnded, .serverFailed,
            .serverFailedUnseen, .serverIsDown, .clientFailed, .clientLeft, .expired:
            return .none
        }
    }

    private mutating func chosen(_ next: Int, now: Duration) -> Action {
        giveUpReconsidered()
        return open(next, fresh: false, now: now)
    }

    /// An attempt that was reconsidered is given up: there is another server, or a place in line for one.
    private mutating func giveUpReconsidered() {
        guard reconsidered != .nothing, let server else { return }
        reconsidered = .nothing
        exclusions.insert(server)
        retried += 1
        facts.hasResponse = false
    }

    private mutating func foundNone(_ failure: Failure) -> Action {
        switch (reconsidered, state) {
        case (.response, .awaiting(let server)):
            // No other server: the client gets what this one said.
            reconsidered = .nothing
            state = .responding(server: server)
            return .forwardHead
        case (.response, _), (.attempt, _):
            reconsidered = .nothing
            return .none
        case (.nothing, _):
            // After failures the client learns of the last one; `failure` is for requests that found none at all.
            return end(.replied(lastFailure ?? failure))
        }
    }

    private mutating func open(_ server: Int, fresh: Bool, now: Duration) -> Action {
        attempts += 1
        facts.hasSent = false
        facts.isKept = false
        state = .connecting(server: server)
        stepEnd = TimeLimits.deadline(limits.connect, from: now)
        return fresh ? .openFresh(server: server) : .open(server: server)
    }

    private mutating func attemptFailed(_ failure: Failure, now: Duration) -> Action {
        guard let server else { return .none }
        if isResponding { return end(.cut(failure)) }
        lastFailure = failure
        switch rule.decide(failure, facts, retried: retried, attempts: attempts) {
        case .freshConnection:
            return open(server, fresh: true, now: now)
        case .anotherServer(let isRetry):
            exclusions.insert(server)
            if isRetry { retried += 1 }
            state = .choosing
            stepEnd = nil
            return .choose(isRetry: isRetry)
        case .giveUp:
            return end(.replied(failure))
        }
    }

    /// What may be replayed is tried elsewhere, if there is an elsewhere; the rest keeps its own time limits.
    private mutating func serverIsDown() -> Action {
        switch state {
        case .connecting, .awaiting:
            var facts = facts
            facts.isKept = false
            let decision = rule.decide(.reset, facts, retried: retried, attempts: attempts)
            guard case .anotherServer = decision else { return .none }
            reconsidered = .attempt
            return .chooseInstead
        case .idle, .choosing, .queued, .responding, .tunnelling, .ended:
            return .none
        }
    }

    private mutating func expired(isHeldByClient: Bool, now: Duration) -> Action {
        if let requestEnd, requestEnd <= now {
            return isResponding ? end(.cut(.requestTimeout)) : end(.replied(.requestTimeout))
        }
        switch state {
        case .connecting:
            return attemptFailed(.connectTimeout, now: now)
        case .awaiting:
            // While the client has not sent, its own time limit watches it; a server that does not read is late.
            guard requestHasEnded || !isHeldByClient else {
                stepEnd = TimeLimits.deadline(limits.response, from: now)
                return .none
            }
            return attemptFailed(.firstByteTimeout, now: now)
        case .responding:
            guard !isHeldByClient else {
                stepEnd = TimeLimits.deadline(limits.idle, from: now)
                return .none
            }
            return end(.cut(hasBodyBytes ? .idleTimeout : .firstByteTimeout))
        case .tunnelling:
            return end(.cut(.tunnelTimeout))
        case .queued:
            return end(.replied(.queueTimeout))
        case .idle, .choosing, .ended:
            return .none
        }
    }

    private mutating func end(_ disposition: Disposition) -> Action {
        state = .ended(disposition)
        stepEnd = nil
        requestEnd = nil
        return switch disposition {
        case .answered: .finish
        case .replied(let failure): .reply(failure)
        case .cut(let failure): .cut(failure)
        case .clientLeft: .abandon
        }
    }
}
