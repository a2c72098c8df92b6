"""Reloads of a large configuration: how long from the signal to the new one in effect, and how long anybody waits."""

import http.client
import multiprocessing
import os
import re
import signal
import subprocess
import threading
import time

import proxies

PORT, REPLICA, STATS = 18120, 18121, 18122


def address(number):
    """One of loopback's 16 million: the same replica answers on all of them."""
    return f"127.{1 + number // 65025}.{number // 255 % 255}.{number % 255 + 1}:{REPLICA}"


def configuration(numbers, *settings):
    lines = [f"listen = 127.0.0.1:{PORT}", "health-every = 1h", *settings, "[stats]", f"listen = 127.0.0.1:{STATS}", "[backend fleet]"]
    return "\n".join([*lines, *(f"server = s{number} {address(number)}" for number in numbers)]) + "\n"


class Probe:
    """Asks without a pause, in a process of its own; the longest answer of each span is known at the end.

    It asks ballast itself, on the loop that also checks health: a replica that closes thousands of connections would
    tell of itself."""

    def __init__(self):
        self.pipe, end = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=self.ask, args=(end,))
        self.process.start()

    @staticmethod
    def ask(end):
        connection = http.client.HTTPConnection("127.0.0.1", STATS, timeout=30)
        spent = []
        while not end.poll():
            started = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            spent.append((started, time.monotonic() - started))
        end.send(spent)

    def stop(self):
        self.pipe.send("stop")
        self.spent = self.pipe.recv()
        self.process.join()

    def longest(self, start, end):
        spans = [spent for started, spent in self.spent if started + spent >= start and started <= end]
        return 1000 * max(spans, default=0)


def run(count):
    file = proxies.folder / "reload.ini"
    file.write_text(configuration(range(count)))
    replica = subprocess.Popen(
        [str(proxies.binaries / "demo-replica"), "--host", "0.0.0.0", "--port", str(REPLICA), "--slots", "4000"],
        stdout=subprocess.DEVNULL)
    ballast = subprocess.Popen([str(proxies.binaries / "ballast"), "-c", str(file)], stderr=subprocess.PIPE, text=True)
    lines = []

    def read():
        for line in ballast.stderr:
            lines.append((time.monotonic(), line.rstrip()))

    threading.Thread(target=read, daemon=True).start()

    def wait(pattern, after):
        while True:
            for at, line in list(lines)[after:]:
                if found := re.search(pattern, line):
                    return at, found
            time.sleep(0.001)

    try:
        wait("is ready", 0)
        # Every server is asked once, a millisecond apart.
        time.sleep(count / 1000 + 1)
        probe = Probe()
        time.sleep(2)
        quiet = time.monotonic()
        changes = [
            ("nothing", range(count), ()), ("maxconn of all", range(count), ("maxconn = 100",)),
            ("one more", range(count + 1), ("maxconn = 100",)), ("one less", range(count), ("maxconn = 100",)),
            ("half replaced", range(count // 2, count + count // 2), ("maxconn = 100",)),
            ("all replaced", range(2 * count, 3 * count), ("maxconn = 100",)),
            ("to ten", range(10), ()), ("back from ten", range(count), ()),
            ("ip-hash", range(count), ("balance = ip-hash",)),
        ]
        rows = []
        for what, numbers, settings in changes:
            file.write_text(configuration(numbers, *settings))
            seen = len(lines)
            sent = time.monotonic()
            os.kill(ballast.pid, signal.SIGHUP)
            at, found = wait(r"reloaded.* in ([\d.]+) ms; no loop was held longer than ([\d.]+) ms", seen)
            time.sleep(0.05)
            took, held = (at - sent) * 1000, float(found[2])
            rows.append((what, sent, at, took, held))
            time.sleep(0.5)
        probe.stop()
        print(f"{count} servers; the longest GET /healthz in 1 s without a reload: "
              f"{probe.longest(quiet - 1, quiet):.1f} ms")
        for what, sent, at, took, held in rows:
            print(f"  {what:<15} {took:7.0f} ms from HUP to the line; loops held {held:5.2f} ms; "
                  f"longest GET meanwhile {probe.longest(sent, at):6.1f} ms")
        worst = max(row[3] for row in rows), max(row[4] for row in rows)
        print(f"  at most {worst[0]:.0f} ms, and {worst[1]:.2f} ms for a loop")
    finally:
        ballast.terminate()
        ballast.wait(90)
        replica.terminate()
        replica.wait()
    return 0
