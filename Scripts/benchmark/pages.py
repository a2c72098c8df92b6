"""A page and a scrape with a thousand servers that have had requests: how long each takes, and how late the events of running
streams come while they are asked for without a pause."""

import base64
import http.client
import multiprocessing
import statistics
import subprocess
import time

import proxies
import streams
from reload import PORT, REPLICA, STATS, configuration

SERVERS, STREAMS, ROUNDS = 1000, 50, 10
PATHS = ("/", "/metrics", "/api/stats", "/api/stats.csv")
AUTHORIZATION = {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}


def ask(connection, path, **fields):
    connection.request("GET", path, headers=AUTHORIZATION | fields)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, answer.status
    return body


def scrape(go, end):
    """Asks for everything while `go` is set, and watches the page. In a process of its own."""
    watcher = http.client.HTTPConnection("127.0.0.1", STATS, timeout=30)
    watcher.request("GET", "/api/live", headers=AUTHORIZATION)
    watched = watcher.getresponse()
    connection = http.client.HTTPConnection("127.0.0.1", STATS, timeout=30)
    while not end.is_set():
        if not go.wait(0.05):
            continue
        for path in PATHS:
            ask(connection, path)
        watched.read1(1 << 20)


def warm_up():
    """Every server has had requests of different lengths, so that there is something to tell of each."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        connection.request("POST", "/predict", body="{}")
        connection.getresponse().read()


def run():
    file = proxies.folder / "pages.ini"
    # One loop, so that nothing is hidden by another.
    text = configuration(range(SERVERS), "threads = 1", "balance = round-robin")
    file.write_text(text.replace(f"listen = 127.0.0.1:{STATS}", f"listen = 127.0.0.1:{STATS}\nauth = a:b"))
    replica = subprocess.Popen(
        [str(proxies.binaries / "demo-replica"), "--host", "0.0.0.0", "--port", str(REPLICA), "--slots", "4000", "--ttft", "5",
         "--tpot", "20", "--tokens", "1000000"], stdout=subprocess.DEVNULL)
    ballast = subprocess.Popen([str(proxies.binaries / "ballast"), "-c", str(file)], stderr=subprocess.DEVNULL)
    go, end = multiprocessing.Event(), multiprocessing.Event()
    scraper = multiprocessing.Process(target=scrape, args=(go, end), daemon=True)
    try:
        time.sleep(2)
        warm_up()
        connection = http.client.HTTPConnection("127.0.0.1", STATS, timeout=30)
        for path in PATHS:
            times = []
            for _ in range(20):
                began = time.monotonic()
                size = len(ask(connection, path))
                times.append(1000 * (time.monotonic() - began))
            packed = len(ask(connection, path, **{"Accept-Encoding": "gzip"}))
            print(f"{path:15}{size:9} bytes ({packed} with gzip), median {statistics.median(times):.1f} ms, at most "
                  f"{max(times):.1f} ms", flush=True)
        clients = streams.open_streams(PORT, STREAMS)
        streams.read(clients, 0.5)
        scraper.start()
        calm, busy = [], []
        for _ in range(ROUNDS):
            go.clear()
            streams.read(clients, 0.3)
            calm.append(max(streams.read(clients, 1)) / 1e6)
            go.set()
            busy.append(max(streams.read(clients, 1)) / 1e6)
        print(f"the latest of {STREAMS} streams' events, {ROUNDS} rounds: {statistics.median(calm):.1f} ms (at most "
              f"{max(calm):.1f}); while all of it is asked for {statistics.median(busy):.1f} ms (at most {max(busy):.1f})")
    finally:
        end.set()
        for process in (ballast, replica):
            process.kill()
            process.wait()
    return 0
