// Limits of each client address: what is admitted, what is forgotten.
import Addresses
import Testing

@Suite struct ConnectionGateTests {
    private func client(_ text: String) throws -> ConnectionGate.Client {
        ConnectionGate.Client(try #require(IPAddress(text)))
    }

    @Test func countsConnectionsOfEachAddress() throws {
        var gate = ConnectionGate()
        let limits = ConnectionGate.Limits(connections: 2)
        let (one, other) = (try client("10.0.0.1"), try client("10.0.0.2"))
        #expect((0..<3).map { _ in gate.admit(one, limits, now: .zero) } == [.admitted, .admitted, .tooMany])
        #expect(gate.admit(other, limits, now: .zero) == .admitted)
        gate.leave(one)
        #expect(gate.admit(one, limits, now: .zero) == .admitted)
        #expect(gate.admit(one, limits, now: .zero) == .tooMany)
    }

    @Test func sixtyFourBitsOfIPv6AreOneClient() throws {
        #expect(try client("2001:db8::1") == client("2001:db8::ffff:1"))
        #expect(try client("2001:db8::1") != client("2001:db8:0:1::1"))
        #expect(try client("10.0.0.1") != client("10.0.0.2"))
    }

    @Test func aRateFillsUpAgain() throws {
        var gate = ConnectionGate()
        let limits = ConnectionGate.Limits(rate: 4)
        let one = try client("10.0.0.1")
        let verdicts = (0..<6).map { _ in gate.admit(one, limits, now: .seconds(5)) }
        #expect(verdicts == [.admitted, .admitted, .admitted, .admitted, .tooFast, .tooFast])
        #expect(gate.admit(one, limits, now: .milliseconds(5200)) == .tooFast)
        #expect(gate.admit(one, limits, now: .milliseconds(5260)) == .admitted)
        // Never more than a second's worth.
        let later = (0..<5).map { _ in gate.admit(one, limits, now: .seconds(100)) }
        #expect(later == [.admitted, .admitted, .admitted, .admitted, .tooFast])
    }

    /// Strangers that come, are turned away and go leave nothing behind.
    @Test func whoHasGoneIsForgotten() throws {
        for limits in [
            ConnectionGate.Limits(connections: 1), ConnectionGate.Limits(rate: 1), .init(connections: 1, rate: 1),
        ] {
            var gate = ConnectionGate()
            for number in 0..<2000 {
                let one = ConnectionGate.Client(IPAddress(v4: UInt32(number)))
                let now = Duration.milliseconds(number)
                #expect(gate.admit(one, limits, now: now) == .admitted)
                #expect(gate.admit(one, limits, now: now) != .admitted)
                gate.leave(one)
            }
            // Two seconds of others' visits later, those of the first second are unknown.
            let visitor = ConnectionGate.Client(IPAddress(v4: 0xffff_ffff))
            for step in 0..<2000 where gate.admit(visitor, limits, now: .milliseconds(4000 + 1001 * step)) == .admitted
            {
                gate.leave(visitor)
            }
            #expect(gate.count <= 1, "\(gate.count) addresses are still known")
        }
    }

    /// One address that asks for ever on connections of its own is one address.
    @Test(arguments: [ConnectionGate.Limits(connections: 5), .init(rate: 1000)])
    func aSteadyVisitorTakesOnePlace(_ limits: ConnectionGate.Limits) throws {
        var gate = ConnectionGate()
        let one = try client("10.0.0.1")
        for step in 0..<20_000 {
            #expect(gate.admit(one, limits, now: .milliseconds(step * 3)) == .admitted)
            gate.leave(one)
        }
        #expect(gate.count == 1)
        #expect(gate.listCount < 2000)
    }
}
