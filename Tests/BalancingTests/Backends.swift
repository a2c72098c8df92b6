// What the tests of this folder share.
import Addresses
import Balancing

func servers(_ count: Int, weights: [Int] = [], maxconn: Int = 0) -> [Server] {
    (0..<count).map { index in
        Server(
            name: "s\(index)", endpoint: Endpoint(.loopback, port: UInt16(8000 + index)),
            weight: weights.indices.contains(index) ? weights[index] : 1, maxconn: maxconn)
    }
}

func backend(_ policy: String, _ servers: [Server], rules: BackendRules? = nil) -> Backend {
    let backend = Backend(name: "test")
    backend.become(servers, policy, rules: rules)
    return backend
}

extension Backend {
    /// Changes its configuration.
    @discardableResult
    func become(
        _ servers: [Server], _ policy: String = "least-connections", rules: BackendRules? = nil, now: Duration = .zero
    ) -> Aftermath {
        let rules = rules ?? BackendRules(health: HealthRule(isChecked: false))
        return adopt(prepare(servers, rules: rules) { PolicyCatalog.make(policy, $0)! }, now: now)
    }

    /// A slot for a request that waits for nothing.
    func take(
        _ exclusions: Exclusions = Exclusions(), affinity: UInt64 = 0, random: UInt64 = 0, now: Duration = .zero
    ) -> Int? {
        let pick = Pick(exclusions: exclusions, affinity: affinity, random: random)
        guard case .slot(let slot) = choose(pick, waiter: nil, isRetry: false, now: now) else { return nil }
        return slot.server
    }

    @discardableResult
    func give(
        _ server: Int, _ result: AttemptResult = .good, isTrial: Bool = false, now: Duration = .zero
    ) -> Aftermath {
        finished(Slot(server: server, isTrial: isTrial), result, now: now)
    }

    @discardableResult
    func check(_ server: Int, _ verdict: CheckVerdict, now: Duration = .zero, lastByte: Duration = .zero) -> Aftermath {
        let note = CheckNote(hasPassed: verdict == .passed, text: "", took: .zero, at: now)
        return recordCheck(of: server, verdict, note, lastByte: lastByte)
    }

    var states: [ServerState] { report.servers.map(\.state) }
}
