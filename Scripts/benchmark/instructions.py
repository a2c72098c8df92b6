"""Instructions and heap allocations per request, counted by valgrind: the same on every run and every machine."""

import os
import pathlib
import re
import socket
import subprocess
import time

import proxies

budget_file = pathlib.Path(__file__).with_name("budget.txt")
FEW, MANY = 1000, 3000
REQUEST = b"GET /health HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
POST = (b"POST /predict HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/1.0\r\nContent-Type: application/json\r\n"
        b"Content-Length: 256\r\n\r\n" + b"x" * 256)
STREAM = b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: 2\r\n\r\n{}"
STREAMED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "token"}}]}\n\n'
EVENTS_PORT = 18089


def exchange(connection, request, count):
    """Sends `count` requests one by one on one connection."""
    for _ in range(count):
        connection.sendall(request)
        received = connection.recv(65536)
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"[Cc]ontent-[Ll]ength: (\d+)", head)[1])
        while len(body) < length:
            body += connection.recv(65536)


def events(connection, request, count):
    """Streams `count` events, each sent when the one before has arrived: how fast the machine is changes nothing."""
    with socket.create_server(("127.0.0.1", EVENTS_PORT)) as listener:
        connection.sendall(request)
        server, _ = listener.accept()
    with server:
        received = b""
        while not received.endswith(b"{}"):
            received += server.recv(65536)
        server.sendall(STREAMED)
        until(connection, b"\r\n\r\n")
        for _ in range(count):
            server.sendall(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            until(connection, b"\n\n\r\n")
        server.sendall(b"0\r\n\r\n")
        until(connection, b"0\r\n\r\n")


def until(connection, end):
    received = b""
    while not received.endswith(end):
        received += connection.recv(65536)


LOADS = {"get": (exchange, REQUEST, proxies.replica_port), "post": (exchange, POST, proxies.replica_port),
         "event": (events, STREAM, EVENTS_PORT)}


def valgrind(tool, port, name, count):
    """Runs ballast under a tool while `count` requests or events pass; the tool's output file."""
    output = proxies.folder / f"{tool}.{os.getpid()}.out"
    flag = "--callgrind-out-file" if tool == "callgrind" else "--log-file"
    file = proxies.folder / "counted.ini"
    load, request, server = LOADS[name]
    file.write_text(f"listen = 127.0.0.1:{port}\nservers = 127.0.0.1:{server}\nthreads = 1\nhealth = off\n"
                    "requests-per-connection = 1000000\npool-idle = 1h\n")
    words = ["valgrind", f"--tool={tool}", f"{flag}={output}", proxies.binaries / "ballast", "-c", file]
    environment = {**os.environ, "SWIFT_BACKTRACE": "enable=no"}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    for _ in range(600):
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.05)
    with connection:
        load(connection, request, count)
    process.terminate()
    if process.wait(120) != 0:
        raise SystemExit("ballast did not end cleanly under valgrind")
    return output.read_text()


def measure(name):
    """Instructions for each of the requests by which two runs differ."""
    totals = []
    for port, count in ((18085, FEW), (18086, MANY)):
        text = valgrind("callgrind", port, name, count)
        totals.append(int(re.search(r"^(?:totals|summary): (\d+)", text, re.M)[1]) - recording(text))
    return round((totals[1] - totals[0]) / (MANY - FEW))


def recording(text):
    """Instructions of what looks at all numbers once a second: how often it does depends on how fast the machine is."""
    profile = proxies.folder / "recording.out"
    profile.write_text(text)
    told = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", profile],
                          capture_output=True, text=True, check=True).stdout
    costs = [int(line.split()[0].replace(",", "")) for line in told.splitlines() if "6SharedC6recordyyF" in line]
    return max(costs, default=0)


def budget():
    if not budget_file.exists():
        return {}
    rows = [line.split() for line in budget_file.read_text().splitlines() if line and line[0] != "#"]
    return {name: int(number) for name, number in rows}


def count(check, write):
    replica = proxies.start_replica("--ttft", "0")
    try:
        counted = {name: measure(name) for name in LOADS}
    finally:
        replica.stop()
    allowed = budget()
    failed = False
    for name, number in counted.items():
        limit = allowed.get(name)
        verdict = "no budget" if limit is None else f"budget {limit}, {100 * (number - limit) / limit:+.1f} %"
        print(f"{name}: {number} instructions ({verdict})", flush=True)
        failed = failed or limit is None or number > limit * 1.05
    if write:
        lines = ["# Instructions per request in user space, by Scripts/bench instructions --write.",
                 "# A change that needs more than 5 % above these changes this file, and says why."]
        budget_file.write_text("\n".join(lines + [f"{name} {number}" for name, number in counted.items()]) + "\n")
        return 0
    if check and failed:
        print("over budget: see Scripts/benchmark/budget.txt")
        return 1
    return 0


def allocations():
    """Heap allocations for each request in steady state: the difference of two runs."""
    replica = proxies.start_replica("--ttft", "0")
    try:
        for name in LOADS:
            totals = []
            for port, number in ((18087, FEW), (18088, MANY)):
                text = valgrind("memcheck", port, name, number)
                totals.append(int(re.search(r"total heap usage: ([\d,]+) allocs", text)[1].replace(",", "")))
            print(f"{name}: {(totals[1] - totals[0]) / (MANY - FEW):.3f} allocations each ({totals[0]}, {totals[1]})")
    finally:
        replica.stop()
    return 0
