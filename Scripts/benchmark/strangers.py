"""Strangers who are slow, silent or many, and what becomes of everybody else meanwhile.

Prints for each kind: normal requests beside them (p50, p99, slowest, failures), how they were ended, and memory for each.
Fails where a normal request does, where one of the strangers is not ended under the name of its limit, or where memory
goes over what was promised. usage: strangers.py [slow|readers|silent|beginnings|stuck|costly...]
"""

import pathlib
import re
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from proxies import binaries, folder, replica_port

port, stats_port = 18480, 18481
failures = []


def complain(text):
    failures.append(text)
    print(f"  FAILED: {text}")


class Ballast:
    def __init__(self, *settings):
        lines = [f"listen = 127.0.0.1:{port}", "threads = 1", "health = off",
                 *settings, "[backend bulk]", "path = /bytes", f"servers = 127.0.0.1:{replica_port + 1}",
                 "[backend other]", f"servers = 127.0.0.1:{replica_port}",
                 "[stats]", f"listen = 127.0.0.1:{stats_port}"]
        file = folder / "strangers.ini"
        file.write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen([binaries / "ballast", "-c", file], stderr=subprocess.PIPE, text=True)
        self.ceiling = None
        for line in self.process.stderr:
            if found := re.search(r"([\d.]+) ([MG])iB of memory at most", line):
                self.ceiling = float(found[1]) * (1 << 30 if found[2] == "G" else 1 << 20)
            if "is ready" in line:
                break
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def memory(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) << 10

    def metric(self, name, **labels):
        text = urllib.request.urlopen(f"http://127.0.0.1:{stats_port}/metrics", timeout=30).read().decode()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted))

    def reached(self, limit):
        return int(self.metric("ballast_limits_reached_total", limit=limit))

    def end(self):
        self.process.kill()
        self.process.wait()


class Normal:
    """Somebody who asks for something small every 10 ms, on a connection of their own each time."""

    def __init__(self):
        self.times, self.failed, self.running = [], 0, True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while self.running:
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
                    answer.read()
            except OSError:
                self.failed += 1
            self.times.append(time.perf_counter() - began)
            time.sleep(0.01)

    def end(self, what):
        self.running = False
        self.thread.join()
        times = sorted(self.times)
        at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1000
        print(f"  {len(times)} normal requests: p50 {at(0.5):.2f} ms, p99 {at(0.99):.2f} ms, slowest {times[-1] * 1000:.1f} ms,"
              f" {self.failed} failed")
        if self.failed:
            complain(f"{self.failed} normal requests failed beside {what}")


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def slow(what, options, limits, seconds, *settings):
    print(f"1000 clients of slowhttptest {' '.join(options)}: {what}")
    ballast = Ballast(*settings)
    before = ballast.memory()
    normal = Normal()
    attack = subprocess.Popen(
        ["slowhttptest", *options, "-c", "1000", "-r", "1000", "-l", str(seconds), "-p", "5"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: ballast.metric("ballast_open_connections") > 900, 10)
    held = ballast.metric("ballast_open_connections")
    each = (ballast.memory() - before) / max(1, held)
    ended = lambda: sum(ballast.reached(limit) for limit in limits)
    if not wait_for(lambda: ended() >= 1000, seconds + 5):
        complain(f"only {ended()} of 1000 were ended by {' or '.join(limits)}")
    attack.terminate()
    attack.wait()
    normal.end(what)
    counts = ", ".join(f"{ballast.reached(limit)} by {limit}" for limit in limits)
    print(f"  ended: {counts}; memory {each / 1024:.1f} KiB for each of {held:.0f}")
    if each > 100 * 1024:
        complain(f"{each / 1024:.0f} KiB for each")
    ballast.end()


def silent(count=8000):
    print(f"{count} connections that say nothing")
    ballast = Ballast("timeout-head = 10s", "max-connections = 9000")
    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
    before = ballast.memory()
    began = time.monotonic()
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    if not wait_for(lambda: ballast.metric("ballast_open_connections") >= count, 8):
        complain("not all were accepted")
    each = (ballast.memory() - before) / count
    normal = Normal()
    if not wait_for(lambda: ballast.reached("timeout-head") >= count, 20):
        complain(f"only {ballast.reached('timeout-head')} were ended")
    took = time.monotonic() - began
    normal.end("silent ones")
    print(f"  {each:.0f} bytes for each; all were ended {took:.1f} s after the first came (timeout-head = 10s)")
    if each > 4096:
        complain(f"{each:.0f} bytes for each")
    for connection in held:
        connection.close()
    ballast.end()


def beginnings(count=4000):
    print(f"{count} connections with one byte of a head")
    ballast = Ballast("timeout-head = 60s", "max-connections = 9000")
    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
    before = ballast.memory()
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for connection in held:
        connection.sendall(b"G")
    wait_for(lambda: ballast.metric("ballast_open_connections") >= count, 8)
    time.sleep(1)
    each = (ballast.memory() - before) / count
    print(f"  {each / 1024:.1f} KiB for each")
    if each > 16 * 1024:
        complain(f"{each / 1024:.1f} KiB for each")
    for connection in held:
        connection.close()
    ballast.end()


def stuck(count=150):
    """Every connection full in both directions: the most that the configuration allows."""
    print(f"{count} exchanges that are full in both directions")
    ballast = Ballast(f"max-connections = {count}", "replay-memory = 8m", "minimum-read-rate = 0", "timeout-idle = 0")
    held = []
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 8000 + b"\r\n\r\n" + b"GET / HTTP/1.1\r\nX: " + b"z" * 20000)
        held.append(connection)
    time.sleep(4)
    memory = ballast.memory()
    print(f"  {memory / (1 << 20):.0f} MiB of {ballast.ceiling / (1 << 20):.0f} MiB")
    if memory > ballast.ceiling:
        complain("more than the ceiling")
    for connection in held:
        connection.close()
    ballast.end()


def costly():
    """Processor time for one input, of the dearest kinds: no turn of the loop is longer than what one input takes."""
    print("processor time for each input")
    ballast = Ballast("requests-per-connection = 1000000")
    schedule = lambda: sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{ballast.process.pid}/task").glob("*/schedstat"))
    head = b"GET /health HTTP/1.1\r\nHost: a\r\n"
    names = [b"x" * 180 + b"%03d" % number + b"y" * 57 for number in range(63)]
    inputs = {
        "GET": head + b"\r\n",
        "126 fields": head + b"".join(b"X%d: y\r\n" % number for number in range(126)) + b"\r\n",
        "63 names in Connection, 63 fields alike": head + b"Connection: " + b",".join(names) + b"\r\n"
        + b"".join(name[:-1] + b"z: y\r\n" for name in names) + b"\r\n",
        "127 empty names in Connection": head + b"Connection: " + b"," * 126 + b"\r\n" + b"X: y\r\n" * 120 + b"\r\n",
        "30 kB of one value": head + b"X: " + b"y" * 30000 + b"\r\n\r\n",
        "64 kB in chunks of one byte": b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 10900 + b"0\r\n\r\n",
    }
    for name, data in inputs.items():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            reader = connection.makefile("rb")
            def ask():
                connection.sendall(data)
                length = 0
                while (line := reader.readline()) != b"\r\n":
                    assert line, "it closed"
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                reader.read(length)
            ask()
            before = schedule()
            for _ in range(200):
                ask()
            each = (schedule() - before) / 200 / 1000
            print(f"  {each:7.1f} us  {each / len(data):.3f} us for each byte  {name}")
            if each > 5000:
                complain(f"{name}: {each:.0f} us")
    ballast.end()


def slow_ones():
    url = ["-u", f"http://127.0.0.1:{port}/"]
    slow("slow heads", ["-H", "-i", "2", *url], ["timeout-head"], 25)
    slow("slow bodies", ["-B", "-i", "3", "-s", "100000", "-x", "5", "-t", "POST", *url],
         ["minimum-send-rate", "timeout-client"], 40)


def readers():
    slow("slow readers", ["-X", "-w", "256", "-y", "512", "-n", "5", "-z", "8", "-k", "1", "-u",
                          f"http://127.0.0.1:{port}/bytes/10000000"], ["minimum-read-rate", "timeout-client"], 100)


kinds = {"slow": slow_ones, "readers": readers, "silent": silent, "beginnings": beginnings, "stuck": stuck, "costly": costly}
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
# What fills a thousand slow connections has a replica of its own.
replicas = [
    subprocess.Popen([binaries / "demo-replica", "--port", str(number)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for number in (replica_port, replica_port + 1)
]
time.sleep(0.5)
try:
    for kind in sys.argv[1:] or kinds:
        kinds[kind]()
finally:
    for replica in replicas:
        replica.kill()
        replica.wait()
sys.exit(1 if failures else 0)
