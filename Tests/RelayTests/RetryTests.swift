// The retry rule and the line, as stories of an exchange.
import Balancing
import HTTP
import Relay
import Testing

private func statuses(_ list: Int...) -> Causes {
    var causes = Causes(connect: true, reset: true)
    for status in list { causes.statuses.insert(status...status) }
    return causes
}

@Suite struct RetryTests {
    /// Who may run twice, by method, key and setting; with its body kept.
    @Test(arguments: [
        (Method.put, false, Replay.idempotent, true), (.post, false, .idempotent, false),
        (.post, true, .idempotent, false), (.post, true, .keyed, true), (.post, false, .keyed, false),
        (.put, false, .keyed, true), (.post, false, .always, true),
    ]) func replay(_ method: Method, _ isKeyed: Bool, _ replay: Replay, _ isRepeated: Bool) {
        let rule = RetryRule(replay: replay)
        var kept = sent(method, hasBody: true, isKeyed: isKeyed, keepsBody: true, rule: rule)
        let action = kept.handle(.serverFailed(.reset), now: .zero)
        #expect(action == (isRepeated ? .choose(isRetry: true) : .reply(.reset)))
        // Without its body, nothing can be sent again.
        var lost = sent(method, hasBody: true, isKeyed: isKeyed, keepsBody: false, rule: rule)
        #expect(lost.handle(.serverFailed(.reset), now: .zero) == .reply(.reset))
    }

    @Test func zeroRetriesTryOneServer() {
        var exchange = exchange(RetryRule(retries: 0))
        _ = exchange.handle(.began(.get, hasBody: false, isKeyed: false), now: .zero)
        _ = exchange.handle(.chosen(server: 0), now: .zero)
        #expect(exchange.handle(.serverFailed(.connect), now: .zero) == .reply(.connect))
    }

    @Test func onlyWhatIsListedIsRetried() {
        var timedOut = sent(.get, rule: RetryRule())
        #expect(timedOut.handle(.serverFailed(.firstByteTimeout), now: .zero) == .reply(.firstByteTimeout))
        var listed = sent(.get, rule: RetryRule(causes: Causes(timeout: true)))
        #expect(listed.handle(.serverFailed(.firstByteTimeout), now: .zero) == .choose(isRetry: true))
        var reset = sent(.get, rule: RetryRule(causes: Causes(timeout: true)))
        #expect(reset.handle(.serverFailed(.reset), now: .zero) == .reply(.reset))
    }

    /// 429 and 503 say that nothing was run: any method goes elsewhere, if there is an elsewhere.
    @Test func refusalsGoElsewhere() {
        for status in [429, 503] {
            var post = sent(.post, hasBody: true, keepsBody: true, rule: RetryRule(causes: statuses(429, 503, 500)))
            #expect(post.handle(.finalHead(status: status), now: .zero) == .chooseInstead)
            #expect(post.handle(.chosen(server: 1), now: .zero) == .open(server: 1))
            #expect(post.exclusions.contains(0))
            _ = post.handle(.connected(isKept: false), now: .zero)
            // The one retry is used up: the client gets what the second says.
            #expect(post.handle(.finalHead(status: status), now: .zero) == .forwardHead)
        }
        // What a client has been told of this response cannot be taken back.
        var hinted = sent(.get, rule: RetryRule(causes: statuses(503)))
        _ = hinted.handle(.interimHead(isContinue: false), now: .zero)
        #expect(hinted.handle(.finalHead(status: 503), now: .zero) == .forwardHead)
        var alone = sent(.post, rule: RetryRule(causes: statuses(503)))
        #expect(alone.handle(.finalHead(status: 503), now: .zero) == .chooseInstead)
        #expect(alone.handle(.noServer(.noServer), now: .zero) == .forwardHead)
        #expect(alone.handle(.responseEnded, now: .zero) == .finish)
    }

    @Test func otherStatusesAreRepeatedOnlyIfTheRequestMayRunTwice() {
        let rule = RetryRule(causes: statuses(500))
        var get = sent(.get, rule: rule)
        #expect(get.handle(.finalHead(status: 500), now: .zero) == .chooseInstead)
        var post = sent(.post, hasBody: true, keepsBody: true, rule: rule)
        #expect(post.handle(.finalHead(status: 500), now: .zero) == .forwardHead)
        var other = sent(.get, rule: rule)
        #expect(other.handle(.finalHead(status: 502), now: .zero) == .forwardHead)
    }

    /// A server that checks call down: what may be replayed moves, if another server is there; the rest stays.
    @Test func aServerThatIsDownIsLeftOnlyForAnother() {
        var get = sent(.get, rule: RetryRule())
        #expect(get.handle(.serverIsDown, now: .zero) == .chooseInstead)
        #expect(get.handle(.noServer(.noServer), now: .zero) == .none)
        #expect(get.state == .awaiting(server: 0))
        #expect(get.deadline == .seconds(60))
        #expect(get.handle(.serverIsDown, now: .zero) == .chooseInstead)
        #expect(get.handle(.chosen(server: 2), now: .zero) == .open(server: 2))
        // Where others are full, it waits for one of them.
        var waiting = sent(.get, rule: RetryRule())
        _ = waiting.handle(.serverIsDown, now: .zero)
        #expect(waiting.handle(.queued, now: .zero) == .none)
        #expect(waiting.state == .queued && waiting.exclusions.contains(0) && waiting.deadline == .seconds(7))
        #expect(waiting.handle(.chosen(server: 1), now: .zero) == .open(server: 1))
        var post = sent(.post, rule: RetryRule())
        #expect(post.handle(.serverIsDown, now: .zero) == .none)
        var streaming = sent(.get, rule: RetryRule())
        _ = streaming.handle(.finalHead(status: 200), now: .zero)
        #expect(streaming.handle(.serverIsDown, now: .zero) == .none)
    }

    @Test func aPlaceInLineHasItsOwnTimeLimit() {
        var waiting = exchange(RetryRule())
        _ = waiting.handle(.began(.post, hasBody: true, isKeyed: false), now: .zero)
        #expect(waiting.handle(.queued, now: .seconds(1)) == .none)
        #expect(waiting.deadline == .seconds(8))
        var served = waiting
        #expect(served.handle(.chosen(server: 1), now: .seconds(2)) == .open(server: 1))
        #expect(served.deadline == .seconds(7))
        var left = waiting
        #expect(left.handle(.clientLeft, now: .seconds(2)) == .abandon)
        #expect(left.disposition == .clientLeft(.queued))
        #expect(waiting.handle(.expired(isHeldByClient: false), now: .seconds(8)) == .reply(.queueTimeout))
        #expect(Failure.queueTimeout.status == 503)
    }

    @Test func whatSaysSomethingAboutAServer() {
        let causes = Causes(connect: true, reset: true, timeout: true, statuses: StatusSet(500...599))
        #expect(causes.result(.reset) == .bad)
        #expect(causes.result(.firstByteTimeout) == .bad)
        #expect(causes.result(.bodyTimeout) == .neutral)
        #expect(causes.result(status: 500) == .bad)
        #expect(causes.result(status: 503) == .neutral)
        #expect(causes.result(status: 429) == .neutral)
        #expect(causes.result(status: 404) == .good)
    }

    /// The body is kept only where a replay is possible.
    @Test func bodiesAreKeptOnlyWhereTheyMayBeOfUse() {
        for (method, replay, causes, isWanted) in [
            (Method.post, Replay.idempotent, statuses(), false), (.put, .idempotent, statuses(), true),
            (.post, .always, statuses(), true), (.post, .idempotent, statuses(503), true),
            (.post, .idempotent, statuses(500), false),
        ] {
            var exchange = exchange(RetryRule(causes: causes, replay: replay))
            _ = exchange.handle(.began(method, hasBody: true, isKeyed: false), now: .zero)
            #expect(exchange.wantsBody == isWanted)
        }
    }
}
