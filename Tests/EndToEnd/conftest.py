"""What the end-to-end tests share: the real binary, real replicas, and sockets that say exactly what they are told."""

import contextlib
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

root = pathlib.Path(__file__).resolve().parents[2]
binary = pathlib.Path(os.environ.get("BALLAST", root / ".build" / "release" / "ballast"))
patience = 30
# Who asks for JSON is told of failures in JSON.
for_json = {"Accept": "application/json"}


def wait_until(condition, what, most=patience):
    """Waits for something that must come; fails loudly if it does not."""
    deadline = time.monotonic() + most
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"waited {most} s in vain for {what}")


class Process:
    """A process whose output lines can be waited for."""

    def __init__(self, command, stream="stdout", **options):
        self.process = subprocess.Popen(
            [str(word) for word in command], text=True, **{stream: subprocess.PIPE}, **options
        )
        self.lines = []
        threading.Thread(target=self.read, args=(getattr(self.process, stream),), daemon=True).start()

    def read(self, stream):
        for line in stream:
            # What lines of ballast's log begin with.
            self.lines.append(re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?=ballast: )", "", line.rstrip("\n")))

    def line(self, pattern):
        """The first line, from now on or before, that matches."""
        def find():
            return next((found for text in list(self.lines) if (found := re.search(pattern, text))), None)

        return wait_until(find, f"a line like {pattern!r} in {self.lines}")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(timeout=patience)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Replica:
    def __init__(self, name, port=0):
        self.name = name
        self.process = Process(["/usr/bin/python3", root / "Tests/EndToEnd/replica.py", name, str(port)])
        self.port = int(self.process.line(r"^(\d+)$")[1])
        host = str(port).rpartition(":")[0] or "127.0.0.1"
        self.url = f"http://{host}:{self.port}"
        wait_until(self.answers, f"replica {name} to answer")

    def answers(self):
        try:
            return requests.get(self.url + "/health", timeout=patience).ok
        except requests.ConnectionError:
            return False

    def books(self):
        return requests.get(self.url + "/books", timeout=patience).json()


class Ballast:
    """The real binary on a free port."""

    def __init__(self, folder, servers, *settings, prefix=(), **options):
        """`servers` makes one backend; without it, the settings say everything."""
        self.file = folder / "ballast.ini"
        self.write(servers, *settings)
        self.process = Process([*prefix, binary, "-c", self.file], stream="stderr", **options)
        self.port = int(self.process.line(r"listening on 127\.0\.0\.1:(\d+)")[1])
        self.stats = self.process.line(r"statistics on (http://127\.0\.0\.1:\d+)/")[1]
        self.process.line("is ready")
        self.url = f"http://127.0.0.1:{self.port}"

    def write(self, servers, *settings):
        """The configuration as it will be read; `None` among the settings is nothing, `[stats] KEY = VALUE` stands there."""
        lines = ["listen = 127.0.0.1:0"]
        if servers:
            lines.append("servers = " + " ".join(f"127.0.0.1:{getattr(server, 'port', server)}" for server in servers))
        own = [line.removeprefix("[stats] ") for line in settings if line and line.startswith("[stats] ")]
        settings = [line for line in settings if line and not line.startswith("[stats] ")]
        text = [*lines, *settings, "[stats]", "listen = 127.0.0.1:0", *own]
        self.file.write_text("\n".join(text) + "\n")

    def reload(self, servers=None, *settings, refused=False):
        """Reads the configuration again, a new one where one is given; the log's lines about it."""
        if servers is not None or settings:
            self.write(servers, *settings)
        before = len(self.process.lines)
        self.process.signal(signal.SIGHUP)
        end = "the configuration is refused" if refused else r"reloaded(; nothing has changed)?, in "
        wait_until(lambda: any(re.search(end, line) for line in self.process.lines[before:]),
                   f"the end of a reload in {self.process.lines[before:]}")
        return list(self.process.lines[before:])

    def page(self, path):
        """The text of a page of ballast's own."""
        return requests.get(self.stats + path, timeout=patience).text

    def metrics(self):
        """Every sample by its name with labels."""
        text = self.page("/metrics")
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def metric(self, name, **labels):
        """The sum of the samples of `name` that carry these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value for sample, value in self.metrics().items()
            if sample.split("{")[0] == name and all(label in sample for label in wanted)
        )

    def wait_for_state(self, server, state, backend="default"):
        name = f"127.0.0.1:{server.port}" if hasattr(server, "port") else server
        wait_until(
            lambda: self.metric("ballast_server_state", backend=backend, server=name, state=state),
            f"{name} to be {state}",
        )

    def raw(self, data, half_close=False):
        """Everything that comes back for these bytes until the connection closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)


def read_all(connection):
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        received += b"<reset>"
    return received


@pytest.fixture
def start(tmp_path):
    """Starts a ballast and ends it with the test."""
    started = []

    def begin(servers, *settings, prefix=(), **options):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Ballast(folder, servers, *settings, prefix=prefix, **options))
        return started[-1]

    yield begin
    for ballast in started:
        ballast.process.kill()


@pytest.fixture(scope="session")
def replicas():
    """Three replicas that live through the whole session; tests that kill start their own."""
    three = [Replica(name) for name in ("one", "two", "three")]
    yield three
    for replica in three:
        replica.process.kill()


@pytest.fixture
def mortal():
    """Makes replicas that end with the test."""
    made = []

    def make(name, port=0):
        made.append(Replica(name, port))
        return made[-1]

    yield make
    for replica in made:
        replica.process.kill()


class ScriptedServer:
    """A server that answers each connection with what a function says, and keeps what it was sent."""

    def __init__(self, behave):
        self.received = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.behave = behave
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            connection.settimeout(patience)
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    head += piece
                self.received.append(head)
                self.behave(connection, head)
            except OSError:
                pass

    def close(self):
        self.listener.close()


@pytest.fixture
def deaf():
    """A port that neither accepts nor refuses: its line of connections is full."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            link = held.enter_context(socket.socket())
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def scripted():
    made = []

    def make(behave):
        made.append(ScriptedServer(behave))
        return made[-1]

    yield make
    for server in made:
        server.close()


def pytest_configure(config):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not binary.exists():
        pytest.exit(f"{binary} is missing; build it with: swift build -c release", returncode=2)

