"""What faults cost everybody else: a replica dies every five seconds, another freezes; who fails, and how slow do the others get."""

import http.client
import subprocess
import threading
import time
import uuid

import proxies

PORT, STATS, FIRST, COUNT = 18140, 18141, 18142, 4
CONFIG = """listen = 127.0.0.1:{port}
servers = {servers}
health-every = 500ms
health-timeout = 500ms
access-log = {folder}/faults.log
[stats]
listen = 127.0.0.1:{stats}
"""
CHAT = b'{"model": "demo", "messages": [], "max_tokens": 1}'


def replica(number):
    command = [proxies.binaries / "demo-replica", "--port", str(FIRST + number), "--slots", "64", "--ttft", "20", "--tokens", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


class Load:
    """Clients that ask at a steady rhythm; each request with its time, its length and its status."""

    def __init__(self, clients=12):
        self.records, self.is_over = [], False
        self.threads = [threading.Thread(target=self.client, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        method, path, body = ("POST", "/v1/chat/completions", CHAT) if number % 2 else ("GET", "/v1/models", None)
        while not self.is_over:
            ident, began = uuid.uuid4().hex, time.monotonic()
            try:
                connection.request(method, path, body, headers={"X-Request-ID": ident})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            self.records.append((began, time.monotonic() - began, method, status, ident))
            time.sleep(0.01)

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


def p99(records):
    times = sorted(length for _, length, *_ in records)
    return 1000 * times[len(times) * 99 // 100] if times else 0


def run(seconds=60):
    servers = " ".join(f"127.0.0.1:{FIRST + number}" for number in range(COUNT))
    file = proxies.folder / "faults.ini"
    file.write_text(CONFIG.format(port=PORT, stats=STATS, servers=servers, folder=proxies.folder))
    replicas = [replica(number) for number in range(COUNT)]
    ballast = subprocess.Popen([proxies.binaries / "ballast", "-c", file], stderr=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: [None for _ in ballast.stderr], daemon=True).start()
    time.sleep(2)
    faults = []
    load = Load()
    try:
        time.sleep(5)
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            victim = number % COUNT
            faults.append(time.monotonic())
            replicas[victim].kill()
            replicas[victim].wait()
            time.sleep(1)
            replicas[victim] = replica(victim)
            time.sleep(4)
            number += 1
        kills = time.monotonic()
        faults.append(kills)
        replicas[0].send_signal(19)
        time.sleep(10)
        replicas[0].send_signal(18)
        time.sleep(2)
    finally:
        load.stop()
        ballast.terminate()
        ballast.wait()
        for process in replicas:
            process.kill()
    tell(load.records, faults, kills)
    return 0


def tell(records, faults, kills):
    log = (proxies.folder / "faults.log").read_text()
    failed = [record for record in records if record[3] != 200]
    for method in ("GET", "POST"):
        own = [record for record in records if record[2] == method]
        during = [record for record in failed if record[2] == method and record[0] < kills]
        print(f"  {method}: {len(own)} requests, {len(during)} failed under {len(faults) - 1} kills, "
              f"{sum(record[2] == method for record in failed) - len(during)} while one replica was frozen")
    if failed:
        ends = [line.rsplit("end=", 1)[1] for line in log.splitlines() if any(record[4] in line for record in failed)]
        print(f"  ends of the failed ones: {({end: ends.count(end) for end in set(ends)})}")
    # Who did not stand on the server at fault: whoever was answered at the first try.
    first = {line.split(" id=")[1].split(" ")[0] for line in log.splitlines() if " attempts=1 " in line and " 200 " in line}
    calm = [record for record in records if all(record[0] < fault - 1 or record[0] > fault + 3 for fault in faults)]
    near = [record for record in records if record[4] in first and any(fault <= record[0] < fault + 1 for fault in faults)]
    print(f"  99th percentile, answered at the first try: {p99(near):.1f} ms in the second after a fault, "
          f"{p99(calm):.1f} ms without one, ratio {p99(near) / p99(calm):.2f}")
