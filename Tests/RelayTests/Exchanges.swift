// What the tests of this folder share.
import Balancing
import HTTP
import Relay

func exchange(_ rule: RetryRule = RetryRule()) -> Exchange {
    Exchange(
        limits: TimeLimits(queue: .seconds(7), connect: .seconds(5), response: .seconds(60), idle: .seconds(10)),
        rule: rule)
}

/// An exchange whose request is sent to server 0.
func sent(
    _ method: Method, hasBody: Bool = false, isKept: Bool = false, isKeyed: Bool = false, keepsBody: Bool = false,
    rule: RetryRule = RetryRule()
) -> Exchange {
    var exchange = exchange(rule)
    _ = exchange.handle(.began(method, hasBody: hasBody, isKeyed: isKeyed), now: .zero)
    _ = exchange.handle(.chosen(server: 0), now: .zero)
    _ = exchange.handle(.connected(isKept: isKept), now: .zero)
    _ = exchange.handle(.sent(ofBody: hasBody, isKept: keepsBody), now: .zero)
    if hasBody { _ = exchange.handle(.requestEnded, now: .zero) }
    return exchange
}
