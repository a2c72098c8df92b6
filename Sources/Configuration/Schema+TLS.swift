// The rows of keys about TLS: those of [tls], and those of a backend about its servers.

extension Schema {
    static let tlsKeys: [Key] = [
        .tls(
            "certificate", .words(TLSReaders.certificate), default: nil, sample: "/etc/ballast/tls/fullchain.pem",
            repeats: true,
            "PEM files: the certificate, and behind it those that lead to a root. Of each kind of key (RSA, EC) one; clients get what they can use, by the names inside."
        ),
        .tls(
            "key", .words(TLSReaders.key), default: nil, sample: "/etc/ballast/tls/privkey.pem", repeats: true,
            "PEM files with the private keys, in any order; without it they stand in the certificates' files. Nobody but their owner and group may read them."
        ),
        .tls(
            "passphrase", .words(TLSReaders.passphrase), default: nil, sample: "${file:/etc/ballast/tls/passphrase}",
            "What opens a sealed key, from a file."),
        .tls(
            "client-ca", .words(TLSReaders.clientAuthorities), default: nil, sample: "/etc/ballast/tls/clients.pem",
            "A PEM file with the authorities of clients' certificates."),
        .tls(
            "client-verify", .words(TLSReaders.clientVerification), default: "off",
            "required wants a certificate of every client, optional of those that have one, off of none. Servers are told of it in X-Client-Cert-Subject, -SAN and -Fingerprint, which nobody else can set."
        ),
        .tls(
            "client-crl", .words(TLSReaders.clientRevocations), default: nil, sample: "/etc/ballast/tls/clients.crl",
            "A PEM file with lists of revoked certificates: one of each authority that signs clients'."),
        .tls(
            "client-names", .words(TLSReaders.clientNames), default: nil, sample: "agent.example.com", repeats: true,
            "Names (DNS, URI, e-mail or common name) of which a client's certificate has to have one, letter for letter; none is any."
        ),
        .tls(
            "min-version", .choice(\.minimumVersion, ["1.2", "1.3"]), default: "1.2", "The oldest version of TLS."),
        .tls(
            "ciphers", .words(TLSReaders.ciphers), default: nil, sample: "ECDHE-ECDSA-AES128-GCM-SHA256", repeats: true,
            "Suites in OpenSSL's names, the most wanted first; those that begin with TLS_ are of TLS 1.3. Unless set, those with forward secrecy and authenticated encryption (Mozilla's intermediate ones)."
        ),
        .tls(
            "groups", .words(TLSReaders.groups), default: "X25519 P-256 P-384",
            "Groups of the key exchange, the most wanted first."),
        .tls(
            "tickets", .words(TLSReaders.tickets), default: "on",
            "on lets clients resume with a ticket, whose keys stand in memory alone and change every hour; off makes every handshake whole."
        ),
    ]

    static let serverTLSKeys: [Key] = [
        .backend(
            "tls-verify", .words(TLSReaders.serverVerification), default: "on",
            "off takes any certificate of https servers: whoever stands between can then read and change everything."),
        .backend(
            "tls-ca", .words(TLSReaders.serverAuthorities), default: "system",
            "A PEM file with the authorities of https servers' certificates; system is those of the machine."),
        .backend(
            "tls-name", .words(TLSReaders.serverName), default: nil, sample: "model.example.com",
            "The name that https servers are asked for and have to have; their own in 'server' unless set."),
        .backend(
            "tls-certificate", .words(TLSReaders.ownCertificate), default: nil, sample: "/etc/ballast/tls/client.pem",
            "A PEM file with the certificate that https servers are shown when they ask."),
        .backend(
            "tls-key", .words(TLSReaders.ownKey), default: nil, sample: "/etc/ballast/tls/client-key.pem",
            "A PEM file with its private key; without it the key stands in tls-certificate's file."),
        .backend(
            "tls-passphrase", .words(TLSReaders.ownPassphrase), default: nil,
            sample: "${file:/etc/ballast/tls/client-passphrase}", "What opens that key where it is sealed, from a file."
        ),
    ]
}
