"""A random walk through faults, under load that checks every byte. After each step all must be as if nothing had been.
Half of the clients, and half of the replicas, speak TLS.

usage: walk.py [--seed N] [--minutes M] [--binary PATH] [--clients N]
"""

import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

root = pathlib.Path(__file__).resolve().parents[2]
NONCES = "abcdefghijklmnopqrstuvwxyz0123456789"
REPLICAS = 4
SETTLED = 1.0
PATIENCE = 40


# Certificates change while the walk goes on; who they are from is tested elsewhere.
UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


class Cut(Exception):
    """The answer ended before its end, and could be seen to."""


class Broken(Exception):
    """A promise was broken."""


def body_of(nonce, size):
    unit = nonce.encode() + b"."
    return (unit * (size // len(unit) + 1))[:size]


# The world


def make_certificate(folder):
    """A new one for localhost, with its key, in the place of the last."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-keyout", folder / "new.key", "-out", folder / "new.pem", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    (folder / "new.key").chmod(0o600)
    # In between the two are no pair, which nobody may notice.
    (folder / "new.pem").rename(folder / "walk.pem")
    (folder / "new.key").rename(folder / "walk.key")


class Replica:
    def __init__(self, folder, number):
        self.number, self.books, self.folder = number, folder / f"books-{number}", folder
        self.is_secure = number % 2 == 1
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.start()

    def start(self):
        script = pathlib.Path(__file__).with_name("walk_replica.py")
        secure = [self.folder / "replica.pem", self.folder / "replica.key"] if self.is_secure else []
        self.process = subprocess.Popen([sys.executable, script, str(self.port), self.books, *secure], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def tell(self, **mode):
        path = "/".join(f"{name}={value}" for name, value in mode.items())
        # One that was killed meanwhile has forgotten what it was told.
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http{'s' * self.is_secure}://127.0.0.1:{self.port}/mode/{path}", timeout=PATIENCE,
                                   context=UNVERIFIED if self.is_secure else None).read()

    @property
    def line(self):
        place = f"https://localhost:{self.port}" if self.is_secure else f"127.0.0.1:{self.port}"
        return f"server = r{self.number} {place}"


class Ballast:
    def __init__(self, folder, binary, replicas):
        self.file, self.binary, self.replicas, self.folder = folder / "walk.ini", binary, replicas, folder
        with contextlib.ExitStack() as held:
            probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            self.port, self.stats, self.secure_port = (probe.getsockname()[1] for probe in probes)
        self.settings = {}
        self.start()

    def write(self, servers=None, **settings):
        self.settings = {
            "listen": f"127.0.0.1:{self.port}", "threads": "2", "maxconn": "8", "queue": "500", "timeout-queue": "6s",
            "timeout-connect": "1s", "timeout-response": "5s", "timeout-idle": "4s", "timeout-client": "5s",
            "timeout-tunnel": "5s", "health-every": "200ms", "health-timeout": "500ms", "eject-for": "500ms",
            "access-log": str(self.folder / "access.log"), "shutdown-timeout": "5s", "timeout-head": "3s", **settings}
        lines = [f"{key} = {value}" for key, value in self.settings.items()]
        lines += servers or [replica.line for replica in self.replicas]
        lines += [f"listen = 127.0.0.1:{self.secure_port} tls", f"tls-ca = {self.folder}/replica.pem", "certificate-check = 1s",
                  "[tls]", f"certificate = {self.folder}/walk.pem", f"key = {self.folder}/walk.key"]
        self.file.write_text("\n".join([*lines, "[stats]", f"listen = 127.0.0.1:{self.stats}"]) + "\n")

    def start(self):
        self.write()
        self.log = open(self.folder / "ballast.log", "a")
        self.process = subprocess.Popen([self.binary, "-c", self.file], stderr=self.log)

    def metrics(self):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.stats}/metrics", timeout=PATIENCE).read().decode()
        samples = collections.defaultdict(float)
        for line in text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def sum(self, samples, name, *labels):
        return sum(value for sample, value in samples.items()
                   if sample.split("{")[0] == name and all(label in sample for label in labels))


# Load


class Client:
    """One client after the other, each with something to ask."""

    def __init__(self, walk, seed):
        self.walk, self.random = walk, random.Random(seed)

    def nonce(self):
        return "".join(self.random.choices(NONCES, k=20))

    async def run(self):
        while not self.walk.is_paused:
            began = time.monotonic()
            kind = self.random.choices(list(self.KINDS), weights=[weight for weight, _ in self.KINDS.values()])[0]
            nonce = self.nonce()
            writer = None
            try:
                secure = self.random.random() < 0.5
                port = self.walk.ballast.secure_port if secure else self.walk.ballast.port
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection("127.0.0.1", port, limit=1 << 20, ssl=UNVERIFIED if secure else None), PATIENCE)
                outcome = await asyncio.wait_for(self.KINDS[kind][1](self, reader, writer, nonce), PATIENCE)
            except asyncio.TimeoutError as error:
                self.walk.complain(f"{kind} {nonce}: {error!r}")
                outcome = "broken"
            except (Cut, OSError, asyncio.IncompleteReadError) as error:
                outcome = f"cut ({error})"
            except (asyncio.LimitOverrunError, Broken, ValueError) as error:
                self.walk.complain(f"{kind} {nonce}: {error!r}")
                outcome = "broken"
            finally:
                if writer:
                    # Python's TLS waits for an answer to its goodbye.
                    if secure:
                        writer.transport.abort()
                    else:
                        writer.close()
            self.walk.note(kind, nonce, outcome, began)
            await asyncio.sleep(self.random.random() * 0.05)

    async def ask(self, writer, method, path, nonce, body=None, is_chunked=False, more=""):
        head = f"{method} {path} HTTP/1.1\r\nHost: walk.test\r\nX-Request-ID: {nonce}\r\n{more}"
        if body is None:
            writer.write((head + "\r\n").encode())
        elif is_chunked:
            writer.write((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            for start in range(0, len(body), 7000):
                piece = body[start:start + 7000]
                writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\nX-Sum: 1\r\n\r\n")
        else:
            writer.write((head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
        await writer.drain()

    async def head(self, reader, nonce):
        """The final head; every one says whose answer it is."""
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
            if status >= 200 or status == 101:
                break
        self.closes = fields.get("connection") == "close"
        if fields.get("x-request-id") != nonce:
            raise Broken(f"the answer belongs to {fields.get('x-request-id')}")
        return status, fields

    async def answer(self, reader, nonce):
        status, fields = await self.head(reader, nonce)
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                if line != f"X-Nonce: {nonce}\r\n".encode():
                    raise Broken(f"another's trailer: {line}")
            return status, body
        return status, await reader.readexactly(int(fields["content-length"]))

    def check(self, status, body, expected):
        if status == 200 and body != expected:
            raise Broken(f"{len(body)} bytes came as whole, {len(expected)} were meant, or another's")
        return str(status)

    async def get(self, reader, writer, nonce):
        kind, size = self.random.choice(["get", "chunk"]), self.random.choice([0, 1, 100, 5000, 200_000])
        await self.ask(writer, "GET", f"/{kind}/{nonce}/{size}", nonce)
        return self.check(*await self.answer(reader, nonce), body_of(nonce, size))

    async def several(self, reader, writer, nonce):
        """Pipelined, answered in order."""
        nonces = [nonce, self.nonce(), self.nonce()]
        for each in nonces:
            await self.ask(writer, "GET", f"/get/{each}/300", each)
        outcomes = []
        for each in nonces:
            try:
                outcomes.append(self.check(*await self.answer(reader, each), body_of(each, 300)))
            except asyncio.IncompleteReadError as error:
                # Whoever was told that the connection closes behind an answer asks the rest again.
                if error.partial or not outcomes or not self.closes:
                    raise
                break
        return max(outcomes)

    async def post(self, reader, writer, nonce):
        body = body_of(nonce, self.random.choice([0, 10, 3000, 60_000, 700_000]))
        await self.ask(writer, "POST", f"/post/{nonce}", nonce, body, is_chunked=self.random.random() < 0.4)
        expected = f"{nonce} {hashlib.sha256(body).hexdigest()}".encode()
        outcome = self.check(*await self.answer(reader, nonce), expected)
        if outcome == "200":
            self.walk.answered.append(nonce)
        return outcome

    async def events(self, reader, writer, nonce):
        count = self.random.randint(1, 40)
        await self.ask(writer, "POST", f"/sse/{nonce}/{count}/{self.random.choice([0, 5, 40])}", nonce, b"{}")
        expected = b"".join(f"data: {nonce} {number}\n\n".encode() for number in range(count))
        outcome = self.check(*await self.answer(reader, nonce), expected)
        if outcome == "200":
            self.walk.answered.append(nonce)
        return outcome

    async def tunnel(self, reader, writer, nonce):
        await self.ask(writer, "GET", f"/ws/{nonce}", nonce, more="Connection: Upgrade\r\nUpgrade: websocket\r\n")
        status, fields = await self.head(reader, nonce)
        if status != 101:
            await reader.readexactly(int(fields.get("content-length", 0)))
            return str(status)
        for number in range(self.random.randint(1, 20)):
            writer.write(b"%d\n" % number)
            await writer.drain()
            line = await reader.readline()
            if line != f"{nonce} {number}\n".encode():
                if line and f"{nonce} {number}\n".encode().startswith(line) or not line:
                    raise Cut("tunnel")
                raise Broken(f"another's line: {line}")
        # Python's TLS knows no half-closed connections.
        if writer.can_write_eof() and self.random.random() < 0.5:
            writer.write_eof()
            if await reader.read() != b"":
                raise Broken("more than was said")
        return "200"

    async def leave(self, reader, writer, nonce):
        """Goes at any moment, by FIN or reset; whatever was begun must end."""
        writer.write(f"POST /sse/{nonce}/200/20 HTTP/1.1\r\nHost: walk.test\r\nX-Request-ID: {nonce}\r\n"
                     f"Content-Length: 50000\r\n\r\n".encode() + bytes(self.random.choice([0, 100, 50_000])))
        await asyncio.sleep(self.random.choice([0, 0.001, 0.01, 0.1, 0.4]))
        link = writer.get_extra_info("socket")
        # Of TLS it is gone with the connection, which may have ended by itself.
        if link and self.random.random() < 0.5:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "left"

    async def crawl(self, reader, writer, nonce):
        """Reads slowly, but fast enough."""
        await self.ask(writer, "GET", f"/get/{nonce}/200000", nonce)
        status, fields = await self.head(reader, nonce)
        body = b""
        while len(body) < int(fields["content-length"]):
            piece = await reader.read(20_000)
            if not piece:
                raise Cut("crawl")
            body += piece
            await asyncio.sleep(0.03)
        return self.check(status, body, body_of(nonce, 200_000))

    async def nonsense(self, reader, writer, nonce):
        bytes_, status = self.random.choice([
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"), (b"\x16\x03\x01\x02\x00", b"400"),
            (b"GET /ok HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"), (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", b"405")])
        writer.write(bytes_)
        line = await reader.readline()
        if line and not line.startswith(b"HTTP/1.1 " + status):
            raise Broken(f"{bytes_[:40]} was answered with {line}")
        return "refused"

    KINDS = {"get": (40, get), "several": (8, several), "post": (25, post), "events": (10, events), "tunnel": (6, tunnel),
             "leave": (8, leave), "crawl": (2, crawl), "nonsense": (3, nonsense)}


# The walk


class Walk:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ballast-walk-"))
        make_certificate(self.folder)
        for kind in ("pem", "key"):
            (self.folder / f"replica.{kind}").write_bytes((self.folder / f"walk.{kind}").read_bytes())
        make_certificate(self.folder)
        self.replicas = [Replica(self.folder, number) for number in range(REPLICAS)]
        self.ballast = Ballast(self.folder, options.binary, self.replicas)
        self.complaints, self.answered = [], []
        self.outcomes = collections.Counter()
        self.is_paused, self.quiet_since = True, None
        self.steps = 0
        self.history = []

    def complain(self, text):
        self.complaints.append(f"seed {self.options.seed}, step {self.steps} ({self.step_name}): {text}")

    def note(self, kind, nonce, outcome, began):
        self.outcomes[f"{kind} {outcome.split(' ')[0]}"] += 1
        is_good = outcome in ("200", "left", "refused")
        if not is_good and self.quiet_since is not None and began > self.quiet_since + SETTLED:
            self.complain(f"{kind} {nonce} ended with {outcome} while nothing was wrong")

    # Faults: each is begun, lasts, and is healed.

    def killed(self):
        replica = self.random.choice(self.replicas)
        replica.kill()
        return replica.start

    def frozen(self):
        replica = self.random.choice(self.replicas)
        replica.process.send_signal(signal.SIGSTOP)
        return lambda: replica.process.send_signal(signal.SIGCONT)

    def all_frozen(self):
        for replica in self.replicas:
            replica.process.send_signal(signal.SIGSTOP)
        return lambda: [replica.process.send_signal(signal.SIGCONT) for replica in self.replicas]

    def all_killed(self):
        for replica in self.replicas:
            replica.kill()
        return lambda: [replica.start() for replica in self.replicas]

    def misbehaving(self):
        replica = self.random.choice(self.replicas)
        names = self.random.sample(["reset", "cut", "garbage", "fail", "refuse", "early", "stale"], 2)
        replica.tell(**{name: self.random.choice([5, 30, 100]) for name in names}, slow=self.random.choice([0, 200]))
        return replica.tell

    def reloading(self):
        """Settings and servers change; nothing of it is anybody's fault, so nothing may fail."""
        def change(servers=None):
            self.ballast.write(servers, **{
                "maxconn": self.random.choice(["4", "8", "0"]), "balance": self.random.choice(
                    ["least-connections", "round-robin", "random", "ip-hash"]),
                "retries": self.random.choice(["0", "1", "2"]), "pool-size": self.random.choice(["0", "1", "128"]),
                "slow-start": self.random.choice(["0", "1s"]), "body-buffer": self.random.choice(["0", "10k", "1m"])})
            self.ballast.process.send_signal(signal.SIGHUP)

        members = self.random.sample(self.replicas, self.random.randint(2, REPLICAS))
        change([replica.line for replica in members])
        return change

    def rotated(self):
        """A new certificate, which is nobody's fault either."""
        make_certificate(self.folder)
        return lambda: None

    def misconfigured(self):
        self.ballast.file.write_text(self.random.choice(["listen = nowhere\n", "", "listen = :1\nservers = no-such.invalid:1\n"]))
        self.ballast.process.send_signal(signal.SIGHUP)

        return self.configure

    def configure(self):
        """As it is meant to be."""
        self.ballast.write()
        self.ballast.process.send_signal(signal.SIGHUP)

    def starved(self):
        """Hardly a descriptor is left."""
        pid = str(self.ballast.process.pid)
        most = self.random.randint(5, 60) + len(os.listdir(f"/proc/{pid}/fd")) // 2
        subprocess.run(["prlimit", f"--nofile={most}:20000", "--pid", pid], check=True)
        return lambda: subprocess.run(["prlimit", "--nofile=20000:20000", "--pid", pid], check=True)

    def sockets_killed(self):
        """As a network that forgets connections does."""
        port = self.random.choice([self.ballast.port, *(replica.port for replica in self.replicas)])
        subprocess.run(["ss", "-K", "dst", "127.0.0.1", "dport", "=", str(port)], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return lambda: None

    def crowded(self):
        """Connections that say nothing, or half a head."""
        held = []
        for _ in range(300):
            link = socket.create_connection(
                ("127.0.0.1", self.random.choice([self.ballast.port, self.ballast.secure_port])))
            nonce = "".join(self.random.choices(NONCES, k=20))
            half = f"POST /post/{nonce} HTTP/1.1\r\nHost: walk.test\r\nX-Request-ID: {nonce}\r\nContent-Length: 9\r\n\r\n"
            link.sendall(self.random.choice([b"", b"GET / HT", half.encode()]))
            held.append(link)
        return lambda: [link.close() for link in held]

    def stopped(self):
        """ballast itself stands still for a while."""
        self.ballast.process.send_signal(signal.SIGSTOP)
        return lambda: self.ballast.process.send_signal(signal.SIGCONT)

    def log_lost(self):
        self.ballast.write(**{"access-log": "/dev/full"})
        self.ballast.process.send_signal(signal.SIGHUP)
        return self.configure

    def reopened(self):
        log = self.folder / "access.log"
        if log.exists():
            log.rename(self.folder / "access.log.1")
        self.ballast.process.send_signal(signal.SIGUSR1)
        return lambda: None

    HARMLESS = {"reloading", "rotated", "misconfigured", "reopened", "log_lost"}
    FAULTS = ["killed", "frozen", "all_frozen", "all_killed", "misbehaving", "misbehaving", "misbehaving", "reloading", "reloading",
              "misconfigured", "starved", "sockets_killed", "crowded", "stopped", "log_lost", "reopened",
              "rotated", "rotated"]

    # Steps

    async def step(self):
        self.steps += 1
        names = [self.random.choice(self.FAULTS)]
        if self.random.random() < 0.3:
            names.append(self.random.choice([name for name in self.FAULTS if name not in names and "all" not in name]))
        if "stopped" in names:
            names = ["stopped"]
        self.step_name = " + ".join(names)
        self.is_paused = False
        if not set(names) <= self.HARMLESS:
            self.quiet_since = None
        work = [asyncio.create_task(Client(self, self.random.random()).run()) for _ in range(self.options.clients)]
        await asyncio.sleep(0.3)
        heals = []
        for name in names:
            heals.append(await asyncio.to_thread(getattr(self, name)))
            await asyncio.sleep(self.random.random())
        await asyncio.sleep(self.random.choice([0.1, 0.5, 1, 3]))
        for heal in reversed(heals):
            await asyncio.to_thread(heal)
        await self.settle()
        self.quiet_since = self.quiet_since or time.monotonic()
        # With nothing wrong, everything succeeds.
        await asyncio.sleep(SETTLED + 1)
        self.is_paused = True
        await asyncio.gather(*work)
        await asyncio.to_thread(self.reckon)

    async def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            value = await asyncio.to_thread(condition)
            if value is True:
                return
            await asyncio.sleep(0.05)
        raise Broken(f"{what}: {value}")

    async def settle(self):
        """Every server is in service again."""
        def is_up():
            samples = self.ballast.metrics()
            states = {name: value for name, value in samples.items() if name.startswith("ballast_server_state{") and value}
            good = [name for name in states if 'state="up"' in name]
            return len(good) == REPLICAS == len(states) or sorted(states)

        await self.until("servers do not come back", is_up)

    def reckon(self):
        """Nobody asks: counters add up, nothing is held, nothing ran twice."""
        self.wait_for_rest()
        counts = collections.Counter()
        for replica in self.replicas:
            for line in replica.books.read_text().splitlines():
                if line.startswith("mixed up"):
                    self.complain(line)
                counts[line] += 1
        for line, count in counts.items():
            if count > (1 if line.startswith("POST ") else 6):
                self.complain(f"{line} ran {count} times")
        never = [nonce for nonce in self.answered if counts[f"POST {nonce}"] != 1]
        if never:
            self.complain(f"{len(never)} answers without a run: {never[:3]}")
        self.answered.clear()
        # What has been seen to be right need not be seen again.
        for replica in self.replicas:
            os.truncate(replica.books, 0)

    def wait_for_rest(self):
        end = time.monotonic() + PATIENCE
        while True:
            problems = self.held()
            if not problems:
                return
            if time.monotonic() > end:
                self.complain("; ".join(problems))
                return
            time.sleep(0.1)

    def held(self):
        samples, total = self.ballast.metrics(), self.ballast.sum
        problems = []
        for name, most in [("ballast_server_inflight_requests", 0), ("ballast_queued_requests", 0),
                           ("ballast_open_connections", 1)]:
            if total(samples, name) > most:
                problems.append(f"{name} is {total(samples, name)}")
        active = total(samples, "ballast_server_connections", 'state="active"')
        if active:
            problems.append(f"{active} connections to servers are at work")
        ended = total(samples, "ballast_request_duration_seconds_count")
        answers = sum(total(samples, "ballast_requests_total", f'code="{code}xx"') for code in (2, 3, 4, 5))
        answers += total(samples, "ballast_tunnels_total") + total(samples, "ballast_client_aborts_total")
        if ended != answers:
            problems.append(f"{ended} requests ended, {answers} of them in a known way")
        kept = total(samples, "ballast_server_connections", 'state="idle"')
        self.history.append((samples["process_resident_memory_bytes"], samples["process_open_fds"] - kept))
        if self.ballast.process.poll() is not None:
            problems.append(f"ballast has ended with {self.ballast.process.returncode}")
        return problems

    async def run(self):
        started = time.monotonic()
        self.step_name = "start"
        try:
            await asyncio.sleep(1)
            await self.settle()
            self.quiet_since = time.monotonic()
            while time.monotonic() - started < self.options.minutes * 60 and not self.complaints:
                await self.step()
                if self.steps % 20 == 0:
                    self.tell(started)
        except Broken as error:
            self.complain(str(error))
        except OSError as error:
            self.complain(f"{error!r}")
        self.is_paused = True
        self.tell(started)
        for text in self.complaints[:10]:
            print(text)
        self.end()
        return 1 if self.complaints else 0

    def tell(self, started):
        memory, descriptors = self.history[-1] if self.history else (0, 0)
        asked = sum(self.outcomes.values())
        print(f"{(time.monotonic() - started) / 60:.1f} min, {self.steps} steps, {asked} requests, "
              f"{memory / 2**20:.1f} MiB, {descriptors:.0f} descriptors, {len(self.complaints)} complaints", flush=True)

    def end(self):
        quarter = max(1, len(self.history) // 4)
        for name, index, unit in [("memory", 0, 2**20), ("descriptors", 1, 1)]:
            quarters = [max(entry[index] for entry in self.history[start:start + quarter]) / unit
                        for start in range(0, len(self.history) - quarter + 1, quarter)]
            print(f"{name} at rest, most of each quarter: {' '.join(f'{value:.1f}' for value in quarters)}")
        print(json.dumps(dict(sorted(self.outcomes.items()))))
        if self.complaints:
            print(f"logs are kept in {self.folder}")
        self.ballast.process.send_signal(signal.SIGTERM)
        try:
            code = self.ballast.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.ballast.process.kill()
            code = "no end"
        print(f"ballast ended with {code}")
        for replica in self.replicas:
            replica.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--binary", type=pathlib.Path, default=root / ".build" / "release" / "ballast")
    options = parser.parse_args()
    return asyncio.run(Walk(options).run())


sys.exit(main())
