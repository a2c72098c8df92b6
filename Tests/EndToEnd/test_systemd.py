"""systemd's side: what it is told, the sockets it passes, the unit that it runs."""

import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from conftest import Ballast, Process, binary, patience, read_all, root, wait_until

unit = root / "Config" / "ballast.service"


class ServiceManager:
    """The end of the notification socket that systemd holds."""

    def __init__(self, folder, abstract=False):
        self.address = f"\0ballast-test-{os.getpid()}-{id(self)}" if abstract else str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.told = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while message := self.socket.recv(4096):
            self.told.append((time.monotonic(), message.decode()))

    @property
    def environment(self):
        return {**os.environ, "NOTIFY_SOCKET": self.address.replace("\0", "@")}

    def wait(self, text, after=0):
        """When it was told a message with this line."""
        def find():
            return next((at for at, message in list(self.told) if at >= after and text in message.split("\n")), None)

        return wait_until(find, f"{text} in {[message for _, message in self.told]}")


def test_it_is_ready_though_a_server_takes_no_requests(start, replicas, tmp_path):
    manager = ServiceManager(tmp_path)
    port = replicas[0].port
    start([], f"server = drained 127.0.0.1:{port} weight=0", env=manager.environment)
    manager.wait("READY=1")


def test_a_reload_during_the_start_does_not_say_ready(start, replicas, scripted, tmp_path):
    manager = ServiceManager(tmp_path)
    silent = scripted(lambda connection, _: connection.recv(1))
    ballast = start([replicas[0], silent], "health-timeout = 100s", env=manager.environment)
    ballast.reload([replicas[0], silent], "health-timeout = 100s", "maxconn = 3")
    assert not any("READY=1" in message for _, message in manager.told)
    # Without the server that was waited for, one round is done.
    ballast.reload(replicas[:1])
    manager.wait("READY=1")


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_it_says_when_it_is_ready_reloads_and_stops(start, replicas, scripted, tmp_path, abstract):
    manager = ServiceManager(tmp_path, abstract)
    goOn = threading.Event()

    def behave(connection, _):
        goOn.wait(patience)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    slow = scripted(behave)
    ballast = start([replicas[0], slow], "health-timeout = 20s", env=manager.environment)
    ballast.wait_for_state(replicas[0], "up")
    assert not any("READY=1" in message for _, message in manager.told)
    goOn.set()
    ready = manager.wait("READY=1")
    manager.wait("STATUS=2 of 2 servers up; 0 requests running, 0 waiting")
    before = time.monotonic()
    ballast.reload(replicas[:1])
    reloading = manager.wait("RELOADING=1", after=before)
    message = next(message for at, message in manager.told if at == reloading)
    stamp = int(re.search(r"^MONOTONIC_USEC=(\d+)$", message, re.M)[1]) / 1e6
    assert before - 0.001 <= stamp <= time.monotonic()
    assert manager.wait("READY=1", after=reloading) > ready
    again = time.monotonic()
    ballast.reload(replicas[:1], "nonsense = 1", refused=True)
    manager.wait("READY=1", after=manager.wait("RELOADING=1", after=again))
    manager.wait("STATUS=the last reload was refused", after=again)
    ballast.process.signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert ballast.process.wait() == 0


def test_nobody_is_told_without_a_manager(start, replicas):
    ballast = start(replicas[:1], env={**os.environ, "NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "1000"})
    requests.get(ballast.url + "/predict", timeout=patience)
    ballast.process.signal(signal.SIGTERM)
    assert ballast.process.wait() == 0


def spent(process):
    """CPU ticks of each thread."""
    ticks = {}
    for task in pathlib.Path(f"/proc/{process}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        ticks[int(task.name)] = int(fields[11]) + int(fields[12])
    return ticks


def test_the_watchdog_is_fed_only_while_every_loop_turns(start, replicas, tmp_path):
    """The thread of the loop is stopped, and nothing else of the process."""
    manager = ServiceManager(tmp_path)
    environment = {**manager.environment, "WATCHDOG_USEC": "600000"}
    ballast = start(replicas[:1], "threads = 1", "health = off", env=environment)
    manager.wait("WATCHDOG=1")
    isOver = threading.Event()

    def ask():
        with requests.Session() as session:
            while not isOver.is_set():
                session.get(ballast.url + "/predict", timeout=60)

    client = threading.Thread(target=ask)
    client.start()
    process = ballast.process.process.pid
    before = spent(process)
    wait_until(lambda: max(spent(process)[task] - before.get(task, 0) for task in spent(process)) > 20, "a busy loop")
    now = spent(process)
    loop = max(now, key=lambda task: now[task] - before.get(task, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    seize, interrupt, detach = 0x4206, 0x4207, 17
    try:
        if libc.ptrace(seize, loop, None, None) != 0:
            pytest.skip(f"NOT TESTED: ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
        assert libc.ptrace(interrupt, loop, None, None) == 0
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped + 6, "the patience of the watchdog")
        silent = time.monotonic()
        wait_until(lambda: time.monotonic() > silent + 1, "a second of silence")
        assert not any("WATCHDOG=1" in message for at, message in manager.told if at > silent)
        # Statuses go on: only the sign of life is withheld.
        os.waitpid(loop, 0x40000000)
        assert libc.ptrace(detach, loop, None, None) == 0
        manager.wait("WATCHDOG=1", after=silent)
    finally:
        isOver.set()
        client.join(patience)
    ballast.process.signal(signal.SIGTERM)
    assert ballast.process.wait() == 0


def passed(listeners, names, words):
    """A command that finds these sockets as systemd passes them."""
    files = " ".join(f"{3 + index}<&{listener.fileno()}" for index, listener in enumerate(listeners))
    # High numbers first, so that none is overwritten before it is copied.
    moves = "".join(f"exec {30 + index}<&{listener.fileno()}; " for index, listener in enumerate(listeners))
    moves += "".join(f"exec {3 + index}<&{30 + index}; " for index in range(len(listeners)))
    text = f"{moves}export LISTEN_PID=$$ LISTEN_FDS={len(listeners)} LISTEN_FDNAMES={':'.join(names)}; exec \"$@\""
    return ["bash", "-c", text, "bash", *words]


def test_sockets_are_found_by_name(replicas, tmp_path):
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]
    file = tmp_path / "a.ini"
    file.write_text(
        f"threads = 2\nlisten = systemd:web\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = systemd:page\nauth = none\n")
    words = passed(listeners, ["page", "web", "spare"], [binary, "-c", file])
    # A client that came before ballast did waits in the socket, and is served.
    early = socket.create_connection(("127.0.0.1", ports[1]), timeout=patience)
    early.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    process = Process(words, stream="stderr", pass_fds=[listener.fileno() for listener in listeners])
    try:
        process.line(rf"listening on 127\.0\.0\.1:{ports[1]}")
        process.line(rf"statistics on http://127\.0\.0\.1:{ports[0]}/")
        process.line("nobody listens on the passed socket 'spare'; write listen = systemd:spare")
        assert read_all(early).startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            assert requests.get(f"http://127.0.0.1:{ports[1]}/predict", timeout=patience).status_code == 200
        # Dropped by one reload and taken up again by the next, it is the same socket.
        text = file.read_text()
        file.write_text(text.replace("systemd:web", "systemd:spare"))
        process.signal(signal.SIGHUP)
        process.line(r"global: \+ listen systemd:spare, - listen systemd:web")
        assert requests.get(f"http://127.0.0.1:{ports[2]}/predict", timeout=patience).status_code == 200
        waiting = socket.create_connection(("127.0.0.1", ports[1]), timeout=patience)
        waiting.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        file.write_text(text.replace("systemd:web", "systemd:wbe"))
        process.signal(signal.SIGHUP)
        process.line("no socket of that name was passed; there are 'page' 'web' 'spare'")
        file.write_text(text)
        process.signal(signal.SIGHUP)
        assert read_all(waiting).startswith(b"HTTP/1.1 200 ")
        assert not any("cannot watch" in line for line in process.lines)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()


def test_systemds_own_activation_starts_it(replicas, tmp_path):
    tool = shutil.which("systemd-socket-activate")
    if not tool:
        pytest.skip("NOT TESTED: systemd-socket-activate is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    file = tmp_path / "a.ini"
    file.write_text(f"listen = systemd:http\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = off\n")
    process = Process([tool, "-l", f"127.0.0.1:{port}", "--fdname=http", binary, "-c", file], stream="stderr")
    try:
        process.line("Listening on")
        assert requests.get(f"http://127.0.0.1:{port}/predict", timeout=patience).status_code == 200
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()


def test_root_becomes_another_once_its_ports_are_open(replicas, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can become another user")
    folder = tmp_path / "logs"
    folder.mkdir()
    for place in (*reversed(tmp_path.parents), tmp_path):
        if str(place).startswith("/tmp/"):
            place.chmod(0o755)
    shutil.chown(folder, "nobody")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    low = next(port for port in range(700, 1024) if not in_use(port))
    pid, log = tmp_path / "ballast.pid", folder / "access.log"
    lines = [f"listen = 127.0.0.1:{low}", f"servers = 127.0.0.1:{replicas[0].port}", "user = nobody:nogroup",
             f"pid-file = {pid}", f"access-log = {log}"]
    file = tmp_path / "a.ini"
    stats = ["[stats]", "listen = off"]
    file.write_text("\n".join([*lines, *stats]) + "\n")
    process = Process([binary, "-c", file], stream="stderr")
    try:
        process.line("is ready")
        for task in pathlib.Path(f"/proc/{process.process.pid}/task").iterdir():
            status = (task / "status").read_text()
            assert re.search(r"^Uid:\s+65534\s+65534\s+65534\s+65534$", status, re.M)
            assert re.search(r"^Gid:\s+65534\s+65534\s+65534\s+65534$", status, re.M)
            assert re.search(r"^Groups:\s+65534\s*$", status, re.M)
            assert re.search(r"^CapEff:\s+0+$", status, re.M)
        assert requests.get(f"http://127.0.0.1:{low}/predict", timeout=patience).status_code == 200
        wait_until(lambda: log.exists() and log.stat().st_uid == 65534, "the log in its new owner's name")
        # It can do what it may do later: reload, and open logs anew; but no further port of root's.
        file.write_text("\n".join([*lines, f"listen = 127.0.0.1:{free}", *stats]) + "\n")
        process.signal(signal.SIGHUP)
        process.line(f"listening on 127.0.0.1:{free}")
        file.write_text("\n".join([*lines, f"listen = 127.0.0.1:{low + 1 if low < 1023 else 699}", *stats]) + "\n")
        process.signal(signal.SIGHUP)
        process.line("ports below 1024 need the capability CAP_NET_BIND_SERVICE")
        log.rename(folder / "old.log")
        process.signal(signal.SIGUSR1)
        wait_until(log.exists, "the new log")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()


def in_use(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return False
        except OSError:
            return True


def test_a_log_that_the_user_may_not_write_stops_the_start(replicas, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can become another user")
    tmp_path.chmod(0o755)
    file = tmp_path / "a.ini"
    file.write_text(f"listen = 127.0.0.1:0\nservers = 127.0.0.1:{replicas[0].port}\nuser = nobody\n"
                    f"access-log = {tmp_path}/access.log\n[stats]\nlisten = off\n")
    refused = subprocess.run([binary, "-c", file], capture_output=True, text=True, timeout=patience)
    assert refused.returncode == 1 and "cannot write the access log" in refused.stderr


def test_the_unit_is_hardened():
    tool = shutil.which("systemd-analyze")
    if not tool:
        pytest.skip("NOT TESTED: systemd-analyze is not installed")
    done = subprocess.run([tool, "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True)
    level = float(re.search(r"Overall exposure level for ballast\.service: ([\d.]+)", done.stdout)[1])
    assert level <= 2.0, done.stdout
    text = unit.read_text()
    assert "Type=notify" in text and "RestartPreventExitStatus=2" in text and "WatchdogSec=" in text
    reloads = re.findall(r"^ExecReload=(.*)$", text, re.M)
    assert [line.split()[1] for line in reloads] == ["-t", "-HUP"]
    verified = subprocess.run([tool, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    # What is not installed is no mistake of the unit.
    complaints = [line for line in verified.stderr.splitlines() if "ballast" in line and "is not executable" not in line]
    assert complaints == []


def test_the_unit_allows_every_call_that_is_made(replicas, tmp_path):
    """A life of ballast under strace: what it calls is what the unit's filter lets through."""
    if not shutil.which("strace") or not shutil.which("systemd-analyze"):
        pytest.skip("NOT TESTED: strace or systemd-analyze is not installed")
    trace = tmp_path / "trace"
    folder = tmp_path / "one"
    folder.mkdir()
    log = tmp_path / "access.log"
    prefix = ["strace", "-f", "-qq", "-o", trace]
    settings = [f"access-log = {log}", "health-every = 50ms", f"pid-file = {tmp_path}/pid"]
    ballast = Ballast(folder, replicas, *settings, prefix=prefix)
    try:
        process = int((tmp_path / "pid").read_text())
        for _ in range(3):
            assert requests.post(ballast.url + "/predict", data=b"x" * 100_000, timeout=patience).status_code == 200
        requests.get(ballast.stats + "/metrics", timeout=patience)
        ballast.write(replicas[:2], "maxconn = 3", *settings)
        os.kill(process, signal.SIGHUP)
        ballast.process.line("reloaded")
        os.kill(process, signal.SIGUSR1)
        ballast.process.line("reopening")
        os.kill(process, signal.SIGTERM)
        ballast.process.line("stopped")
        ballast.process.wait()
    finally:
        ballast.process.kill()
    called = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", trace.read_text(), re.M))
    assert {"epoll_wait", "accept4", "flock"} & called
    allowed = members("@system-service") - members("@privileged") - members("@resources")
    extra = re.findall(r"^SystemCallFilter=([^@~].*)$", unit.read_text(), re.M)
    allowed |= {word for line in extra for word in line.split()}
    # execve is strace's own start of it.
    assert called - allowed - {"execve"} == set()


def members(group):
    """Every system call of a group, with those of the groups within."""
    done = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True)
    found = set()
    for word in (line.strip() for line in done.stdout.splitlines()[1:]):
        if word.startswith("@"):
            found |= members(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found
