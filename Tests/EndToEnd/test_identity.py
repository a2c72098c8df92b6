"""Who a client is: for servers, for the log, for policies and limits; and what else heads get and lose on their way."""

import contextlib
import os
import re
import shutil
import socket
import stat
import struct
import subprocess

import pytest
import requests

from conftest import Process, binary, patience, read_all, wait_until

GET = b"GET /fields HTTP/1.1\r\nHost: model.test\r\nConnection: close\r\n\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def fields_of(answer):
    """What the replica was sent, from the answer's JSON."""
    import json

    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    return [(name.lower(), value) for name, value in json.loads(answer.split(b"\r\n\r\n", 1)[1])["fields"]]


def values(fields, name):
    return [value for key, value in fields if key == name]


def ask(ballast, first=b"", more=b"", source="127.0.0.1", port=None):
    with socket.create_connection(("127.0.0.1", port or ballast.port), timeout=patience, source_address=(source, 0)) as link:
        link.sendall(first + GET[:-2] + more + b"\r\n")
        return read_all(link)


def v2(command, family, rest):
    return V2 + struct.pack("!BBH", command, family, len(rest)) + rest


V4 = socket.inet_aton("203.0.113.9") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 4711, 80)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + struct.pack("!HH", 4711, 80)


@pytest.mark.parametrize("header, client", [
    (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n", "203.0.113.9"), (v2(0x21, 0x11, V4), "203.0.113.9"),
    (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"), (v2(0x21, 0x21, V6 + b"\x04\0\1x"), "2001:db8::7"),
    (v2(0x20, 0, b""), "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (v2(0x21, 0, b"xyz"), "127.0.0.1"),
])
def test_a_proxy_header_says_whose_connection_it_is(start, replicas, header, client):
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "access-log = stderr", "health = off")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    fields = fields_of(ask(ballast, header, port=port))
    assert values(fields, "x-forwarded-for") == [client] and values(fields, "x-real-ip") == [client]
    ballast.process.line(rf"Z {re.escape(client)} \"GET /fields")
    # In pieces of one byte as well.
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header:
            link.send(bytes([byte]))
        link.sendall(GET)
        assert values(fields_of(read_all(link)), "x-forwarded-for") == [client]


def test_nobody_else_may_say_who_they_are(start, replicas):
    """C16: a header where none is expected is no request; where one is expected, nothing else is."""
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "trusted-proxies = 127.0.0.2", "health = off")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    header = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n"
    assert ask(ballast, header).startswith(b"HTTP/1.1 400")
    assert ask(ballast, v2(0x21, 0x11, V4)).startswith(b"HTTP/1.1 400")
    # A stranger on that listener speaks for himself, and a proxy must introduce its client.
    assert values(fields_of(ask(ballast, port=port)), "x-forwarded-for") == ["127.0.0.1"]
    assert ask(ballast, header, port=port).startswith(b"HTTP/1.1 400")
    assert values(fields_of(ask(ballast, header, source="127.0.0.2", port=port)), "x-forwarded-for") == ["203.0.113.9"]
    assert ask(ballast, source="127.0.0.2", port=port).startswith(b"HTTP/1.1 400")


def test_real_proxies_introduce_their_clients(start, replicas, tmp_path):
    """HAProxy with both versions, and curl."""
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "health = off", "access-log = stderr")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    said = subprocess.run(["curl", "-s", "--haproxy-protocol", f"http://127.0.0.1:{port}/fields"], capture_output=True, timeout=patience)
    assert b"127.0.0.1" in said.stdout and b"x-real-ip" in said.stdout
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is missing")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        fronts = [each.getsockname()[1] for each in (one, two)]
    sections = [f"listen v{number}\n bind 127.0.0.1:{front}\n server ballast 127.0.0.1:{port} {word}\n"
                for number, (front, word) in enumerate(zip(fronts, ("send-proxy", "send-proxy-v2")))]
    file = tmp_path / "haproxy.cfg"
    file.write_text("defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n" + "".join(sections))
    proxy = subprocess.Popen(["haproxy", "-db", "-f", file], stderr=subprocess.DEVNULL)
    try:
        for number, front in enumerate(fronts):
            source = f"127.0.9.{number + 1}"

            def fields():
                with contextlib.suppress(ConnectionError):
                    return fields_of(ask(ballast, port=front, source=source))

            assert values(wait_until(fields, "haproxy"), "x-forwarded-for") == [source]
            ballast.process.line(rf"Z {re.escape(source)} \"GET /fields")
    finally:
        proxy.terminate()
        proxy.wait()


def test_whom_a_proxy_cannot_name_is_not_trusted_as_the_proxy_is(start, replicas):
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "trusted-proxies = 127.0.0.1", "health = off")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    forged = b"X-Forwarded-For: 6.6.6.6\r\n"
    for header, chain in [(b"PROXY UNKNOWN\r\n", "127.0.0.1"), (v2(0x21, 0, b""), "127.0.0.1"), (v2(0x20, 0, b""), "6.6.6.6, 127.0.0.1"),
                          (b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n", "203.0.113.9")]:
        assert values(fields_of(ask(ballast, header, forged, port=port)), "x-forwarded-for") == [chain]


def test_a_missing_header_is_told_to_the_operator(start, replicas):
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "health = off")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    assert b"a well-formed header of the PROXY protocol is expected" in ask(ballast, port=port)
    ballast.process.line("127.0.0.1 did not begin its connection with a header of the PROXY protocol")
    assert b"'listen' needs proxy-protocol" in ask(ballast, b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n")


def test_who_is_trusted_changes_for_open_connections_too(start, replicas):
    ballast = start(replicas[:1], "health = off", "threads = 1")
    session = requests.Session()

    def chain():
        return dict(session.get(ballast.url + "/fields", headers={"X-Forwarded-For": "6.6.6.6"}, timeout=patience).json()["fields"])[
            "x-forwarded-for"]

    assert chain() == "127.0.0.1"
    ballast.reload(replicas[:1], "health = off", "threads = 1", "trusted-proxies = 127.0.0.1")
    assert chain() == "6.6.6.6, 127.0.0.1"
    ballast.reload(replicas[:1], "health = off", "threads = 1")
    assert chain() == "127.0.0.1"
    assert ballast.metric("ballast_connections_total", listener=f"127.0.0.1:{ballast.port}") == 1


def test_a_public_listener_must_know_its_proxies(tmp_path):
    file = tmp_path / "x.ini"
    file.write_text("listen = :0 proxy-protocol\nservers = 127.0.0.1:1\n")
    result = subprocess.run([binary, "-c", file], capture_output=True, text=True, timeout=patience)
    assert result.returncode == 2 and "would let everybody who can connect say who they are" in result.stderr


def test_a_proxy_header_that_never_ends_is_closed(start, replicas):
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "timeout-head = 300ms", "health = off")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as link:
        link.sendall(b"PROXY TCP4 203.")
        assert read_all(link) == b""
    assert ballast.metric("ballast_limits_reached_total", limit="timeout-head") == 1


def test_limits_are_of_the_client_behind_the_proxy(start, replicas):
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 proxy-protocol", "max-connections-per-client = 1", "health = off")
    port = int([line for line in ballast.process.lines if "listening on" in line][1].rsplit(":", 1)[1])
    held = socket.create_connection(("127.0.0.1", port), timeout=patience)
    held.sendall(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n" + GET.replace(b"Connection: close\r\n", b""))
    assert held.recv(100).startswith(b"HTTP/1.1 200")
    # The same /64 is the same client; another one is another.
    assert ask(ballast, b"PROXY TCP6 2001:db8::2 ::1 1 2\r\n", port=port).startswith(b"HTTP/1.1 429")
    assert ask(ballast, b"PROXY TCP6 2001:db8:0:1::2 ::1 1 2\r\n", port=port).startswith(b"HTTP/1.1 200")
    held.close()


def test_trusted_peers_speak_for_their_clients(start, replicas):
    ballast = start(replicas[:1], "trusted-proxies = 127.0.0.2 10.0.0.0/8", "access-log = stderr", "forwarded = on")
    chain = b"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\nForwarded: for=203.0.113.9\r\n"
    fields = fields_of(ask(ballast, more=chain, source="127.0.0.2"))
    assert values(fields, "x-forwarded-for") == ["6.6.6.6, 203.0.113.9, 10.1.1.1, 127.0.0.2"]
    assert values(fields, "x-real-ip") == ["203.0.113.9"]
    assert values(fields, "forwarded") == ['for=203.0.113.9, for=127.0.0.2;host="model.test";proto=http']
    ballast.process.line(r"Z 203\.0\.113\.9 \"GET /fields")
    # C17: a stranger's words are lost, underscores and Connection tricks too.
    fields = fields_of(ask(ballast, more=chain + b"X_Forwarded_For: 6.6.6.6\r\nConnection: X-Forwarded-For\r\n"))
    assert values(fields, "x-forwarded-for") == ["127.0.0.1"] and values(fields, "x_forwarded_for") == []
    assert values(fields, "forwarded") == ['for=127.0.0.1;host="model.test";proto=http']


def test_ip_hash_goes_by_the_client_behind_the_proxy(start, replicas):
    ballast = start(replicas, "trusted-proxies = 127.0.0.1", "balance = ip-hash", "health = off")

    def served(client):
        answer = requests.get(ballast.url + "/predict", headers={"X-Forwarded-For": client}, timeout=patience)
        return answer.json()["replica"]

    homes = {number: served(f"203.0.113.{number}") for number in range(30)}
    assert len(set(homes.values())) == 3
    assert all(served(f"203.0.113.{number}") == home for number, home in homes.items())
    # Clients of IPv6 own a /64.
    assert len({served(f"2001:db8:1:2::{number}") for number in range(1, 20)}) == 1
    # The nearest address that is no proxy's counts: what stands before it is a stranger's word.
    assert all(served(f"9.9.9.{number}, 203.0.113.7") == homes[7] for number in range(10))


# UNIX sockets


class LocalServer:
    """An HTTP server on a UNIX socket."""

    def __init__(self, path):
        self.received = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        import threading

        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    head = b""
                    while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                        head += piece
                    self.received.append(head)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlocal")


def ask_local(path, data=GET):
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(patience)
        link.connect(str(path))
        link.sendall(data)
        return read_all(link)


def test_unix_sockets_on_both_sides(start, tmp_path):
    server = LocalServer(tmp_path / "server.sock")
    door = tmp_path / "door.sock"
    ballast = start([], f"listen = unix:{door} mode=600", f"server = local unix:{tmp_path}/server.sock",
                    "access-log = stderr", "health-every = 50ms", "threads = 2")
    assert stat.S_IMODE(os.stat(door).st_mode) == 0o600
    ballast.process.line(rf"listening on unix:{re.escape(str(door))}")
    ballast.wait_for_state("local", "up")
    assert ask_local(door).endswith(b"local")
    ballast.process.line(r'Z unix "GET /fields HTTP/1.1" 200 default/local')
    sent = next(head for head in server.received if b"/fields" in head)
    assert b"Host: model.test\r\n" in sent and b"X-Forwarded-For" not in sent and b"X-Real-IP" not in sent
    assert any(b"Host: localhost\r\n" in head for head in server.received if b"/health" in head)
    assert requests.get(ballast.url + "/fields", timeout=patience).text == "local"
    # The server goes: refused at once, and again when it is back.
    server.listener.close()
    os.unlink(tmp_path / "server.sock")
    ballast.wait_for_state("local", "down")
    assert ask_local(door).startswith(b"HTTP/1.1 503")
    LocalServer(tmp_path / "server.sock")
    ballast.wait_for_state("local", "up")
    assert ask_local(door).endswith(b"local")
    ballast.process.signal(15)
    assert ballast.process.wait() == 0
    assert not door.exists()


def test_a_unix_socket_is_taken_over_from_the_dead_and_from_nobody_else(start, tmp_path, replicas):
    door = tmp_path / "door.sock"
    first = start(replicas[:1], f"listen = unix:{door}", "health = off")
    second = subprocess.run([binary, "-l", f"unix:{door}", "127.0.0.1:1"], capture_output=True, text=True, timeout=patience)
    assert second.returncode == 1 and "another process listens there" in second.stderr
    assert ask_local(door).startswith(b"HTTP/1.1 200")
    first.process.signal(9)
    first.process.wait()
    assert door.exists()
    start(replicas[:1], f"listen = unix:{door}", "health = off")
    assert ask_local(door).startswith(b"HTTP/1.1 200")
    # What is no socket is not removed.
    (tmp_path / "file").write_text("mine")
    third = subprocess.run([binary, "-l", f"unix:{tmp_path}/file", "127.0.0.1:1"], capture_output=True, text=True,
                           timeout=patience)
    assert third.returncode == 1 and "file exists" in third.stderr and (tmp_path / "file").read_text() == "mine"
    checked = subprocess.run([binary, "-t", "-l", f"unix:{tmp_path}/none/x.sock", "127.0.0.1:1"], capture_output=True, text=True,
                             timeout=patience)
    assert checked.returncode == 2 and "no such file or directory" in checked.stderr


def test_a_unix_socket_comes_and_goes_by_reload(start, tmp_path, replicas):
    door = tmp_path / "door.sock"
    ballast = start(replicas[:1], "health = off")
    ballast.reload(replicas[:1], "health = off", f"listen = unix:{door}")
    assert ask_local(door).startswith(b"HTTP/1.1 200")
    held = socket.socket(socket.AF_UNIX)
    held.connect(str(door))
    ballast.reload(replicas[:1], "health = off")
    wait_until(lambda: not door.exists(), "its file to go")
    # Who has connected is served.
    held.settimeout(patience)
    held.sendall(GET)
    assert read_all(held).startswith(b"HTTP/1.1 200")


def test_who_may_connect_changes_by_reload(start, tmp_path, replicas):
    door = tmp_path / "door.sock"
    ballast = start(replicas[:1], "health = off", f"listen = unix:{door} mode=666")
    assert stat.S_IMODE(os.stat(door).st_mode) == 0o666
    ballast.reload(replicas[:1], "health = off", f"listen = unix:{door} mode=600")
    assert stat.S_IMODE(os.stat(door).st_mode) == 0o600
    assert ask_local(door).startswith(b"HTTP/1.1 200")


def test_a_page_on_a_unix_socket_goes_with_ballast(tmp_path, replicas):
    page, file = tmp_path / "page.sock", tmp_path / "x.ini"
    file.write_text(f"listen = 127.0.0.1:0\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = unix:{page}\n")
    process = Process([binary, "-c", file], stream="stderr")
    process.line("is ready")
    assert b"ballast_build_info" in ask_local(page, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    process.signal(15)
    assert process.wait() == 0 and not page.exists()


def test_a_socket_of_a_user_is_that_users(tmp_path, replicas):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = tmp_path / "run"
    folder.mkdir()
    for each in (folder, *list(folder.parents)[:3]):
        os.chmod(each, 0o777)
    door, file = folder / "door.sock", tmp_path / "x.ini"
    file.write_text(f"listen = unix:{door}\nuser = nobody\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = off\n")
    process = Process([binary, "-c", file], stream="stderr")
    process.line("is ready")
    assert os.stat(door).st_uid != 0
    ask = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "curl", "-s", "--unix-socket", door, "http://a/predict"]
    assert b"replica" in subprocess.run(ask, capture_output=True, timeout=patience).stdout
    process.signal(15)
    assert process.wait() == 0 and not door.exists()


def test_a_full_line_of_a_unix_server_is_waited_for(start, tmp_path):
    """As a connection of TCP would be: up to timeout-connect, and the server is not held guilty."""
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        held = [socket.socket(socket.AF_UNIX)]
        held[0].connect(str(path))
        ballast = start([], f"server = local unix:{path}", "health = off", "timeout-connect = 20s", "eject-after = 1")
        with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as link:
            link.sendall(GET)
            wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "the attempt")
            listener.accept()[0].close()
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            assert read_all(link).endswith(b"ok")
            connection.close()
        assert ballast.metric("ballast_server_state", state="ejected") == 0
        # One that stays full is a time limit reached.
        held.append(socket.socket(socket.AF_UNIX))
        held[1].connect(str(path))
        ballast.reload([], f"server = local unix:{path}", "health = off", "timeout-connect = 200ms")
        assert requests.get(ballast.url, timeout=patience).status_code == 504
        assert ballast.metric("ballast_limits_reached_total", limit="timeout-connect") == 1
        for connection in held:
            connection.close()


def test_a_unix_socket_may_be_trusted(start, tmp_path, replicas):
    door = tmp_path / "door.sock"
    ballast = start(replicas[:1], f"listen = unix:{door}", "trusted-proxies = unix", "access-log = stderr", "health = off")
    answer = ask_local(door, GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n")
    fields = fields_of(answer)
    assert values(fields, "x-forwarded-for") == ["203.0.113.9"] and values(fields, "x-real-ip") == ["203.0.113.9"]
    assert values(fields, "x-forwarded-proto") == ["https"]
    ballast.process.line(r"Z 203\.0\.113\.9 ")


# Field rules


def test_fields_are_set_and_removed(start, replicas):
    ballast = start(
        replicas[:1], "health = off", "served-by = on", 'set-request-header = X-Who "{client} {request-id} {backend}"',
        "set-request-header = X-Where {server}@{host}", "set-request-header = X-Scheme {scheme}",
        'set-request-header = X-Text "a {b c} {} {"', "remove-request-header = Cookie Via",
        'set-response-header = Cache-Control "no-store, private"', "remove-response-header = Server content-type")
    answer = requests.get(ballast.url + "/fields", headers={
        "Cookie": "secret", "X-Who": "me", "X-Request-ID": "my-1", "Host": "model.test:80"}, timeout=patience)
    fields = [(name.lower(), value) for name, value in answer.json()["fields"]]
    assert values(fields, "x-who") == ["127.0.0.1 my-1 default"]
    assert values(fields, "x-where") == [f"127.0.0.1:{replicas[0].port}@model.test:80"]
    assert values(fields, "x-scheme") == ["http"] and values(fields, "x-text") == ["a {b c} {} {"]
    assert values(fields, "cookie") == values(fields, "via") == []
    assert answer.headers["Cache-Control"] == "no-store, private"
    assert "Server" not in answer.headers and "Content-Type" not in answer.headers
    assert answer.headers["X-Served-By"] == f"default/127.0.0.1:{replicas[0].port}"


def test_x_served_by_is_off_unless_asked_for(start, replicas):
    ballast = start(replicas[:1], "health = off")
    assert "X-Served-By" not in requests.get(ballast.url + "/predict", timeout=patience).headers


def test_prefixes_are_taken_off(start, replicas):
    ballast = start(replicas[:1], "health = off", "strip-prefix = /gpu /gpu/one/")
    for path, status in [("/gpu//fields", 404), ("/gpu/fields", 200), ("/gpu/one/fields?x=1", 200), ("/fields", 200), ("/gpufields", 404)]:
        answer = requests.get(ballast.url + path, timeout=patience)
        assert answer.status_code == status, path
        if status == 200 and path != "/fields":
            prefix = dict(answer.json()["fields"])["x-forwarded-prefix"]
            assert prefix == ("/gpu/one" if "one" in path else "/gpu")


def test_a_retry_gets_the_fields_of_its_own_server(start, scripted, replicas):
    """{server} is the one that answers, not the one that died first."""
    def die(connection, _):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    dying = scripted(die)
    ballast = start([dying, replicas[0]], "health = off", "balance = round-robin", "set-request-header = X-Where {server}")
    seen = {dict(requests.get(ballast.url + "/fields", timeout=patience).json()["fields"])["x-where"] for _ in range(4)}
    assert seen == {f"127.0.0.1:{replicas[0].port}"}
    assert f"X-Where: 127.0.0.1:{dying.port}\r\n".encode() in dying.received[0]
