"""Faults of the network between real namespaces. Skipped, and said so, where this machine lets nobody make them."""

import contextlib
import itertools
import queue
import re
import socket
import struct
import subprocess
import threading
import time

import pytest
import requests

from conftest import Process, binary, patience, read_all, wait_until
from spaces import run, space, spaced  # noqa: F401  (fixtures)

QUICK = ("health = off", "balance = round-robin")


def test_R06_a_silent_network_before_the_connection(spaced, space):
    """Every request is served by the other server; the time limit of connecting is counted."""
    ballast = spaced(*QUICK, "timeout-connect = 300ms", "retries = 1")
    space.silence()
    for method in ("GET", "POST"):
        assert [ballast.ask("/predict", method)[0] for _ in range(4)] == [200] * 4
    assert ballast.metric("ballast_limits_reached_total", limit="timeout-connect") >= 1
    assert ballast.metric("ballast_retries_total", reason="connect_timeout") >= 1
    assert ballast.metric("ballast_request_errors_total") == 0


def test_R07_a_network_that_falls_silent_in_a_body(spaced, space):
    ballast = spaced("health = off", "timeout-idle = 1s", near=0)
    link = space.connect(space.p, ("127.0.0.1", ballast.port), b"POST /ticks/1000/20 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    while b"data: 3" not in link.recv(65536):
        pass
    # What ballast acknowledges is lost, so the replica's window and its patience end.
    space.silence()
    space.link("down")
    rest = read_all(link)
    assert not rest.endswith(b"0\r\n\r\n")
    assert ballast.metric("ballast_request_errors_total", reason="truncated") == 1
    assert ballast.metric("ballast_request_errors_total", reason="idle_timeout") == 1


def test_R09_no_route_is_no_wait(spaced, space):
    """Told at once: nobody waits for timeout-connect, which is longer than this test's patience."""
    ballast = spaced(*QUICK, "timeout-connect = 1h", "server = lost 10.8.0.2:80", far=0)
    run("ip", "-n", space.p, "route", "add", "unreachable", "10.8.0.0/24")
    assert [ballast.ask("/predict", "POST")[0] for _ in range(6)] == [200] * 6
    assert ballast.metric("ballast_retries_total", reason="connect") >= 3
    # It is held against that server, not taken for a need of ballast's own.
    wait_until(lambda: ballast.ask("/predict")[0] == 200 and ballast.metric("ballast_server_state", server="lost", state="ejected"),
               "the server without a route to be ejected")


def test_N05_a_link_that_flaps(spaced, space):
    ballast = spaced("health-every = 200ms", "health-timeout = 300ms", near=1, far=2)
    ballast.wait_up(3)
    space.link("down")
    wait_until(lambda: sum("is down" in line or "is busy" in line for line in ballast.process.lines) >= 2, "both to be missed")
    assert [ballast.ask("/predict")[0] for _ in range(4)] == [200] * 4
    space.link("up")
    ballast.wait_up(3)
    assert [ballast.ask("/predict")[0] for _ in range(6)] == [200] * 6


def test_C06_a_client_whose_machine_is_gone(spaced, space):
    """One that waits for an answer: nothing is sent to it, so only probes find out. One that was reading: what is sent stays
    unanswered. Both are given up, and with them their requests."""
    ballast = spaced("health = off", "timeout-client = 1s", "listen = 10.9.1.1:0", far=0)
    port = int(ballast.process.line(r"listening on 10\.9\.1\.1:(\d+)")[1])
    waiting = space.connect(space.c, ("10.9.1.1", port), b"GET /work/600000 HTTP/1.1\r\nHost: a\r\n\r\n")
    reading = space.connect(space.c, ("10.9.1.1", port), b"GET /endless/vanished HTTP/1.1\r\nHost: a\r\n\r\n")
    assert reading.recv(100)
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 2, "both to run")
    space.silence("10.9.1.2", "vc")
    run("ip", "-n", space.c, "link", "set", "v0", "down")

    # timeout-client and 20 s are what a client's silence may last.
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 0, "both to be given up", most=3 * patience)
    assert ballast.metric("ballast_client_aborts_total") + ballast.metric("ballast_request_errors_total", reason="write_timeout") == 2
    waiting.close()
    reading.close()


def test_N01_a_narrow_line_to_the_client(spaced, space):
    ballast = spaced("health = off", "timeout-client = 2s", "listen = 10.9.1.1:0", far=0)
    port = int(ballast.process.line(r"listening on 10\.9\.1\.1:(\d+)")[1])
    space.slow_down("vc", "1mbit")
    status, body = space.get(space.c, ("10.9.1.1", port), "/bytes/400000")
    assert status == 200 and body == (bytes(range(256)) * 2000)[:400_000]
    assert ballast.metric("ballast_request_errors_total") == 0
    assert ballast.metric("process_resident_memory_bytes") < 100 << 20


def test_N02_lost_packets(spaced, space):
    ballast = spaced("health = off", near=0)
    space.lose(2)
    for number in range(60):
        status, body = ballast.ask(f"/bytes/{20_000 + number}")
        assert status == 200 and len(body) == 20_000 + number
        assert ballast.ask("/echo", "POST", b"x" * 30_000)[0] == 200
    assert ballast.metric("ballast_request_errors_total") == 0


class Relay:
    """Passes bytes on, 100 ms later."""

    def __init__(self, target):
        self.target, self.listener = target, socket.create_server(("127.0.0.1", 0))
        self.port, self.connections = self.listener.getsockname()[1], 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.connections += 1
                far = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((near, far), (far, near)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    def carry(self, source, sink):
        pieces = queue.Queue()
        threading.Thread(target=self.deliver, args=(pieces, sink), daemon=True).start()
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                pieces.put((time.monotonic() + 0.1, piece))

    def deliver(self, pieces, sink):
        with contextlib.suppress(OSError):
            while True:
                due, piece = pieces.get()
                time.sleep(max(0, due - time.monotonic()))
                sink.sendall(piece)


def test_N03_a_long_line_is_used_again(start, replicas):
    """Six requests, one after the other, over 200 ms there and back: one connection."""
    relay = Relay(replicas[0].port)
    ballast = start([relay.port], "health = off", "threads = 1")
    session = requests.Session()
    assert [session.get(ballast.url + "/predict", timeout=patience).status_code for _ in range(6)] == [200] * 6
    assert relay.connections == 1


# Names


class NameServer:
    """Answers questions for addresses as it is told."""

    numbers = itertools.count(1)

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = f"127.0.53.{next(self.numbers)}"
        self.socket.bind((self.address, 53))
        self.behave, self.addresses, self.asked = "answer", ["127.0.0.1"], 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(1500)
            except OSError:
                return
            self.asked += 1
            for reply in self.replies(question):
                self.socket.sendto(reply, peer)

    def replies(self, question):
        ident, end = question[:2], question.index(b"\0", 12) + 5
        asked, kind = question[12:end], struct.unpack("!H", question[end - 4:end - 2])[0]
        addresses = self.addresses if kind == 1 else []
        records = b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(each) for each in addresses)

        def reply(flags, count=0, body=b"", ident=ident):
            return ident + struct.pack("!HHHHH", flags, 1, count, 0, 0) + asked + body

        return {
            "answer": [reply(0x8180, len(addresses), records)], "servfail": [reply(0x8182)], "nxdomain": [reply(0x8183)],
            "nothing": [], "truncated": [reply(0x8380)], "garbage": [b"\xff" * 40],
            "forged": [reply(0x8180, 1, struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton("9.9.9.9"),
                             bytes([ident[0] ^ 1, ident[1]])), reply(0x8180, len(addresses), records)],
        }[self.behave]


@pytest.fixture
def names(tmp_path):
    """A name server of our own, and how to start a ballast that asks it and no other."""
    try:
        server = NameServer()
    except OSError as error:
        pytest.skip(f"no name server can be run here: {error}")
    (tmp_path / "resolv.conf").write_text(f"nameserver {server.address}\noptions timeout:1 attempts:1\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    # Seen by this process tree alone.
    mounts = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && mount --bind {tmp_path}/hosts /etc/hosts"
    prefix = ("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("files cannot be hidden from a process here (unshare -m)")
    yield server, prefix
    server.socket.close()


def test_N08_names_that_cannot_be_looked_up(start, names, replicas):
    """The last addresses are kept, and nobody's request waits for a name."""
    server, prefix = names
    settings = (f"servers = model.test:{replicas[0].port}", "health = off")
    ballast = start([], *settings, prefix=prefix)
    ask = lambda: requests.get(ballast.url + "/predict", timeout=patience).status_code  # noqa: E731
    assert ask() == 200 and server.asked > 0
    for behaviour in ("servfail", "nxdomain", "nothing", "truncated", "garbage"):
        server.behave = behaviour
        ballast.process.signal(1)
        refusals = sum("configuration is refused" in line for line in ballast.process.lines)
        assert ask() == 200
        wait_until(lambda: sum("configuration is refused" in line for line in ballast.process.lines) > refusals,
                   f"a reload to be refused after {behaviour}")
        assert ask() == 200
    assert ballast.metric("ballast_config_last_reload_successful") == 0
    # An answer to another question is no answer.
    server.behave, server.addresses = "forged", ["127.0.0.1", "127.0.0.2"]
    ballast.reload()
    assert not any("9.9.9.9" in line for line in ballast.process.lines)
    servers = {re.search(r'server="([^"]+)"', name)[1] for name in ballast.metrics() if "server_up{" in name}
    assert servers == {f"127.0.0.1:{replicas[0].port}", f"127.0.0.2:{replicas[0].port}"}


def test_N08_many_addresses(start, names, replicas):
    server, prefix = names
    server.addresses = [f"127.0.1.{number}" for number in range(1, 28)]
    ballast = start([], f"servers = model.test:{replicas[0].port}", "health = off", prefix=prefix)
    assert sum("server_up{" in name for name in ballast.metrics()) == 27


# A machine with less than usual


def test_S12_a_machine_without_ipv6(space, tmp_path):
    """:PORT is then every address of IPv4."""
    run("ip", "netns", "exec", space.p, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    process = Process(["ip", "netns", "exec", space.p, binary, "-l", ":8123", "127.0.0.1:1"], stream="stderr")
    try:
        process.line("is ready")
        assert space.get(space.p, ("127.0.0.1", 8123), "/")[0] in (502, 503)
    finally:
        process.kill()


def test_S12_a_machine_without_names_and_with_a_root_that_nobody_writes(start, replicas):
    """No resolv.conf, no host name, nothing to write to: none of it is needed."""
    hide = ("mount --bind /dev/null /etc/resolv.conf && mount --bind /dev/null /etc/hostname && hostname '' ; "
            "mount -o remount,ro,bind / ; exec \"$@\"")
    prefix = ("unshare", "-m", "-u", "sh", "-c", hide, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("a machine cannot be made poor here (unshare -m -u)")
    ballast = start(replicas[:1], prefix=prefix)
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
