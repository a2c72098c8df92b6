"""Faults of replicas, clients, the system and operators, each with its injection and what must come of it. `faults.tsv` says
where every fault of the book is tested."""

import collections
import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import uuid

import pytest
import requests

from conftest import binary, for_json, patience, read_all, wait_until

QUICK = ("health-every = 100ms", "health-timeout = 300ms")
folder = pathlib.Path(__file__).resolve().parent


def test_every_fault_has_its_test():
    """Each row names tests that exist, or says why there is none."""
    tests = {found for file in folder.glob("test_*.py") for found in re.findall(r"^def (test_\w+)", file.read_text(), re.M)}
    rows = [line.split("\t") for line in (folder / "faults.tsv").read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == len({row[0] for row in rows}) == 69
    for ident, _, where in rows:
        for name in where.split():
            if not where.startswith("- "):
                assert name in tests or name.startswith("Scripts/"), f"{ident}: {name}"


def stamped(method, url, **options):
    """One request under an id of its own; the id and the answer."""
    ident = uuid.uuid4().hex
    return ident, requests.request(method, url, headers={"X-Request-ID": ident, **for_json}, timeout=patience, **options)


def runs(replicas):
    return collections.Counter(ident for replica in replicas for ident in replica.books()["seen"])


def refused(connection, _=None):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def all_up(ballast, replicas):
    for replica in replicas:
        ballast.wait_for_state(replica, "up")


# Replicas


def test_R01_an_idle_replica_dies(start, mortal):
    """No client sees it, POSTs included: who is refused has run nothing."""
    three = [mortal(name) for name in ("a", "b", "c")]
    ballast = start(three, "health-every = 1h", "eject-after = 5", "balance = round-robin")
    all_up(ballast, three)
    three[0].process.kill()
    asked = [stamped("POST", ballast.url + "/predict", data="x") for _ in range(30)]
    assert {answer.status_code for _, answer in asked} == {200}
    seen = runs(three[1:])
    assert all(seen[ident] == 1 for ident, _ in asked)
    assert ballast.metric("ballast_retries_total", reason="connect") >= 5
    # After eject-after connections nobody tries it for a while.
    ballast.process.line(rf"{three[0].port} is ejected")


def test_R02_a_replica_dies_before_it_answers(start, mortal):
    """POST: an answer at once, and no second run. GET: one more try."""
    dying, well = mortal("dying"), mortal("well")
    ballast = start([dying, well], "health = off", "balance = round-robin", "eject-after = 0")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        posts = [pool.submit(stamped, "POST", ballast.url + "/work/600000", data="x") for _ in range(2)]
        wait_until(lambda: dying.books()["seen"] and well.books()["seen"], "one POST on each")
        victim = set(dying.books()["seen"])
        dying.process.kill()
        done, _ = concurrent.futures.wait(posts, return_when=concurrent.futures.FIRST_COMPLETED, timeout=patience)
        ident, answer = done.pop().result()
        assert ident in victim and (answer.status_code, answer.json()["error"]["type"]) == (502, "reset")
        assert runs([well])[ident] == 0
        assert ballast.metric("ballast_retries_total") == 0
        # The other POST runs for ten minutes: it is not waited for.
        back = mortal("back", dying.port)
        gets = [pool.submit(stamped, "GET", ballast.url + "/work/2000") for _ in range(2)]
        wait_until(lambda: back.books()["seen"], "a GET there")
        back.process.kill()
        answers = [get.result() for get in gets]
        assert {answer.status_code for _, answer in answers} == {200}
        assert ballast.metric("ballast_retries_total", reason="reset") == 1
        well.process.kill()


def test_R03_a_replica_dies_in_its_answer(start, mortal):
    """The client sees that it is cut, and the log says who cut it."""
    only = mortal("only")
    ballast = start([only], "health = off", "access-log = stderr")
    answer = requests.post(ballast.url + "/ticks/1000/20", data="x", stream=True, timeout=patience)
    pieces = answer.iter_content(64)
    next(pieces)
    only.process.kill()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for _ in pieces:
            pass
    assert ballast.metric("ballast_request_errors_total", reason="truncated") == 1
    assert ballast.metric("ballast_retries_total") == 0
    ballast.process.line(r'200 default/\S+ .* end=cut:reset')


def test_R05_all_replicas_freeze(start, mortal):
    """200 clients: the line fills, then 503 with Retry-After; memory stays, and the page answers."""
    two = [mortal(name) for name in ("a", "b")]
    ballast = start(two, *QUICK, "maxconn = 4", "queue = 100", "timeout-queue = 2s", "timeout-response = 3s", "threads = 2")
    all_up(ballast, two)
    for replica in two:
        replica.process.signal(signal.SIGSTOP)
    answers = []

    def ask(_):
        answer = stamped("POST", ballast.url + "/predict", data="x")[1]
        answers.append((answer.status_code, answer.json()["error"]["type"], answer.headers.get("Retry-After")))

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        running = [pool.submit(ask, number) for number in range(200)]
        wait_until(lambda: any(kind == "queue_full" for _, kind, _ in list(answers)), "the line to be full")
        assert requests.get(ballast.stats + "/", timeout=patience).status_code == 200
        for one in running:
            one.result()
    kinds = collections.Counter((status, kind) for status, kind, _ in answers)
    assert set(kinds) <= {(503, "queue_full"), (503, "queue_timeout"), (503, "no_server"), (504, "first_byte_timeout")}
    assert sum(kinds.values()) == 200 and kinds[504, "first_byte_timeout"] <= 16
    assert all(retry for status, _, retry in answers if status == 503)
    assert ballast.metric("process_resident_memory_bytes") < 100 << 20
    for replica in two:
        replica.process.signal(signal.SIGCONT)
    all_up(ballast, two)
    assert stamped("POST", ballast.url + "/predict", data="x")[1].status_code == 200


@pytest.mark.parametrize("behave", [refused, lambda connection, head: None], ids=["R11-resets", "R12-closes"])
def test_R11_R12_a_replica_hangs_up_on_what_it_was_asked(start, scripted, replicas, behave):
    bad = scripted(behave)
    ballast = start([bad, replicas[0]], "health = off", "balance = round-robin", "eject-after = 0")
    posts = [stamped("POST", ballast.url + "/predict", data="x") for _ in range(6)]
    assert collections.Counter(answer.status_code for _, answer in posts) == {200: 3, 502: 3}
    seen = runs(replicas[:1])
    assert all(seen[ident] == (answer.status_code == 200) for ident, answer in posts)
    assert len(bad.received) == 3
    assert {stamped("GET", ballast.url + "/predict")[1].status_code for _ in range(4)} == {200}


def test_R13_kept_connections_that_close_at_the_moment_of_their_use(start):
    """2,000 POSTs to a server that closes a millisecond after each answer: none runs twice, and only those fail that were on
    their way when the end came."""
    ran = collections.Counter()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def finish(connection):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def serve(connection):
        reader = connection.makefile("rb")
        with connection, contextlib.suppress(OSError):
            while head := reader.readline():
                fields = {}
                while (line := reader.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b": ")
                    fields[name.lower()] = value.strip()
                reader.read(int(fields.get(b"content-length", 0)))
                ran[fields.get(b"x-request-id")] += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                threading.Timer(0.001, finish, (connection,)).start()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    ballast = start([listener.getsockname()[1]], "health = off", "eject-after = 0", "threads = 1")
    session = requests.Session()
    statuses = collections.Counter()
    for number in range(2000):
        status = session.post(ballast.url, data="x", headers={"X-Request-ID": f"n{number}"}, timeout=patience).status_code
        statuses[status] += 1
        assert ran[f"n{number}".encode()] <= 1
        assert status == 502 or ran[f"n{number}".encode()] == 1
    assert set(statuses) <= {200, 502}
    # Each loss was counted, and each was the end of a kept connection.
    assert ballast.metric("ballast_request_errors_total", reason="reset") == statuses[502]
    assert ballast.metric("ballast_stale_connections_total") >= statuses[502]
    listener.close()


def test_R14_a_head_that_trickles_in(start, scripted):
    """The time limit is for all of it: bytes do not renew it."""
    def trickle(connection, _):
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 1000:
            connection.sendall(bytes([byte]))
            stop.wait(0.02)

    stop = threading.Event()
    ballast = start([scripted(trickle)], "health = off", "timeout-response = 500ms")
    answer = requests.post(ballast.url, headers=for_json, timeout=patience)
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "first_byte_timeout")
    stop.set()


def test_R15_a_good_head_then_silence(start, scripted):
    def say(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        connection.recv(1)

    ballast = start([scripted(say)], "health = off", "timeout-idle = 300ms")
    with pytest.raises(requests.exceptions.RequestException):
        requests.get(ballast.url, timeout=patience)
    assert ballast.metric("ballast_request_errors_total", reason="idle_timeout") == 1


def test_R16_never_more_than_half_are_ejected(start, scripted):
    failing = [scripted(lambda connection, _: connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
               for _ in range(4)]
    ballast = start(failing, "health = off", "eject-on = 500", "eject-after = 2", "eject-for = 1h", "balance = round-robin")
    for _ in range(60):
        assert requests.get(ballast.url, timeout=patience).status_code == 500
        assert ballast.metric("ballast_server_state", state="ejected") <= 2
    assert ballast.metric("ballast_server_state", state="ejected") == 2


def test_R18_checks_that_pass_and_fail_in_turn_change_nothing(start, scripted):
    checks = []

    def flip(connection, head):
        checks.append(head)
        status = b"200 OK" if len(checks) % 2 else b"503 No"
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)

    ballast = start([scripted(flip)], "health = GET /health", "health-every = 20ms")
    wait_until(lambda: len(checks) > 40, "forty checks")
    assert sum(" is up" in line or " is down" in line for line in ballast.process.lines) == 1


def test_R22_a_replica_that_stops_reading_stops_its_client(start, mortal):
    """A 1 GB upload: what is not read is not kept."""
    frozen = mortal("frozen")
    ballast = start([frozen], "health = off", "timeout-response = 1h", "body-buffer = 0")
    link = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    requests.get(ballast.url + "/predict", timeout=patience)
    before = ballast.metric("process_resident_memory_bytes")
    frozen.process.signal(signal.SIGSTOP)
    link.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    link.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1_000_000_000:
            sent += link.send(bytes(1 << 16))
    assert sent < 64 << 20
    assert ballast.metric("process_resident_memory_bytes") - before < 2 << 20
    link.close()
    frozen.process.signal(signal.SIGCONT)
    wait_until(lambda: ballast.metric("ballast_client_aborts_total", phase="uploading") == 1, "the end of it")


def test_R29_a_weight_of_nothing_in_mid_traffic(start, replicas):
    """A server drains: what runs there finishes, nothing new begins, nobody notices."""
    names = [f"server = s{number} 127.0.0.1:{replica.port}" for number, replica in enumerate(replicas[:2])]
    ballast = start([], *names, "health = off", "balance = round-robin")
    stop, statuses, ids = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            ident, answer = stamped("POST", ballast.url + "/work/30", data="x")
            ids.append(ident)
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(statuses) > 30, "some load")
    ballast.reload([], names[0] + " weight=0", names[1], "health = off", "balance = round-robin")
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests", server="s0") == 0, "it to be empty")
    begun = runs(replicas[:1])
    before = len(statuses)
    wait_until(lambda: len(statuses) > before + 30, "more load")
    assert runs(replicas[:1]) == begun
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    seen = runs(replicas[:2])
    assert all(seen[ident] == 1 for ident in ids)


# Clients


def test_C19_many_paths_and_hosts_leave_no_trace(start, scripted):
    """Nothing that a client says becomes a label, or is remembered."""
    def answer(connection, head):
        data = head
        while True:
            for _ in range(data.count(b"\r\n\r\n")):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            data = connection.recv(1 << 16)
            if not data:
                return

    ballast = start([scripted(answer)], "health = off", "threads = 1")

    def ask(numbers):
        with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as link:
            data = b"".join(b"GET /%d/x?y=%d HTTP/1.1\r\nHost: h%d.test\r\nX-Request-ID: i%d\r\n\r\n" % ((number,) * 4) for number in numbers)
            threading.Thread(target=link.sendall, args=(data,), daemon=True).start()
            got = b""
            while got.count(b"\r\n\r\n") < len(numbers):
                got += link.recv(1 << 20)

    ask(range(500))
    series, memory = len(ballast.metrics()), ballast.metric("process_resident_memory_bytes")
    for start_ in range(1000, 11_000, 500):
        ask(range(start_, start_ + 500))
    assert len(ballast.metrics()) == series
    assert ballast.metric("process_resident_memory_bytes") - memory < 2 << 20


# The system


def test_S06_a_clock_that_jumps(start, replicas, tmp_path):
    """An hour back and forth: no time limit is early or late, no duration is wrong; only the times in the log step."""
    library = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
    if not library.exists():
        pytest.skip("the package faketime is missing")
    # The library sets variables of its own when it is first loaded, before Swift has found its arguments behind them: so
    # another program has to be the first.
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = ("env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={clock}", "FAKETIME_NO_CACHE=1",
                   "FAKETIME_DONT_FAKE_MONOTONIC=1", "setsid")
    ballast = start(replicas[:1], "timeout-response = 2s", "timeout-keepalive = 1h", "access-log = stderr", "health-every = 200ms",
                    prefix=environment)
    session = requests.Session()
    for offset in ("+0", "+3600", "-3600", "+0"):
        clock.write_text(offset)
        answers = [session.get(ballast.url + "/work/100", timeout=patience) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {200}
        wait_until(lambda: any("/work/100" in each for each in ballast.process.lines), "the log")
        totals = [float(re.search(r"total=([0-9.]+)ms", each)[1]) for each in ballast.process.lines if "/work/100" in each]
        assert all(50 < total < 30_000 for total in totals)
    # The time limit that is not reached did not fire, and one that is does.
    answer = session.get(ballast.url + "/work/600000", timeout=patience)
    assert answer.status_code == 504
    stamps = [re.search(r"T(\d\d):", each)[1] for each in ballast.process.lines if "/work/100" in each]
    assert len(set(stamps)) >= 3, "the clock was not moved"
    assert ballast.metric("ballast_request_errors_total", reason="first_byte_timeout") == 1


def test_S10_nothing_to_read_from_and_nothing_to_write_to(replicas):
    """Standard input, output and error are closed at the start: no socket takes their place, and nothing is written there."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = f'exec {binary} -l 127.0.0.1:{port} 127.0.0.1:{replicas[0].port} <&- >&- 2>&-'
    process = subprocess.Popen(["sh", "-c", command])
    try:
        def answers():
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"http://127.0.0.1:{port}/predict", timeout=patience).status_code == 200

        wait_until(answers, "an answer")
        for number in (0, 1, 2):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=patience) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("content, message", [
    (b"\0" * 4096, "NUL"), (b"listen = :1\nservers = 127.0.0.1:1\nbalance = roun", "did you mean"), (b"", "nothing to listen on"),
    (b"# x\n" * (5 << 20), "large"), (b"\xff\xfe\xfa", "UTF-8"),
])
def test_S11_a_file_that_is_no_configuration(start, replicas, tmp_path, content, message):
    """Refused with its place and reason; what runs is as it was."""
    file = tmp_path / "bad.ini"
    file.write_bytes(content)
    result = subprocess.run([binary, "-c", file], capture_output=True, text=True, timeout=patience)
    assert result.returncode == 2 and "bad.ini" in result.stderr and message in result.stderr, result.stderr[:300]
    ballast = start(replicas[:1], "health = off")
    ballast.file.write_bytes(content)
    ballast.process.signal(signal.SIGHUP)
    ballast.process.line("the configuration is refused")
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
    assert ballast.metric("ballast_config_last_reload_successful") == 0
