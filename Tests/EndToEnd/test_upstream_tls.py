"""TLS towards servers: verified, never less, and told when it fails."""

import contextlib
import socket
import ssl
import threading

import pytest
import requests

from authority import Authority
from conftest import Process, for_json, patience, read_all, root, wait_until
from test_tls import SECURE, connect, secure_port, tls, trusting

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class SecureServer:
    """A server over TLS that keeps what it saw: names, sessions, certificates, requests; and every byte that was not TLS."""

    def __init__(self, issued, configure=None, answer=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(issued.path, issued.key_path)
        self.names, self.resumed, self.clients, self.requests, self.failures, self.openings = [], [], [], [], [], []
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        if configure:
            configure(self.context)
        self.answer = answer or (lambda link, head: link.sendall(HEALTHY))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    def serve(self, plain):
        plain.settimeout(patience)
        # As servers do: what waits for an acknowledgement would be lost with a close.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.openings.append(plain.recv(1, socket.MSG_PEEK))
            with self.context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as link:
                self.resumed.append(link.session_reused)
                self.clients.append(link.getpeercert())
                data = b""
                while True:
                    while b"\r\n\r\n" not in data:
                        piece = link.recv(65536)
                        if not piece:
                            return
                        data += piece
                    head, _, data = data.partition(b"\r\n\r\n")
                    self.requests.append(head)
                    self.answer(link, head)
        except (OSError, ssl.SSLError) as error:
            self.failures.append(error)

    def close(self):
        self.listener.close()


class PlainServer:
    """A server that knows nothing of TLS: it says its piece, and keeps what it was sent."""

    def __init__(self, answer):
        self.received = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer = answer
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(link,), daemon=True).start()

    def serve(self, link):
        with link, contextlib.suppress(OSError):
            self.received.append(link.recv(65536))
            link.sendall(self.answer)
            self.received.append(read_all(link))

    def close(self):
        self.listener.close()


@pytest.fixture
def plain():
    made = []

    def make(answer):
        made.append(PlainServer(answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("upstream"))


@pytest.fixture
def secure():
    made = []

    def make(issued, configure=None, answer=None):
        made.append(SecureServer(issued, configure, answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


def settings(server, authority, *more, name="localhost"):
    return [f"servers = https://{name}:{server.port}", f"tls-ca = {authority.path}", *more]


def test_a_verified_server(start, secure, authority):
    server = secure(authority.issue("localhost"))
    ballast = start(None, *settings(server, authority, "health-every = 200ms"))
    answers = [requests.get(ballast.url + f"/{number}", timeout=patience) for number in range(20)]
    assert all(answer.text == "ok" for answer in answers)
    assert set(server.names) == {"localhost"}
    asked = [head for head in server.requests if b"GET /health " not in head]
    assert len(asked) == 20 and all(b"X-Forwarded-Proto: http\r\n" in head for head in asked)
    checks = wait_until(lambda: [head for head in server.requests if b"GET /health " in head], "a check")
    assert f"Host: localhost:{server.port}".encode() in checks[0]
    assert all(opening == b"\x16" for opening in server.openings), "never a plain byte"


def test_real_uvicorn_with_tls(start, authority, tmp_path):
    issued = authority.issue("localhost")
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    replica = Process(["/usr/bin/python3", "-m", "uvicorn", "--app-dir", root / "Tests/EndToEnd", "--port", port, "--ssl-keyfile",
                       issued.key_path, "--ssl-certfile", issued.path, "--log-level", "warning", "tiny:app"])
    try:
        ballast = start(None, f"servers = https://localhost:{port}", f"tls-ca = {authority.path}", "health-every = 100ms")
        wait_until(lambda: ballast.metric("ballast_server_up") == 1, "it to be up")
        body = b"x" * 2_000_000
        for _ in range(5):
            answer = requests.post(ballast.url + "/length", data=body, timeout=patience)
            assert answer.json() == {"length": len(body)}
    finally:
        replica.kill()


@pytest.mark.parametrize("fault, said", [
    ("wrong authority", "unable to get local issuer certificate|self.signed"), ("expired", "certificate has expired"),
    ("wrong name", "hostname mismatch"), ("old version", "protocol version|unsupported protocol"),
    ("client certificate", "alert|closed"), ("no tls", "wrong version number|closed"), ("silent", None),
])
def test_R27_what_is_not_verified_gets_nothing(start, secure, plain, authority, tmp_path, fault, said):
    def configure(context):
        if fault == "old version":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        if fault == "client certificate":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.path)

    issued = authority.issue("other.example" if fault == "wrong name" else "localhost", days=-1 if fault == "expired" else 5)
    believed = Authority(tmp_path / "other", "another authority") if fault == "wrong authority" else authority
    server = plain(HEALTHY if fault == "no tls" else b"") if fault in ("no tls", "silent") else secure(issued, configure)
    ballast = start(None, *settings(server, believed, "health = off", "retries = 0", "timeout-connect = 500ms"))
    for _ in range(3):
        answer = requests.post(ballast.url + "/x", data=b"secret", timeout=patience, headers=for_json)
        assert answer.status_code == (504 if fault == "silent" else 502)
        assert answer.json()["error"]["type"] == ("connect_timeout" if fault == "silent" else "upstream_tls")
    if fault != "silent":
        assert ballast.metric("ballast_request_errors_total", backend="default", reason="upstream_tls") == 3
        ballast.process.line(f"no secured connection: .*({said})")
        assert len([line for line in ballast.process.lines if "no secured connection" in line]) == 1, "told once"
    heads = server.received if isinstance(server, PlainServer) else server.requests
    assert not any(b"secret" in head or b"POST" in head for head in heads)


def test_without_verification_where_that_is_wanted(start, secure, authority):
    server = secure(authority.issue("other.example", days=-1))
    ballast = start(None, f"servers = https://localhost:{server.port}", "tls-verify = off", "health = off")
    assert requests.get(ballast.url, timeout=patience).text == "ok"
    ballast.process.line("with 'tls-verify = off' whoever stands between")


def test_another_name(start, secure, authority):
    server = secure(authority.issue("model.example"))
    ballast = start(None, *settings(server, authority, "tls-name = model.example", "health = off", name="127.0.0.1"))
    assert requests.get(ballast.url, timeout=patience).text == "ok"
    assert server.names == ["model.example"]


def test_an_address_is_a_name_too(start, secure, authority):
    server = secure(authority.issue("127.0.0.1"))
    ballast = start(None, *settings(server, authority, "health = off", name="127.0.0.1"))
    assert requests.get(ballast.url, timeout=patience).text == "ok"
    assert server.names in ([], [None]), "no address is a server name (RFC 6066, 3)"


def test_a_certificate_of_its_own(start, secure, authority):
    def configure(context):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.path)

    own = authority.issue("balancer.example", client=True)
    server = secure(authority.issue("localhost"), configure)
    ballast = start(None, *settings(server, authority, f"tls-certificate = {own.path}", f"tls-key = {own.key_path}",
                                    "health-every = 100ms"))
    assert requests.get(ballast.url, timeout=patience).text == "ok"
    assert ("DNS", "balancer.example") in server.clients[0]["subjectAltName"]
    wait_until(lambda: ballast.metric("ballast_server_up") == 1, "checks to pass")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshakes_are_shortened(start, secure, authority, version):
    def configure(context):
        context.minimum_version = context.maximum_version = version

    server = secure(authority.issue("localhost"), configure)
    ballast = start(None, *settings(server, authority, "health = off", "pool-size = 0", "threads = 1"))
    for _ in range(5):
        assert requests.get(ballast.url, timeout=patience).text == "ok"
    assert server.resumed == [False, True, True, True, True]
    assert ballast.metric("ballast_server_tls_handshakes_total", resumed="yes") == 4


def test_connections_are_kept(start, secure, authority):
    server = secure(authority.issue("localhost"))
    ballast = start(None, *settings(server, authority, "health = off", "threads = 1"))
    with requests.Session() as session:
        for _ in range(50):
            assert session.get(ballast.url, timeout=patience).text == "ok"
    assert len(server.openings) == 1
    assert ballast.metric("ballast_stale_connections_total") == 0


def test_a_failed_handshake_goes_to_another_server(start, secure, authority):
    bad, good = secure(authority.issue("other.example")), secure(authority.issue("localhost"))
    ballast = start(None, f"server = bad https://localhost:{bad.port}", f"server = good https://localhost:{good.port}",
                    f"tls-ca = {authority.path}", "health = off", "balance = round-robin", "eject-after = 0")
    for number in range(10):
        answer = requests.post(ballast.url, data=b"once", timeout=patience)
        assert answer.status_code == 200
    assert len([head for head in good.requests if b"POST / " in head]) == 10 and not bad.requests
    assert ballast.metric("ballast_retries_total", reason="upstream_tls") >= 4


def test_a_check_sees_what_requests_see(start, secure, authority):
    server = secure(authority.issue("other.example"))
    ballast = start(None, *settings(server, authority, "health-every = 100ms", "health-fall = 1"))
    wait_until(lambda: ballast.metric("ballast_server_state", state="down") == 1, "it to be down")
    assert "no secured connection" in ballast.page("/stats") and "hostname mismatch" in ballast.page("/stats")
    tcp = start(None, *settings(server, authority, "health = tcp", "health-every = 100ms", "health-fall = 1"))
    wait_until(lambda: tcp.metric("ballast_server_state", state="down") == 1, "it to be down")


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("ending", ["word", "silence"])
def test_C15_a_cut_answer_is_never_whole(start, secure, authority, framed, ending):
    """A server that closes without close_notify has not finished an answer that its end delimits."""
    def answer(link, head):
        link.sendall(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 10\r\n" if framed else b"") + b"Connection: close\r\n\r\nhello")
        if ending == "word":
            with contextlib.suppress(OSError):
                link.unwrap()
        else:
            socket.socket(fileno=link.detach()).close()
        raise OSError("over")

    server = secure(authority.issue("localhost"), None, answer)
    ballast = start(None, *settings(server, authority, "health = off", "retries = 0"))
    is_whole = not framed and ending == "word"
    if is_whole:
        assert requests.get(ballast.url, timeout=patience).text == "hello"
    else:
        with pytest.raises(requests.exceptions.RequestException):
            requests.get(ballast.url, timeout=patience)
        assert ballast.metric("ballast_request_errors_total", backend="default", reason="truncated") == 1


def test_both_sides_secured(start, secure, authority, tmp_path):
    front = Authority(tmp_path / "front")
    server = secure(authority.issue("localhost"), None, lambda link, head: link.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)))
    ballast = start(None, SECURE, *settings(server, authority, "health = off"), tls(front.issue("localhost")))
    with requests.Session() as session:
        for _ in range(5):
            assert len(session.get(f"https://localhost:{secure_port(ballast)}/", timeout=patience, verify=front.path).content) == 3_000_000


def test_a_reload_to_https_and_back(start, secure, replicas, authority):
    server = secure(authority.issue("localhost"))
    ballast = start(replicas[:1])
    assert requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] == "one"
    ballast.reload(None, *settings(server, authority))
    assert requests.get(ballast.url, timeout=patience).text == "ok"
    ballast.reload(replicas[:1])
    assert requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] == "one"


def test_a_new_authority_is_taken_up(start, secure, authority, tmp_path):
    old, new = Authority(tmp_path / "old", "old authority"), Authority(tmp_path / "new", "new authority")
    server = secure(new.issue("localhost"))
    file = tmp_path / "ca.pem"
    file.write_bytes(old.path.read_bytes())
    ballast = start(None, f"servers = https://localhost:{server.port}", f"tls-ca = {file}", "health = off", "retries = 0",
                    "eject-after = 0", "certificate-check = 100ms")
    assert requests.get(ballast.url, timeout=patience).status_code == 502
    file.write_bytes(old.path.read_bytes() + new.path.read_bytes())
    wait_until(lambda: requests.get(ballast.url, timeout=patience).status_code == 200, "the new authority")
    ballast.process.line("connections can be secured again")


def test_R21_an_early_answer_is_not_lost(start, secure, authority):
    """A server that answers before it has read the body, and closes."""
    def answer(link, head):
        if b"GET" not in head:
            link.sendall(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            with contextlib.suppress(OSError):
                link.unwrap()
            raise OSError("over")

    server = secure(authority.issue("localhost"), None, answer)
    ballast = start(None, *settings(server, authority, "health = off", "retries = 0"))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as link:
            link.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(30):
                    link.sendall(bytes(100_000))
            assert link.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_what_was_verified_otherwise_serves_no_more(start, secure, authority):
    """A connection at work while verification is turned on goes back to nobody."""
    go = threading.Event()

    def answer(link, head):
        if b"/slow" in head:
            go.wait(patience)
        link.sendall(HEALTHY)

    server = secure(authority.issue("other.example"), None, answer)
    place = f"servers = https://localhost:{server.port}"
    ballast = start(None, place, "tls-verify = off", "health = off", "threads = 1", "retries = 0", "eject-after = 0")
    slow = threading.Thread(target=lambda: requests.get(ballast.url + "/slow", timeout=patience))
    slow.start()
    wait_until(lambda: any(b"/slow" in head for head in server.requests), "the slow request")
    ballast.reload(None, place, f"tls-ca = {authority.path}", "health = off", "threads = 1", "retries = 0", "eject-after = 0")
    go.set()
    slow.join()
    assert requests.get(ballast.url, timeout=patience).status_code == 502
