// What an operator sets by hand: it takes effect in every policy, cuts nothing, and lasts as long as the server is known.
import Addresses
import Testing

@testable import Balancing

@Suite struct ManualTests {
    private static let policies = PolicyCatalog.rows.map(\.name)

    /// Requests that each server gets of so many, given back at once.
    private func shares(_ backend: Backend, of count: Int = 4000) -> [Int] {
        var shares = [0, 0, 0]
        for index in 0..<count {
            let random = UInt64(index) &* 0x9e37_79b9_7f4a_7c15
            guard let server = backend.take(affinity: FixedHash.mixed(UInt64(index)), random: random) else { continue }
            shares[ServerNumber.place(server)] += 1
            backend.give(server)
        }
        return shares
    }

    @Test(arguments: policies) func aDrainedServerGetsNothingNewAndKeepsWhatItHas(policy: String) {
        let backend = backend(policy, servers(3))
        let held = (0..<30).compactMap { backend.take(affinity: FixedHash.mixed(UInt64($0)), random: UInt64($0)) }
        #expect(held.contains(1))
        #expect(backend.act(.drain, on: 1, now: .zero)?.changes == [StateChange(server: 1, state: .draining)])
        let before = backend.inflight[1]
        #expect(before > 0)
        let after = shares(backend)
        #expect(after[1] == 0 && after[0] > 0 && after[2] > 0)
        #expect(backend.inflight[1] == before)
        #expect(backend.act(.resume, on: 1, now: .zero)?.changes == [StateChange(server: 1, state: .up)])
        #expect(backend.report.servers[1].manual == ManualSetting())
        for server in held { backend.give(server) }
        #expect(shares(backend)[1] > 0)
    }

    @Test func aWeightByHandIsAWeight() {
        for policy in Self.policies where policy != "ip-hash" && policy != "least-connections" {
            let backend = backend(policy, servers(3))
            _ = backend.act(.weight(8), on: 2, now: .zero)
            #expect(shares(backend)[2] > 2000, "\(policy)")
            _ = backend.act(.weight(nil), on: 2, now: .zero)
            #expect(shares(backend)[2] < 2000, "\(policy)")
        }
        // With ip-hash it can only lower a share.
        let hashed = backend("ip-hash", servers(3, weights: [8, 8, 8]))
        let before = shares(hashed)[2]
        _ = hashed.act(.weight(1), on: 2, now: .zero)
        #expect(shares(hashed)[2] < before / 3)
    }

    @Test func itLastsOverAnotherConfiguration() {
        let backend = backend("least-connections", servers(3))
        _ = backend.act(.drain, on: 0, now: .zero)
        _ = backend.act(.weight(7), on: 1, now: .zero)
        backend.become(servers(3, weights: [2, 2, 2]), "round-robin", now: .seconds(5))
        #expect(backend.states == [.draining, .up, .up])
        #expect(backend.report.servers.map(\.server.weight) == [0, 7, 2])
        #expect(backend.report.servers.map(\.weight) == [2, 7, 2])
        // Resumed, it has the weight of the configuration that is in effect now.
        _ = backend.act(.resume, on: 0, now: .zero)
        #expect(backend.report.servers[0].server.weight == 2)
        // Out of the configuration and back, it is another server.
        _ = backend.act(.drain, on: 0, now: .zero)
        backend.become(Array(servers(3).dropFirst()))
        backend.become(servers(3))
        #expect(backend.states == [.up, .up, .up])
    }

    @Test func aWeightOfZeroIsResumedToo() {
        let backend = backend("least-connections", servers(2))
        _ = backend.act(.weight(0), on: 0, now: .zero)
        #expect(backend.states == [.draining, .up] && backend.report.servers[0].manual.isOut)
        _ = backend.act(.resume, on: 0, now: .zero)
        #expect(backend.states == [.up, .up])
        // Any other weight by hand stays.
        _ = backend.act(.weight(5), on: 0, now: .zero)
        _ = backend.act(.resume, on: 0, now: .zero)
        #expect(backend.report.servers[0].weight == 5)
    }

    @Test func disabledOnesComeBackUnknown() {
        let checked = BackendRules(health: HealthRule(isChecked: true))
        var configured = servers(2)
        configured[1].isDisabled = true
        let backend = backend("least-connections", configured, rules: checked)
        backend.check(0, .passed)
        #expect(backend.states == [.up, .disabled] && backend.isDisabled(1) && backend.isReady)
        // One that the configuration disables can be had, and stays over the next configuration.
        _ = backend.act(.resume, on: 1, now: .zero)
        #expect(backend.states == [.up, .starting] && !backend.isDisabled(1))
        backend.check(1, .passed)
        backend.become(configured, rules: checked)
        #expect(backend.states == [.up, .up])
        _ = backend.act(.disable, on: 0, now: .seconds(3))
        #expect(backend.states == [.disabled, .up] && backend.report.servers[0].since == .seconds(3))
        _ = backend.act(.resume, on: 0, now: .zero)
        #expect(backend.states == [.starting, .up])
        #expect(backend.act(.drain, on: 99, now: .zero) == nil && backend.isDisabled(99))
    }

    @Test func whoWaitsIsServedByWhoComesBack() {
        let backend = backend("least-connections", servers(1, maxconn: 1))
        _ = backend.act(.drain, on: 0, now: .zero)
        #expect(backend.choose(Pick(), waiter: nil, isRetry: false, now: .zero) == .noServer)
        _ = backend.act(.resume, on: 0, now: .zero)
        #expect(backend.take() == 0)
        let waiter = WaiterID(worker: 0, slot: 4)
        guard case .queued = backend.choose(Pick(), waiter: waiter, isRetry: false, now: .zero) else {
            Issue.record("it does not wait")
            return
        }
        // It keeps its place while nobody can serve.
        #expect(backend.act(.disable, on: 0, now: .zero)?.canServe == false)
        #expect(backend.give(0).grants.isEmpty)
        #expect(backend.act(.resume, on: 0, now: .zero)?.grants.map(\.waiter) == [waiter])
    }
}
