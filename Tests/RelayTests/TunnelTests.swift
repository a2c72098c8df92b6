import Balancing
import HTTP
import Relay
import Testing

@Suite struct TunnelTests {
    private static func offered() -> Exchange {
        var exchange = Exchange(
            limits: TimeLimits(
                connect: .seconds(5), response: .seconds(60), idle: .seconds(10), tunnel: .seconds(100),
                request: .seconds(90)))
        _ = exchange.handle(.began(.get, hasBody: false, isKeyed: false), now: .zero)
        _ = exchange.handle(.chosen(server: 0), now: .zero)
        _ = exchange.handle(.connected(isKept: false), now: .zero)
        _ = exchange.handle(.sent(ofBody: false, isKept: true), now: .zero)
        return exchange
    }

    @Test func aSwitchedConnectionHasItsOwnTimeLimit() {
        var exchange = Self.offered()
        #expect(exchange.deadline == .seconds(60))
        #expect(exchange.handle(.switched, now: .seconds(1)) == .tunnel)
        #expect(exchange.state == .tunnelling(server: 0))
        // Neither the response's nor the whole request's.
        #expect(exchange.deadline == .seconds(101))
        #expect(exchange.handle(.tunnelBytes, now: .seconds(50)) == .none)
        #expect(exchange.deadline == .seconds(150))
        #expect(exchange.handle(.expired(isHeldByClient: true), now: .seconds(150)) == .cut(.tunnelTimeout))
    }

    @Test func itEndsAsItEnds() {
        var whole = Self.offered()
        _ = whole.handle(.switched, now: .zero)
        #expect(whole.handle(.responseEnded, now: .zero) == .finish)
        var broken = Self.offered()
        _ = broken.handle(.switched, now: .zero)
        // It is never tried again: what passed cannot be taken back.
        #expect(broken.handle(.serverFailed(.reset), now: .zero) == .cut(.reset))
        var down = Self.offered()
        _ = down.handle(.switched, now: .zero)
        #expect(down.handle(.serverIsDown, now: .zero) == .none)
        var stopped = Self.offered()
        _ = stopped.handle(.switched, now: .zero)
        #expect(stopped.handle(.clientFailed(.shutdown), now: .zero) == .cut(.shutdown))
    }

    @Test func beforeTheSwitchItIsARequestLikeAnyOther() {
        var exchange = Self.offered()
        #expect(exchange.handle(.serverFailed(.reset), now: .zero) == .choose(isRetry: true))
        _ = exchange.handle(.chosen(server: 1), now: .zero)
        _ = exchange.handle(.connected(isKept: false), now: .zero)
        #expect(exchange.handle(.switched, now: .zero) == .tunnel)
        #expect(exchange.server == 1)
    }
}
