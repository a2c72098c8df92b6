"""Network namespaces: ballast in one, a replica and a client each in another, and the wires between them at hand."""

import ctypes
import os
import re
import socket
import subprocess
import threading

import pytest

from conftest import Ballast, Process, patience, read_all, root, wait_until

libc = ctypes.CDLL(None, use_errno=True)
# A neighbour's address that nobody has: what is sent there is lost.
NOBODY = "02:00:00:00:00:99"


def run(*words, check=True):
    return subprocess.run(words, capture_output=True, text=True, check=check)


class Space:
    """ballast at 10.9.0.1 towards its replica at 10.9.0.2, and at 10.9.1.1 towards its client at 10.9.1.2."""

    def __init__(self):
        stem = f"bal{os.getpid()}"
        self.p, self.r, self.c = f"{stem}p", f"{stem}r", f"{stem}c"
        try:
            for name in (self.p, self.r, self.c):
                run("ip", "netns", "add", name)
            self.join("vr", self.r, "10.9.0")
            self.join("vc", self.c, "10.9.1")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.end()
            pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', error)}")

    def join(self, wire, other, prefix):
        run("ip", "link", "add", wire, "netns", self.p, "type", "veth", "peer", "name", "v0", "netns", other)
        for name, device, end in ((self.p, wire, 1), (other, "v0", 2)):
            run("ip", "-n", name, "addr", "add", f"{prefix}.{end}/24", "dev", device)
            run("ip", "-n", name, "link", "set", device, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def end(self):
        for name in (self.p, self.r, self.c):
            run("ip", "netns", "del", name, check=False)

    # Faults of the wire, seen from ballast

    def silence(self, address="10.9.0.2", wire="vr"):
        """What ballast sends there is lost."""
        run("ip", "-n", self.p, "neigh", "replace", address, "lladdr", NOBODY, "dev", wire, "nud", "permanent")

    def heal(self, address="10.9.0.2", wire="vr"):
        run("ip", "-n", self.p, "neigh", "del", address, "dev", wire)

    def link(self, state):
        run("ip", "-n", self.r, "link", "set", "v0", state)

    def slow_down(self, wire, rate):
        run("tc", "-n", self.p, "qdisc", "add", "dev", wire, "root", "tbf", "rate", rate, "burst", "10kb", "latency", "50ms")

    def lose(self, percent):
        """Of what ballast sends and of what comes back, so many packets in a hundred are lost."""
        for name in (self.p, self.r):
            for words in (["add", "table", "ip", "t"], ["add", "chain", "ip", "t", "o", "{ type filter hook output priority 0; }"],
                          ["add", "rule", "ip", "t", "o", "oifname", "v*", "numgen", "random", "mod", "100", "<", str(percent), "drop"]):
                result = run("ip", "netns", "exec", name, "nft", *words, check=False)
                if result.returncode != 0:
                    pytest.skip(f"nft cannot drop packets here: {result.stderr}")

    # Who lives there

    def connect(self, name, address, data=b""):
        """A socket of a namespace, for this process: they stay where they were made."""
        made = []

        def make():
            with open(f"/run/netns/{name}") as space:
                if libc.setns(space.fileno(), 0x40000000) != 0:
                    return
            made.append(socket.create_connection(address, timeout=patience))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, f"no connection to {address} from {name}"
        made[0].sendall(data)
        return made[0]

    def get(self, name, address, path, method="GET", body=b""):
        """Status and body of one request from a namespace."""
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        with self.connect(name, address, head.encode() + body) as link:
            data = read_all(link)
        return int(data.split(b" ", 2)[1]), data.split(b"\r\n\r\n", 1)[1]

    def replica(self, space, host, name):
        process = Process(["ip", "netns", "exec", space, "/usr/bin/python3", root / "Tests/EndToEnd/replica.py", name, f"{host}:0"])
        port = int(process.line(r"^(\d+)$")[1])
        return process, f"{host}:{port}"


class SpacedBallast(Ballast):
    """A ballast in a namespace; it is asked from within, unless said otherwise."""

    def __init__(self, space, folder, *settings):
        self.space = space
        super().__init__(folder, [], *settings, prefix=("ip", "netns", "exec", space.p))

    def page(self, path):
        port = int(re.search(r":(\d+)$", self.stats)[1])
        return self.space.get(self.space.p, ("127.0.0.1", port), path)[1].decode()

    def ask(self, path, method="GET", body=b""):
        return self.space.get(self.space.p, ("127.0.0.1", self.port), path, method, body)

    def wait_up(self, count):
        def states():
            return {name for name, value in self.metrics().items() if "server_state" in name and value}

        wait_until(lambda: sum('state="up"' in name for name in states()) == count, f"{count} servers up")


@pytest.fixture
def space():
    made = Space()
    yield made
    made.end()


@pytest.fixture
def spaced(space, tmp_path):
    """Starts a ballast with replicas: `near` beside it, `far` behind the wire."""
    running = []

    def begin(*settings, near=1, far=1):
        servers = []
        for number in range(near):
            servers.append(space.replica(space.p, "127.0.0.1", f"near{number}"))
        for number in range(far):
            servers.append(space.replica(space.r, "10.9.0.2", f"far{number}"))
        running.extend(process for process, _ in servers)
        lines = [f"server = {'near' if place.startswith('127') else 'far'}{number} {place}"
                 for number, (_, place) in enumerate(servers)]
        ballast = SpacedBallast(space, tmp_path, *lines, *settings)
        running.append(ballast.process)
        ballast.places = [place for _, place in servers]
        return ballast

    yield begin
    for process in running:
        process.kill()
