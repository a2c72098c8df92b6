"""What a fleet of replicas gives behind ballast: how rate grows, what a death costs, how fast a refusal is."""

import http.client
import subprocess
import threading
import time

import proxies

BODY = b'{"model": "demo", "messages": []}'
CONFIG = """listen = 127.0.0.1:{port}
servers = {servers}
maxconn = 4
health-every = 500ms
[stats]
listen = 127.0.0.1:{stats}
"""


class Fleet:
    """ballast before `count` replicas of 4 slots, each generation 40 ms: their rate is bounded by slots, not by CPU."""

    port, stats, first = 18100, 18101, 18110

    def __init__(self, count):
        self.replicas = []
        for number in range(count):
            self.replicas.append(self.replica(number))
        file = proxies.folder / "fleet.ini"
        servers = " ".join(f"127.0.0.1:{self.first + number}" for number in range(count))
        file.write_text(CONFIG.format(port=self.port, stats=self.stats, servers=servers))
        self.ballast = proxies.Running("ballast", [proxies.binaries / "ballast", "-c", file], self.port, 0)
        time.sleep(1)

    def replica(self, number):
        command = [proxies.binaries / "demo-replica", "--port", self.first + number, "--slots", 4, "--ttft", 20,
                   "--tpot", 20, "--tokens", 2]
        return proxies.Running(f"replica {number}", command, self.first + number, 1)

    def stop(self):
        self.ballast.stop()
        for replica in self.replicas:
            replica.stop()


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def load(clients, seconds, during=None):
    """Chats by `clients` at a time; how many succeeded, how many did not, and the rate."""
    end = time.monotonic() + seconds
    good, bad = [0] * clients, [0] * clients

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", Fleet.port, timeout=30)
        while time.monotonic() < end:
            try:
                status = ask(connection, "POST", "/v1/chat/completions", BODY)
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            (good if status == 200 else bad)[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    if during:
        during()
    for thread in threads:
        thread.join()
    return sum(good), sum(bad), sum(good) / (time.monotonic() - started)


def grow(seconds):
    """The rate of three replicas to that of one, at the same 24 clients."""
    rates = []
    for count in (1, 3):
        fleet = Fleet(count)
        try:
            good, bad, rate = load(24, seconds)
            rates.append(rate)
            print(f"  {count} replica{'s' if count > 1 else ' '}: {rate:7.1f} requests/s, {good} good, {bad} bad")
        finally:
            fleet.stop()
    print(f"  three to one: {rates[1] / rates[0]:.2f}")


def kill(seconds):
    """One of three replicas is killed in the middle of a run of POSTs."""
    fleet = Fleet(3)

    def murder():
        time.sleep(seconds / 2)
        fleet.replicas[1].process.kill()

    try:
        good, bad, rate = load(12, seconds, murder)
        print(f"  {good} good, {bad} bad: {100 * good / (good + bad):.3f} % success, {rate:.0f} requests/s")
    finally:
        fleet.stop()


def down(seconds):
    """Refusals while no server can serve: latencies of one client after another."""
    fleet = Fleet(1)
    try:
        fleet.replicas[0].process.kill()
        connection = http.client.HTTPConnection("127.0.0.1", Fleet.port, timeout=30)
        while ask(connection, "GET", "/health") != 503:
            time.sleep(0.1)
        spent = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.monotonic()
            if ask(connection, "GET", "/health") != 503:
                raise SystemExit("a server came back from the dead")
            spent.append((time.monotonic() - started) * 1000)
        spent.sort()
        print(f"  {len(spent)} refusals: p50 {spent[len(spent) // 2]:.2f} ms, p99 {spent[len(spent) * 99 // 100]:.2f} ms, "
              f"longest {spent[-1]:.2f} ms")
        fleet.replicas[0] = fleet.replica(0)
        started = time.monotonic()
        while ask(connection, "GET", "/health") == 503:
            time.sleep(0.005)
        print(f"  served again {time.monotonic() - started:.2f} s after the server was back (checks every 0.5 s, rise 2)")
    finally:
        fleet.stop()


def frozen():
    """SIGSTOP of an idle replica with the default checks: how long until it is out."""
    fleet = Fleet(2)
    file = proxies.folder / "fleet.ini"
    file.write_text(file.read_text().replace("health-every = 500ms\n", ""))
    fleet.ballast.stop()
    fleet.ballast = proxies.Running("ballast", [proxies.binaries / "ballast", "-c", file], Fleet.port, 0)
    try:
        time.sleep(4)
        fleet.replicas[0].process.send_signal(19)
        started = time.monotonic()
        name = f'server="127.0.0.1:{Fleet.first}",state="down"'
        while True:
            text = subprocess.run(["curl", "-s", f"http://127.0.0.1:{Fleet.stats}/metrics"], capture_output=True,
                                  text=True).stdout
            if any(name in line and line.endswith(" 1") for line in text.splitlines()):
                break
            time.sleep(0.02)
        print(f"  out after {time.monotonic() - started:.1f} s")
    finally:
        fleet.replicas[0].process.send_signal(18)
        fleet.stop()


def run(seconds):
    print("\ngrow: 24 clients, 4 slots of 40 ms a replica")
    grow(seconds)
    print("\nkill: 12 clients' POSTs, one of three replicas killed halfway")
    kill(max(30, seconds))
    print("\ndown: no server")
    down(1)
    print("\nfrozen: SIGSTOP, default checks")
    frozen()
    return 0
