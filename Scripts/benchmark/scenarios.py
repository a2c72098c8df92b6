"""The scenarios: what load, and what is read off."""

import re
import socket
import ssl
import statistics
import subprocess
import time

import proxies
import streams

CHAT = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model": "demo", "messages": [{"role": "user", "content": "' .. string.rep("word ", 400) .. '"}]}'
"""

UNITS = {"us": 1e-3, "ms": 1, "s": 1000}


def wrk(proxy, seconds, connections, path, *words, secure=False):
    """Runs wrk; requests done, and latencies in milliseconds."""
    url = f"https://127.0.0.1:{proxy.secure_port}{path}" if secure else f"http://127.0.0.1:{proxy.port}{path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "--latency", *words,
               url]
    text = subprocess.run(proxies.pinned(1, command), capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", text)[1])
    failed = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += int((re.search(r"Non-2xx or 3xx responses: (\d+)", text) or [0, 0])[1])
    latency = {}
    for percent in ("50", "99"):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text).groups()
        latency[f"p{percent} ms"] = round(float(value) * UNITS[unit], 3)
    return requests, failed, latency


def requests_by_wrk(connections, path, *words, secure=False):
    def measure(proxy, replica, seconds):
        before, replica_before = proxy.cpu(), replica.cpu()
        started = time.monotonic()
        requests, failed, latency = wrk(proxy, seconds, connections, path, *words, secure=secure)
        spent = time.monotonic() - started
        return {
            "cpu us": (proxy.cpu() - before) / requests * 1e6,
            "per second": requests / spent,
            **latency,
            "replica us": (replica.cpu() - replica_before) / requests * 1e6,
            "memory MiB": proxy.memory() / (1 << 20),
            "failed": failed,
        }

    return measure


def chat(proxy, replica, seconds):
    script = proxies.folder / "chat.lua"
    script.write_text(CHAT)
    return requests_by_wrk(64, "/predict", "-s", str(script))(proxy, replica, seconds)


def stream(proxy, replica, seconds):
    """200 streams of 50 events a second."""
    clients = streams.open_streams(proxy.port, 200)
    streams.read(clients, 0.5)
    before = proxy.cpu()
    delays = streams.read(clients, seconds)
    cpu = proxy.cpu() - before
    for client in clients:
        client.close()
    direct = streams.open_streams(replica.port, 200)
    streams.read(direct, 0.3)
    bare = streams.read(direct, 1)
    for client in direct:
        client.close()
    cut = statistics.quantiles(delays, n=100)
    bare_cut = statistics.quantiles(bare, n=100)
    return {
        "cpu us": cpu / len(delays) * 1e6,
        "per second": len(delays) / seconds,
        "added p50 us": (cut[49] - bare_cut[49]) / 1000,
        "added p99 us": (cut[98] - bare_cut[98]) / 1000,
        "memory MiB": proxy.memory() / (1 << 20),
    }


def idle(proxy, replica, seconds, count=4000, context=None):
    """Clients that made one request each and stay."""
    before = proxy.memory()
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", proxy.secure_port if context else proxy.port))
        if context:
            client = context.wrap_socket(client, server_hostname="localhost")
        client.sendall(b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n")
        client.recv(4096)
        clients.append(client)
    after = proxy.memory()
    for client in clients:
        client.close()
    return {"bytes each": (after - before) / len(clients)}


def secure_idle(proxy, replica, seconds):
    """The same over TLS, 2,000 of them."""
    return idle(proxy, replica, seconds, 2000, ssl.create_default_context(cafile=str(proxies.make_certificate())))


scenarios = {
    "get64": requests_by_wrk(64, "/health"),
    "get8": requests_by_wrk(8, "/health"),
    "get1": requests_by_wrk(1, "/health"),
    "chat": chat,
    "connect": requests_by_wrk(64, "/health", "-H", "Connection: close"),
    "mib": requests_by_wrk(16, "/bytes/1048576"),
    "stream": stream,
    "idle": idle,
    "tls64": requests_by_wrk(64, "/health", secure=True),
    "tls1": requests_by_wrk(1, "/health", secure=True),
    "tlsmib": requests_by_wrk(16, "/bytes/1048576", secure=True),
    "tlsconnect": requests_by_wrk(64, "/health", "-H", "Connection: close", secure=True),
    "tlsidle": secure_idle,
}

replica_options = {"stream": ["--ttft", "20", "--tpot", "20", "--tokens", "1000000"]}


def run(name, rounds, seconds):
    """Measures every proxy in turn, round by round; prints medians and the ratios of each round."""
    replica = proxies.start_replica(*replica_options.get(name, []))
    rows = {proxy: [] for proxy in proxies.available()}
    try:
        for _ in range(rounds):
            for proxy in rows:
                running = proxies.start(proxy)
                try:
                    rows[proxy].append(scenarios[name](running, replica, seconds))
                finally:
                    running.stop()
    finally:
        replica.stop()
    medians = {
        proxy: {key: statistics.median(row[key] for row in measured) for key in measured[0]}
        for proxy, measured in rows.items()
    }
    print_table(name, medians)
    ratios = {}
    key = "bytes each" if name.endswith("idle") else "cpu us"
    for other in rows:
        if other != "ballast":
            pairs = [mine[key] / theirs[key] for mine, theirs in zip(rows["ballast"], rows[other]) if theirs[key] > 0]
            if pairs:
                ratios[other] = [min(pairs), statistics.median(pairs), max(pairs)]
                low, middle, high = ratios[other]
                print(f"  {key}, ballast to {other}: {middle:.2f} ({low:.2f} to {high:.2f})")
    return {"medians": medians, "ratios": ratios, "rounds": rounds, "seconds": seconds}


def print_table(name, medians):
    keys = list(next(iter(medians.values())))
    print(f"\n{name}\n  {'':9}" + "".join(f"{key:>14}" for key in keys))
    for proxy, row in medians.items():
        print(f"  {proxy:9}" + "".join(f"{row[key]:14.2f}" for key in keys), flush=True)


def syscalls():
    """System calls per request on 64 kept connections, by strace."""
    replica = proxies.start_replica()
    try:
        for name in proxies.available():
            running = proxies.start(name)
            target = running.processes()[-1] if name == "nginx" else running.process.pid
            output = proxies.folder / "strace.txt"
            tracer = subprocess.Popen(["strace", "-c", "-f", "-o", output, "-p", str(target)], stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            requests, _, _ = wrk(running, 3, 64, "/health")
            tracer.terminate()
            tracer.wait()
            running.stop()
            rows = [line.split() for line in output.read_text().splitlines()[2:] if line and line[0] == " "]
            calls = {row[-1]: int(row[3]) for row in rows if row[-1] != "total"}
            total = sum(calls.values())
            top = sorted(calls.items(), key=lambda item: -item[1])[:6]
            detail = ", ".join(f"{call} {count / requests:.2f}" for call, count in top)
            print(f"{name:9}{total / requests:6.2f} system calls a request: {detail}", flush=True)
    finally:
        replica.stop()
    return 0
