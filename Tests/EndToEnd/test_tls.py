"""TLS towards clients: versions, names, tickets, clients' certificates, and every way in which a handshake can go wrong."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import select
import socket
import ssl
import struct
import subprocess
import threading

import openai
import pytest
import requests

from authority import Authority
from conftest import binary, patience, read_all, wait_until

SECURE = "listen = 127.0.0.1:0 tls"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def local(authority):
    """A good certificate of this machine."""
    return authority.issue("localhost", "127.0.0.1")


def tls(issued, *lines, name=""):
    return "\n".join([f"[tls {name}]" if name else "[tls]", issued.lines, *lines])


def secure_port(ballast):
    return int(ballast.process.line(r"listening on 127\.0\.0\.1:(\d+) with TLS")[1])


def trusting(authority, client=None, **options):
    context = ssl.create_default_context(cafile=authority.path)
    if client:
        context.load_cert_chain(client.path, client.key_path)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def connect(port, context, name="localhost", session=None):
    link = socket.create_connection(("127.0.0.1", port), timeout=patience)
    return context.wrap_socket(link, server_hostname=name, session=session)


def ask(link, request=GET):
    """The head and the body of the answer."""
    link.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = link.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += link.recv(65536)
    return head, body


def s_client(port, *words, stdin=b""):
    """What openssl's own client says."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *[str(word) for word in words]]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=patience).stdout.decode(errors="replace")


def failures(ballast, reason):
    return ballast.metric("ballast_tls_handshake_failures_total", reason=reason)


# What every client needs


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions(start, replicas, authority, local, version):
    ballast = start(replicas, SECURE, tls(local))
    context = trusting(authority, minimum_version=version, maximum_version=version)
    with connect(secure_port(ballast), context) as link:
        head, _ = ask(link)
        assert head.startswith(b"HTTP/1.1 200") and link.version() == {"TLSv1_2": "TLSv1.2"}.get(version.name, "TLSv1.3")
        assert b"200" in ask(link)[0].split(b"\r\n")[0], "the connection stays"


def test_clients_of_the_world(start, replicas, authority, local, tmp_path):
    ballast = start(replicas, SECURE, tls(local))
    url = f"https://localhost:{secure_port(ballast)}"
    body = os.urandom(3_000_000)
    answer = requests.post(url + "/predict", data=body, verify=authority.path, timeout=patience)
    assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    got = requests.get(url + "/bytes/5000000", verify=authority.path, timeout=patience)
    assert len(got.content) == 5_000_000
    told = subprocess.run(["curl", "-sS", "--cacert", authority.path, url + "/fields"], capture_output=True, timeout=patience)
    assert b'["x-forwarded-proto","https"]' in told.stdout.replace(b" ", b"")
    client = openai.OpenAI(api_key="none", base_url=url + "/v1", max_retries=0,
                           http_client=openai.DefaultHttpxClient(verify=trusting(authority)))
    words = [part.choices[0].delta.content or "" for part in client.chat.completions.create(
        model="demo", stream=True, messages=[{"role": "user", "content": "count"}])]
    assert len("".join(words)) > 0


def test_what_is_narrow_by_default(start, replicas, local):
    ballast = start(replicas, SECURE, tls(local))
    port = secure_port(ballast)
    assert "Cipher is (NONE)" in s_client(port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert failures(ballast, "version") == 1
    for weak in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
        assert "Cipher is (NONE)" in s_client(port, "-tls1_2", "-cipher", weak)
    assert failures(ballast, "cipher") == 3
    assert "Cipher is (NONE)" in s_client(port, "-tls1_3", "-groups", "P-521"), "no group in common"
    assert failures(ballast, "cipher") == 4
    small, large, other = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"
    for offered in (f"{small}:{large}", f"{large}:{small}", f"{small}:{other}"):
        assert f"Cipher is {small}" in s_client(port, "-tls1_2", "-cipher", offered)
    # Who wants it most has no AES in its processor.
    assert f"Cipher is {other}" in s_client(port, "-tls1_2", "-cipher", f"{other}:{small}")
    assert "Secure Renegotiation IS supported" in s_client(port, "-tls1_2")
    assert "Compression: NONE" in s_client(port, "-tls1_2")


def test_narrower_and_wider(start, replicas, local):
    ballast = start(replicas, SECURE, tls(local, "min-version = 1.3", "ciphers = TLS_CHACHA20_POLY1305_SHA256",
                                          "groups = P-384", "tickets = off"))
    port = secure_port(ballast)
    assert "Cipher is (NONE)" in s_client(port, "-tls1_2")
    text = s_client(port, "-tls1_3")
    assert "TLS_CHACHA20_POLY1305_SHA256" in text and "Server Temp Key: ECDH, secp384r1" in text
    wide = start(replicas, SECURE, tls(local, "ciphers = ECDHE-ECDSA-AES128-SHA256"))
    assert "ECDHE-ECDSA-AES128-SHA256" in s_client(secure_port(wide), "-tls1_2")


@pytest.mark.parametrize("line, word", [
    ("ciphers = NO-SUCH-SUITE", "no suite"), ("ciphers = ECDHE-ECDSA-AES128-GCM-SHA256 ALL", "'ALL' is no suite"), ("ciphers = TLS_NO_SUCH", "not every one is a suite"),
    ("groups = P-1", "not every one is a group"), ("min-version = 1.1", "is not known here"),
])
def test_names_that_openssl_does_not_know(tmp_path, local, line, word):
    refused(tmp_path, tls(local, line), word)


def test_the_protocol_is_negotiated(start, replicas, authority, local):
    ballast = start(replicas, SECURE, tls(local))
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)):
        context = trusting(authority)
        if offered:
            context.set_alpn_protocols(offered)
        with connect(secure_port(ballast), context) as link:
            assert link.selected_alpn_protocol() == chosen
            assert ask(link)[0].startswith(b"HTTP/1.1 200")
    context = trusting(authority)
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(secure_port(ballast), context)


# Names


def served(port, name, authority):
    """The names in the certificate that is served for `name`."""
    context = trusting(authority, check_hostname=False)
    with connect(port, context, name) as link:
        return [value for _, value in link.getpeercert()["subjectAltName"]]


def test_the_certificate_follows_the_name(start, replicas, authority, local):
    one = authority.issue("one.example.com")
    wild = authority.issue("*.example.com")
    ballast = start(replicas, SECURE, tls(local), tls(one, name="one"), tls(wild, name="wild"))
    port = secure_port(ballast)
    assert served(port, "one.example.com", authority) == ["one.example.com"]
    assert served(port, "ONE.Example.COM", authority) == ["one.example.com"]
    assert served(port, "two.example.com", authority) == ["*.example.com"]
    # A wildcard is for one label, and for at least one.
    for other in ("a.b.example.com", "example.com", "one.example.com.evil.org"):
        assert served(port, other, authority) == ["localhost", "127.0.0.1"]
    assert served(port, None, authority) == ["localhost", "127.0.0.1"]


def test_unknown_names_are_refused_where_that_is_wanted(start, replicas, authority, local):
    ballast = start(replicas, SECURE, "unknown-name = refuse", tls(local))
    port = secure_port(ballast)
    assert served(port, "localhost", authority) == ["localhost", "127.0.0.1"]
    for name in ("other.example", None):
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            connect(port, trusting(authority, check_hostname=False), name)
    wait_until(lambda: failures(ballast, "unknown_name") == 2, "both to be counted")


def hello(name):
    """A ClientHello of TLS 1.2 that asks for any bytes as a name."""
    entry = b"\0" + struct.pack(">H", len(name)) + name
    extensions = [(0, struct.pack(">H", len(entry)) + entry), (10, b"\0\2\0\x17"), (11, b"\1\0"), (13, b"\0\2\4\3")]
    block = b"".join(struct.pack(">HH", kind, len(data)) + data for kind, data in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\xc0\x2b" + b"\1\0" + struct.pack(">H", len(block)) + block
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack(">H", len(message)) + message


@pytest.mark.parametrize("name", [b"localhost", b"a" * 300, b"local\0host", b"", b"\xff\xfe", b".", b"*.example.com", b"a" * 60000])
def test_odd_names(start, replicas, authority, local, name):
    ballast = start(replicas, SECURE, tls(local))
    with socket.create_connection(("127.0.0.1", secure_port(ballast)), timeout=patience) as link:
        data = hello(name) if len(name) < 16000 else hello(b"a" * 16000)
        link.sendall(data)
        first = link.recv(1)
        # A handshake with the default certificate, or an alert.
        assert first in (b"\x16", b"\x15")
        assert first == b"\x16" or name != b"localhost"
    assert served(secure_port(ballast), "localhost", authority)


def test_both_kinds_of_keys(start, replicas, authority):
    elliptic, older = authority.issue("localhost"), authority.issue("localhost", kind="rsa")
    ballast = start(replicas, SECURE, "[tls]", f"certificate = {elliptic.path} {older.path}",
                    f"key = {older.key_path}", f"key = {elliptic.key_path}")
    port = secure_port(ballast)
    assert "Peer signature type: ECDSA" in s_client(port, "-tls1_3")
    assert "Cipher is ECDHE-RSA" in s_client(port, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert "RSA-PSS" in s_client(port, "-tls1_3", "-sigalgs", "RSA-PSS+SHA256")


# Tickets


def resumed(port, context, session, name="localhost"):
    """Whether a connection is resumed, and its own session."""
    with connect(port, context, name, session) as link:
        ask(link)
        return link.session_reused, link.session


def test_tickets_are_good_for_every_worker_and_every_reload(start, replicas, authority, local):
    ballast = start(replicas, SECURE, "threads = 4", tls(local))
    port, context = secure_port(ballast), trusting(authority)
    _, session = resumed(port, context, None)
    for _ in range(16):
        was, session = resumed(port, context, session)
        assert was
    ballast.reload()
    assert resumed(port, context, session)[0]
    assert ballast.metric("ballast_tls_handshakes_total", resumed="yes") == 17


def test_no_tickets(start, replicas, authority, local):
    ballast = start(replicas, SECURE, tls(local, "tickets = off"))
    port = secure_port(ballast)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(authority, minimum_version=version, maximum_version=version)
        _, session = resumed(port, context, None)
        assert session is None or not resumed(port, context, session)[0]


def test_a_ticket_is_good_at_its_listener_alone(start, replicas, authority, local):
    ballast = start(replicas, SECURE, "listen = 127.0.0.2:0 tls", tls(local))
    first, context = secure_port(ballast), trusting(authority, check_hostname=False)
    second = int(ballast.process.line(r"listening on 127\.0\.0\.2:(\d+) with TLS")[1])
    _, session = resumed(first, context, None)
    with socket.create_connection(("127.0.0.2", second), timeout=patience) as plain:
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as link:
            ask(link)
            assert not link.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_leads_into_no_other_name(start, replicas, authority, local, version):
    """A client that was let in at an open name shows its ticket at one that asks for certificates."""
    closed = authority.issue("closed.example")
    ballast = start(replicas, SECURE, tls(local),
                    tls(closed, f"client-ca = {authority.path}", "client-verify = required", name="closed"))
    port = secure_port(ballast)
    context = trusting(authority, check_hostname=False, minimum_version=version, maximum_version=version)
    _, session = resumed(port, context, None)
    assert resumed(port, context, session)[0]
    with pytest.raises((ssl.SSLError, AssertionError, OSError)):
        resumed(port, context, session, name="closed.example")
    wait_until(lambda: failures(ballast, "no_certificate") == 1, "it to be counted")


# Clients' certificates


@pytest.fixture(scope="session")
def people(authority, tmp_path_factory):
    """An authority for clients, who they are, and a list of who is not welcome any more."""
    office = Authority(tmp_path_factory.mktemp("office"), "client authority")
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "another authority")
    everybody = {
        "good": office.issue("agent.example", "spiffe://cluster/agent", "a@example.com", client=True, common="Agent, \"A\" ü\n"),
        "revoked": office.issue("agent.example", client=True), "expired": office.issue("agent.example", client=True, days=-1),
        "other": office.issue("someone.else", client=True), "unknown": stranger.issue("agent.example", client=True),
        "server": office.issue("agent.example"),
    }
    return office, everybody, office.revoke(everybody["revoked"])


def verifying(people, *lines):
    office, _, revoked = people
    return "\n".join([f"client-ca = {office.path}", f"client-crl = {revoked}", "client-names = agent.example", *lines])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who, reason, alert", [
    ("good", None, None), (None, "no_certificate", "(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE)"),
    ("revoked", "revoked", "CERTIFICATE_REVOKED"), ("expired", "expired", "CERTIFICATE_EXPIRED"),
    ("other", "wrong_name", "BAD_CERTIFICATE"), ("unknown", "unknown_ca", "UNKNOWN_CA"),
    ("server", "bad_certificate", "UNSUPPORTED_CERTIFICATE"),
])
def test_clients_are_who_they_say(start, replicas, authority, local, people, who, reason, alert, version):
    ballast = start(replicas, SECURE, tls(local, verifying(people, "client-verify = required")))
    client = people[1][who] if who else None
    context = trusting(authority, client, minimum_version=version, maximum_version=version)
    if reason is None:
        with connect(secure_port(ballast), context) as link:
            assert ask(link)[0].startswith(b"HTTP/1.1 200")
        return
    with pytest.raises(ssl.SSLError, match=alert):
        with connect(secure_port(ballast), context) as link:
            # In TLS 1.3 the client is done before it is judged.
            link.sendall(GET)
            link.recv(65536)
    # The alert leaves before it is counted.
    wait_until(lambda: failures(ballast, reason) == 1, "it to be counted")
    assert sum(value for name, value in ballast.metrics().items() if "handshake_failures" in name) == 1


FORGED = ("X-Client-Cert-Subject: CN=root\r\nx-client-cert-san: DNS:root\r\nX-CLIENT-CERT-FINGERPRINT: 00\r\n"
          "X-Client-Cert-Verified: yes\r\nX_Client_Cert_Subject: root\r\n")


def told(link, extra=""):
    """The fields that the server got."""
    _, body = ask(link, f"GET /fields HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode())
    return dict(json.loads(body)["fields"])


def test_servers_are_told_who_it_is(start, replicas, authority, local, people):
    ballast = start(replicas, SECURE, tls(local, verifying(people, "client-verify = optional")))
    good = people[1]["good"]
    with connect(secure_port(ballast), trusting(authority, good)) as link:
        fields = told(link, FORGED)
    assert fields["x-client-cert-fingerprint"] == good.fingerprint
    assert fields["x-client-cert-san"] == "DNS:agent.example, URI:spiffe://cluster/agent, email:a@example.com"
    subject = fields["x-client-cert-subject"]
    assert subject.startswith("CN=Agent\\, \\\"A\\\"") and subject.isascii() and subject.isprintable()
    assert "x-client-cert-verified" not in fields and "x_client_cert_subject" not in fields
    # Who has none is served as well, and is nobody.
    with connect(secure_port(ballast), trusting(authority)) as link:
        assert not [name for name in told(link, FORGED) if "client" in name and "cert" in name]
    # Nor on a plain listener.
    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as link:
        assert not [name for name in told(link, FORGED) if "client" in name and "cert" in name]
    # A certificate that is shown has to be right, asked for or not.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(secure_port(ballast), trusting(authority, people[1]["unknown"])) as link:
            ask(link)


def test_a_resumed_client_is_the_same(start, replicas, authority, local, people):
    ballast = start(replicas, SECURE, tls(local, verifying(people, "client-verify = required")))
    good, context = people[1]["good"], trusting(authority, people[1]["good"])
    _, session = resumed(secure_port(ballast), context, None)
    with connect(secure_port(ballast), context, session=session) as link:
        assert told(link)["x-client-cert-fingerprint"] == good.fingerprint and link.session_reused


def test_the_certificate_is_for_the_host_that_was_asked(start, replicas, authority, local, people):
    """What was verified under one name is worth nothing for a request to another (421)."""
    closed = authority.issue("closed.example")
    ballast = start(replicas, SECURE, tls(local), tls(closed, verifying(people, "client-verify = required"), name="closed"))
    port = secure_port(ballast)

    def status(link, host):
        head, _ = ask(link, f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return int(head.split(b" ")[1])

    for host, wanted in (("localhost", 200), ("other.example", 200), ("CLOSED.example:443", 421), ("closed.example.", 421)):
        with connect(port, trusting(authority)) as link:
            assert status(link, host) == wanted
    for host, wanted in (("closed.example", 200), ("localhost", 421), ("other.example", 421)):
        with connect(port, trusting(authority, people[1]["good"]), "closed.example") as link:
            assert status(link, host) == wanted


# Handshakes that go wrong


def flights(authority):
    """The bytes of a client's handshake, in one piece for each of its flights, as far as it goes without an answer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return session, incoming, outgoing


def test_a_handshake_may_come_byte_by_byte(start, replicas, authority, local):
    ballast = start(replicas, SECURE, tls(local))
    with socket.create_connection(("127.0.0.1", secure_port(ballast)), timeout=patience) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session, incoming, outgoing = flights(authority)
        while True:
            for byte in outgoing.read():
                link.sendall(bytes([byte]))
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(link.recv(65536))
        session.write(GET)
        for byte in outgoing.read():
            link.sendall(bytes([byte]))
        answer = b""
        while b"\r\n\r\n" not in answer:
            with contextlib.suppress(ssl.SSLWantReadError):
                answer += session.read(65536)
                continue
            incoming.write(link.recv(65536))
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 5, 100, None])
def test_a_handshake_that_is_cut(start, replicas, authority, local, sent, how):
    ballast = start(replicas, SECURE, tls(local))
    _, _, outgoing = flights(authority)
    data = outgoing.read()
    link = socket.create_connection(("127.0.0.1", secure_port(ballast)), timeout=patience)
    link.sendall(data[:sent])
    if sent is None:
        link.recv(1)
    if how == "reset":
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    wait_until(lambda: ballast.metric("ballast_open_connections") <= 1, "the connection to be forgotten")
    if sent != 0:
        wait_until(lambda: failures(ballast, "closed") == 1, "it to be counted")


@pytest.mark.parametrize("trickle", [False, True])
def test_a_handshake_has_its_time(start, replicas, authority, local, trickle):
    ballast = start(replicas, SECURE, "timeout-head = 500ms", tls(local))
    _, _, outgoing = flights(authority)
    data = outgoing.read()
    with socket.create_connection(("127.0.0.1", secure_port(ballast)), timeout=patience) as link:
        ended = False
        for byte in data if trickle else b"":
            try:
                link.sendall(bytes([byte]))
            except OSError:
                ended = True
                break
            # So slow, or until it is over.
            select.select([link], [], [], 0.01)
        assert ended or read_all(link) in (b"", b"<reset>")
    wait_until(lambda: (failures(ballast, "timeout"), ballast.metric("ballast_limits_reached_total", limit="timeout-head"))
               == ((1, 0) if trickle else (0, 1)), "it to be counted")


def test_nonsense_is_told_so(start, replicas, authority, local):
    ballast = start(replicas, SECURE, tls(local))
    port = secure_port(ballast)
    for nonsense in (b"\x16\3\1\xff\xff" + bytes(100), b"\0" * 600, os.urandom(2000), b"\x16\3\1\0\5\1\0\0\1\0", b"\x80\x2e\1\3\1"):
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
            with contextlib.suppress(OSError):
                link.sendall(nonsense)
                link.shutdown(socket.SHUT_WR)
            read_all(link)
    wait_until(lambda: failures(ballast, "malformed") >= 3, "them to be counted")
    with connect(port, trusting(authority)) as link:
        assert ask(link)[0].startswith(b"HTTP/1.1 200")


def test_renegotiation_is_refused(start, replicas, local):
    ballast = start(replicas, SECURE, tls(local))
    process = subprocess.Popen(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{secure_port(ballast)}"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdin.write(b"R\n")
    process.stdin.flush()
    text = process.communicate(timeout=patience)[0].decode(errors="replace")
    assert "RENEGOTIATING" in text and "no renegotiation" in text.lower()


def test_keys_change_in_the_middle(start, replicas, local):
    """KeyUpdate from the client, asking for one in return, before each of three requests."""
    ballast = start(replicas, SECURE, tls(local))
    process = subprocess.Popen(["openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{secure_port(ballast)}"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    received = []
    threading.Thread(target=lambda: received.extend(iter(lambda: process.stdout.read1(), b"")), daemon=True).start()
    for count in (1, 2, 3):
        process.stdin.write(b"K\n")
        process.stdin.flush()
        wait_until(lambda: b"".join(received).count(b"KEYUPDATE") == count, "the change of keys")
        process.stdin.write(GET)
        process.stdin.flush()
        wait_until(lambda: b"".join(received).count(b"HTTP/1.1 200") == count, f"answer {count}")
    process.kill()


# Ends


def test_an_end_without_a_word_is_a_cut(start, scripted, authority, local):
    """A client that goes without close_notify in the middle of its body has not sent it."""
    ended = threading.Event()

    def behave(connection, head):
        read_all(connection)
        ended.set()

    server = scripted(behave)
    ballast = start([server], SECURE, "health = off", "half-close = serve", tls(local))
    link = connect(secure_port(ballast), trusting(authority))
    link.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    wait_until(lambda: server.received, "the head")
    plain = socket.socket(fileno=os.dup(link.fileno()))
    plain.shutdown(socket.SHUT_WR)
    assert ended.wait(patience), "the server is told"
    wait_until(lambda: ballast.metric("ballast_client_aborts_total", phase="uploading") == 1, "it to be counted")


def test_answers_end_with_a_word_and_cut_ones_do_not(start, scripted, authority, local):
    """An HTTP/1.0 client knows the end of its answer by close_notify alone."""
    def whole(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")

    def cut(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for behave, is_whole in ((whole, True), (cut, False)):
        ballast = start([scripted(behave)], SECURE, "health = off", tls(local))
        context = trusting(authority)
        with socket.create_connection(("127.0.0.1", secure_port(ballast)), timeout=patience) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as link:
                link.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data, ended = b"", "with a word"
                try:
                    while piece := link.recv(65536):
                        data += piece
                except (ssl.SSLError, ConnectionError):
                    ended = "without"
        assert ended == ("with a word" if is_whole else "without")
        assert b"hello" in data or not is_whole


# Ports of the other kind


def test_plain_http_to_a_secured_port(start, replicas, authority, local):
    ballast = start(replicas, SECURE, tls(local))
    port = secure_port(ballast)
    for method in ("GET", "POST", "OPTIONS", "DELETE", "BREW"):
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
            link.sendall(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = read_all(link)
        assert answer.startswith(b"HTTP/1.1 400 ") and b"https://" in answer
    assert failures(ballast, "plain_http") == 5
    assert len([line for line in ballast.process.lines if "speaks HTTP without TLS" in line]) <= 2, "one for each worker"


def test_tls_to_a_plain_port(start, replicas):
    ballast = start(replicas)
    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as link:
        link.sendall(hello(b"localhost"))
        assert read_all(link).startswith(b"HTTP/1.1 400 ")
    ballast.process.line("speaks TLS to a port without it")


def test_everybody_is_sent_to_the_secured_port(start, replicas, authority, local):
    ballast = start(None, SECURE, "listen = 127.0.0.2:0 redirect-https", f"servers = 127.0.0.1:{replicas[0].port}",
                    "hsts = 365d include-subdomains", tls(local))
    port = secure_port(ballast)
    plain = int(ballast.process.line(r"listening on 127\.0\.0\.2:(\d+)")[1])
    with socket.create_connection(("127.0.0.2", plain), timeout=patience) as link:
        for target, wanted in (("/a?b=c", "/a?b=c"), ("*", "/"), ("http://ignored.example/x", "/x"), ("/%0d%0a", "/%0d%0a")):
            method = "OPTIONS" if target == "*" else "GET"
            link.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost:99\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += link.recv(1)
            host = "ignored.example" if "ignored" in target else "localhost"
            assert head.startswith(b"HTTP/1.1 308 ")
            assert f"Location: https://{host}:{port}{wanted}\r\n".encode() in head
            assert b"Strict-Transport-Security" not in head
    answer = requests.post(f"http://127.0.0.2:{plain}/echo", data=b"x" * 100_000, timeout=patience, allow_redirects=False)
    assert answer.status_code == 308
    for path in ("/health", "/nothing"):
        secure = requests.get(f"https://localhost:{port}{path}", verify=authority.path, timeout=patience)
        assert secure.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    # ballast's own answers say so too, and nobody else's word stands beside it.
    with connect(port, trusting(authority)) as link:
        head, _ = ask(link, b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head.count(b"Strict-Transport-Security") == 1
    assert "Strict-Transport-Security" not in requests.get(ballast.url + "/health", timeout=patience).headers


def test_a_proxy_header_comes_before_the_handshake(start, replicas, authority, local):
    ballast = start(replicas, "listen = 127.0.0.1:0 tls proxy-protocol", "trusted-proxies = 127.0.0.1", tls(local))
    session, incoming, outgoing = flights(authority)
    with socket.create_connection(("127.0.0.1", secure_port(ballast)), timeout=patience) as link:
        # The header and the first flight in one piece.
        link.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n" + outgoing.read())
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                link.sendall(outgoing.read())
                incoming.write(link.recv(65536))
        session.write(b"GET /fields HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        link.sendall(outgoing.read())
        answer = b""
        while b"}" not in answer:
            with contextlib.suppress(ssl.SSLWantReadError):
                answer += session.read(65536)
                continue
            incoming.write(link.recv(65536))
    assert b"192.0.2.7" in answer and b'"https"' in answer


# Keys


def refused(folder, *settings, prefix=(), code=2):
    """Says why -t refuses."""
    file = folder / "refused.ini"
    text = ["listen = 127.0.0.1:0 tls", "servers = 127.0.0.1:1", *settings[:-1]]
    file.write_text("\n".join(text) + "\n")
    done = subprocess.run([*prefix, binary, "-t", "-c", file], capture_output=True, text=True, timeout=patience)
    assert done.returncode == code and settings[-1] in done.stderr, done.stderr
    return done.stderr


def test_a_key_that_everybody_can_read(tmp_path, authority):
    issued = authority.issue("localhost")
    issued.key_path.chmod(0o644)
    assert "chmod" in refused(tmp_path, tls(issued), "everybody")
    both = tmp_path / "both.pem"
    both.write_bytes(issued.path.read_bytes() + issued.key_path.read_bytes())
    both.chmod(0o644)
    refused(tmp_path, f"[tls]\ncertificate = {both}", "everybody")


def test_a_key_for_the_user_that_it_becomes(tmp_path, authority):
    issued = authority.issue("localhost")
    refused(tmp_path, "user = nobody", tls(issued), "permission denied")


@pytest.mark.parametrize("passphrase, said", [("0pen-sesame", None), ("sesame", "does not open"), (None, "is sealed")], ids=["right", "wrong", "none"])
def test_a_sealed_key(start, tmp_path, replicas, authority, passphrase, said):
    issued = authority.issue("localhost", passphrase=b"0pen-sesame")
    file = tmp_path / "passphrase"
    file.write_text(f"{passphrase}\n")
    lines = [f"passphrase = ${{file:{file}}}"] if passphrase else []
    if said:
        refused(tmp_path, tls(issued, *lines), said)
        return
    ballast = start(replicas, SECURE, tls(issued, *lines))
    assert served(secure_port(ballast), "localhost", authority)
    dump = subprocess.run([ballast.process.process.args[0], "-T", "-c", ballast.file], capture_output=True, text=True,
                          timeout=patience).stdout
    assert "passphrase = ***" in dump and "0pen" not in dump and "PRIVATE" not in dump


def test_a_passphrase_never_stands_in_a_configuration(tmp_path, authority):
    refused(tmp_path, tls(authority.issue("localhost"), "passphrase = secret"), "write passphrase = ${file:/PATH}")


def test_secrets_stay_in_the_process(start, replicas, local, authority, tmp_path):
    ballast = start(replicas, SECURE, tls(local), prefix=["prlimit", "--core=1000000000"])
    folder = pathlib.Path(f"/proc/{ballast.process.process.pid}")
    assert folder.joinpath("limits").read_text().split("Max core file size")[1].split()[:2] == ["0", "0"]
    # What cannot be dumped belongs to root, whoever the process is.
    plain = start(replicas, prefix=["prlimit", "--core=1000000000"])
    limits = pathlib.Path(f"/proc/{plain.process.process.pid}/limits").read_text()
    own = authority.issue("localhost")
    for path in (own.path, own.key_path, own.folder, own.folder.parent):
        os.chown(path, 65534, 65534)
    for above in own.folder.parents:
        if above.stat().st_uid == 0 and above.is_relative_to(tmp_path.parents[1]):
            above.chmod(above.stat().st_mode | 0o711)
    other = start(replicas, SECURE, "user = nobody", tls(own))
    assert pathlib.Path(f"/proc/{other.process.process.pid}/limits").stat().st_uid == 0, "its own user cannot look into it"
    assert limits.split("Max core file size")[1].split()[0] == "1000000000"


@pytest.mark.parametrize("content", [b"", bytes(5000), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                                     b"x" * (5 << 20), None])
def test_S11_files_that_are_no_certificates(tmp_path, authority, content):
    issued = authority.issue("localhost")
    if content is None:
        issued.path.unlink()
    else:
        issued.path.write_bytes(content)
    text = refused(tmp_path, tls(issued), "cert.pem")
    assert re.search(r"refused\.ini:4:15: error: ", text)


def test_a_key_of_another_certificate(tmp_path, authority):
    one, other = authority.issue("localhost"), authority.issue("localhost")
    refused(tmp_path, f"[tls]\ncertificate = {one.path}\nkey = {other.key_path}", "is not this certificate's")


# Rotation


def served_serial(port, authority):
    context = trusting(authority, check_hostname=False)
    with connect(port, context) as link:
        return int(link.getpeercert()["serialNumber"], 16)


@pytest.mark.parametrize("how", ["reload", "check"])
def test_O05_a_new_certificate_is_taken_up(start, replicas, authority, how):
    first, second = authority.issue("localhost"), authority.issue("localhost", days=10)
    ballast = start(replicas, SECURE, "certificate-check = " + ("1h" if how == "reload" else "100ms"), tls(first))
    port = secure_port(ballast)
    with connect(port, trusting(authority)) as kept:
        ask(kept)
        assert served_serial(port, authority) == first.serial
        before = ballast.metric("ballast_certificate_expiry_timestamp_seconds")
        second.write(first.path, first.key_path)
        if how == "reload":
            ballast.reload()
        wait_until(lambda: served_serial(port, authority) == second.serial, "the new serial")
        assert ask(kept)[0].startswith(b"HTTP/1.1 200"), "who is connected stays so"
    wait_until(lambda: ballast.metric("ballast_certificate_expiry_timestamp_seconds") == before - 10 * 86_400, "its end")
    ballast.process.line("expires in 9 days")


def test_a_broken_pair_changes_nothing(start, replicas, authority):
    first, second = authority.issue("localhost"), authority.issue("localhost")
    ballast = start(replicas, SECURE, "certificate-check = 100ms", tls(first))
    port = secure_port(ballast)
    whole = first.path.read_bytes()
    def replace(content):
        fresh = first.path.with_suffix(".fresh")
        fresh.write_bytes(content)
        fresh.rename(first.path)

    for content in (second.path.read_bytes(), b"nonsense", whole + whole[:100]):
        replace(content)
        wait_until(lambda: ballast.metric("ballast_certificate_load_successful") == 0, "it to be told")
        assert served_serial(port, authority) == first.serial
        ballast.reload(refused=True)
        assert served_serial(port, authority) == first.serial
        replace(whole)
        wait_until(lambda: ballast.metric("ballast_certificate_load_successful") == 1, "it to be right again")
    assert len([line for line in ballast.process.lines if "changed certificates are refused" in line]) == 3, "told once each"


def test_a_new_revocation_list_makes_tickets_worthless(start, replicas, authority, local, tmp_path):
    office = Authority(tmp_path / "office")
    agent = office.issue("agent.example", client=True)
    ballast = start(replicas, SECURE, "certificate-check = 100ms",
                    tls(local, f"client-ca = {office.path}", f"client-crl = {office.revoke()}", "client-verify = required"))
    port, context = secure_port(ballast), trusting(authority, agent)
    _, session = resumed(port, context, None)
    assert resumed(port, context, session)[0]
    office.revoke(agent)

    def is_out():
        with contextlib.suppress(ssl.SSLError, ConnectionError, AssertionError):
            resumed(port, context, session)
            return False
        return True

    wait_until(is_out, "the client to be refused")
    wait_until(lambda: failures(ballast, "revoked") == 1, "it to be counted")


# What is the same as without


def test_tunnels_and_expectations_over_tls(start, replicas, authority, local):
    from websockets.sync.client import connect as connect_websocket
    ballast = start(replicas, SECURE, tls(local))
    port = secure_port(ballast)
    with connect_websocket(f"wss://localhost:{port}/ws/secured", ssl=trusting(authority)) as link:
        for number in range(20):
            link.send("x" * number * 5000)
            assert link.recv().endswith("x" * number * 5000)
    done = subprocess.run(["curl", "-sS", "--cacert", authority.path, "-H", "Expect: 100-continue", "--data-binary", "@-",
                           f"https://localhost:{port}/predict"], input=b"x" * 300_000, capture_output=True, timeout=patience)
    assert json.loads(done.stdout)["received"] == 300_000, done.stderr


def test_a_slow_reader_gets_all_of_it(start, replicas, authority, local):
    ballast = start(replicas, SECURE, tls(local))
    plain = socket.socket()
    # So little at a time, that everything before it has to wait.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", secure_port(ballast)))
    with trusting(authority).wrap_socket(plain, server_hostname="localhost") as link:
        link.sendall(b"GET /bytes/6000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = bytearray()
        while piece := link.recv(3_000):
            received += piece
    body = bytes(received.partition(b"\r\n\r\n")[2])
    block = bytes(range(256)) * 256
    assert body == (block * (6_000_000 // len(block) + 1))[:6_000_000]


def test_keys_that_change_for_nothing_end_the_connection(start, replicas, authority, local):
    """Each change costs more than a kilobyte of data does: without any data in between, a few are all that anybody needs."""
    ballast = start(replicas, SECURE, tls(local))
    process = subprocess.Popen(["openssl", "s_client", "-tls1_3", "-connect", f"127.0.0.1:{secure_port(ballast)}"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    received = []
    threading.Thread(target=lambda: received.extend(iter(lambda: process.stdout.read1(), b"")), daemon=True).start()
    changed = 0
    with contextlib.suppress(OSError):
        for changed in range(1, 60):
            process.stdin.write(b"k\n")
            process.stdin.flush()
            wait_until(lambda: b"".join(received).count(b"KEYUPDATE") == changed or process.poll() is not None, "the change")
    assert process.wait(timeout=patience) is not None and 32 < changed < 59
    wait_until(lambda: ballast.metric("ballast_open_connections") <= 1, "its connection to be closed")


def test_a_verification_that_is_made_stricter_holds_for_all(start, replicas, authority, local, people):
    ballast = start(replicas, SECURE, tls(local))
    with connect(secure_port(ballast), trusting(authority)) as link:
        assert ask(link)[0].startswith(b"HTTP/1.1 200")
        ballast.reload(replicas, SECURE, tls(local, verifying(people, "client-verify = required")))
        assert ask(link)[0].startswith(b"HTTP/1.1 421")


def test_tls_comes_and_goes_with_reloads(start, replicas, authority, local):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ballast = start(replicas, f"listen = 127.0.0.1:{port}")
    for _ in range(3):
        assert requests.get(f"http://127.0.0.1:{port}/health", timeout=patience).ok
        ballast.reload(replicas, f"listen = 127.0.0.1:{port} tls", tls(local))
        assert requests.get(f"https://localhost:{port}/health", timeout=patience, verify=authority.path).ok
        ballast.reload(replicas, f"listen = 127.0.0.1:{port}")


def test_lists_and_bundles_that_are_damaged_are_refused(tmp_path, authority, local, people):
    office, everybody, revoked = people
    for key, whole in (("client-crl", revoked.read_bytes()), ("client-ca", office.path.read_bytes())):
        lines = whole.decode().splitlines()
        damaged = tmp_path / "damaged.pem"
        damaged.write_text(whole.decode() + "\n".join([*lines[:2], lines[2][:20], *lines[-1:]]) + "\n")
        files = {"client-ca": office.path, "client-crl": revoked, key: damaged}
        refused(tmp_path, tls(local, *(f"{name} = {path}" for name, path in files.items()), "client-verify = required"),
                "2 in it cannot be read")
    # Nor a list of somebody else's.
    other = Authority(tmp_path / "elsewhere", "somebody else")
    refused(tmp_path, tls(local, f"client-ca = {office.path}", f"client-crl = {other.revoke()}", "client-verify = required"),
            "of an authority that is not in")


@pytest.mark.parametrize("names, wanted", [
    (["10.0.0.17", "2001:db8::1"], "IP:10.0.0.17, IP:2001:db8::1"),
    (["urn://a%2c,b", "a.example"], "URI:urn://a%252c%2cb, DNS:a.example"),
    ([f"{'a' * 60}.{number}.evil.example" for number in range(20)] + ["bank.example.evil.example"], None),
])
def test_names_are_told_whole(start, replicas, authority, local, people, names, wanted):
    client = people[0].issue(*names, client=True, common="x")
    ballast = start(replicas, SECURE, tls(local, f"client-ca = {people[0].path}", "client-verify = required"))
    with connect(secure_port(ballast), trusting(authority, client)) as link:
        said = told(link)["x-client-cert-san"]
    if wanted:
        assert said == wanted
    else:
        assert len(said) <= 1024 and set(said.split(", ")) <= {f"DNS:{name}" for name in names}


def test_forged_fields_in_any_spelling(start, replicas, authority, local):
    ballast = start(replicas, SECURE, "underscore-fields = pass", "trusted-proxies = 127.0.0.0/8", tls(local))
    with connect(secure_port(ballast), trusting(authority)) as link:
        fields = told(link, FORGED + "X-Client_Cert-SAN: x\r\nx_client_cert_: y\r\nX_Other: 1\r\n")
    assert fields["x_other"] == "1" and not [name for name in fields if "cert" in name]
