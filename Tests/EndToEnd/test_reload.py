"""Reloads on the real binary: nothing is cut, failed or run twice; a mistake changes nothing."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
import requests

from conftest import Process, Replica, binary, patience, read_all, wait_until
from load import Load


def named(*replicas):
    return [f"server = {replica.name} 127.0.0.1:{replica.port}" for replica in replicas]


def backend(*settings, name="chat"):
    return [f"[backend {name}]", *settings]


async def changed(ballast, lines, **options):
    return await asyncio.to_thread(ballast.reload, [], *lines, **options)


def test_what_changes_is_told_in_a_few_lines(start, replicas):
    one, two, three = replicas
    ballast = start([], *backend(*named(one, two), "maxconn = 10", "queue = 50"))
    lines = ballast.reload([], "log-level = debug", *backend(*named(one, three), "maxconn = 12", "queue = 50"))
    assert "ballast: info: chat: + three, - two, maxconn 10 → 12" in lines
    assert "ballast: info: global: log-level info → debug" in lines
    assert "reloaded; nothing has changed" in " ".join(ballast.reload())
    lines = ballast.reload([], *backend(*named(one)), *backend("path = /x", *named(three), name="other"))
    assert "ballast: info: + backend other: three" in lines
    lines = ballast.reload([], *backend(f"server = one 127.0.0.1:{one.port} weight=2 backup", "path = /v1"))
    assert "ballast: info: - backend other" in lines
    assert "ballast: info: chat: one weight 1 → 2, one backup, + path /v1" in lines


def test_counts_and_health_go_on(start, replicas):
    ballast = start([], "health-every = 1h", *backend(*named(*replicas[:2])))
    for server in ("one", "two"):
        ballast.wait_for_state(server, "up", "chat")
    for _ in range(10):
        requests.get(ballast.url + "/predict", timeout=patience)
    before = ballast.metric("ballast_server_responses_total", backend="chat", code="2xx")
    checks = ballast.metric("ballast_server_health_checks_total", backend="chat", server="one")
    ballast.reload([], "health-every = 1h", "maxconn = 7", *backend(*named(*replicas)))
    assert ballast.metric("ballast_server_responses_total", backend="chat", code="2xx") == before == 10
    assert ballast.metric("ballast_server_state", backend="chat", server="one", state="up") == 1
    assert ballast.metric("ballast_server_inflight_limit", server="two") == 7
    # Who is known is not asked again because of a reload; who is new is, at once.
    ballast.wait_for_state("three", "up", "chat")
    assert ballast.metric("ballast_server_health_checks_total", backend="chat", server="one") == checks


def test_the_rhythm_of_checks_changes_at_once(start, replicas):
    ballast = start(replicas[:1], "health-every = 1h")
    wait_until(lambda: ballast.metric("ballast_server_health_checks_total", result="pass") == 1, "the first check")
    ballast.reload(replicas[:1], "health-every = 20ms")
    wait_until(lambda: ballast.metric("ballast_server_health_checks_total", result="pass") > 3, "checks in a new rhythm")
    ballast.reload(replicas[:1], "health = off")
    after = ballast.metric("ballast_server_health_checks_total", result="pass")
    requests.get(ballast.url + "/predict", timeout=patience)
    assert ballast.metric("ballast_server_health_checks_total", result="pass") == after


def test_a_removed_server_finishes_what_it_has(start, replicas):
    one, two = replicas[:2]
    ballast = start([], *backend(*named(one)))
    held = threading.Thread(target=lambda: answers.append(requests.get(ballast.url + "/steps/removed?count=3")))
    answers = []
    held.start()
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests", server="one") == 1, "a stream")
    ballast.reload([], *backend(*named(two)))
    assert ballast.metric("ballast_server_state", server="one", state="draining") == 1
    assert requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] == "two"
    for number in range(3):
        requests.post(f"{one.url}/confirm/removed/{number}", timeout=patience)
    held.join(patience)
    assert answers[0].text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    ballast.process.line("chat/one, which was removed, has finished its last request")
    assert not any('server="one"' in sample for sample in ballast.metrics())


def test_a_removed_backend_serves_its_line_to_the_end(start, replicas):
    one, two = replicas[:2]
    old = backend("path = /", "maxconn = 1", "health = off", *named(one), name="old")
    ballast = start([], *old)
    answers = []

    def ask(number):
        answers.append((number, requests.post(f"{ballast.url}/work/300", timeout=patience).json()["replica"]))

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        wait_until(lambda: ballast.metric("ballast_queued_requests", backend="old")
                   + ballast.metric("ballast_server_inflight_requests", backend="old") == number + 1, "one more")
    ballast.reload([], *backend("health = off", *named(two), name="new"))
    assert ballast.metric("ballast_queued_requests", backend="old") > 0
    assert requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] == "two"
    for thread in threads:
        thread.join(patience)
    assert answers == [(number, "one") for number in range(4)]
    wait_until(lambda: not any('backend="old"' in sample for sample in ballast.metrics()), "the old backend to go")


def test_the_line_keeps_its_order_under_new_limits(start, mortal):
    one = mortal("one")
    ballast = start([one], "health = off", "maxconn = 1")
    threads = []

    def ask(number):
        requests.post(f"{ballast.url}/work/200", headers={"X-Request-ID": f"n{number}"}, timeout=patience)

    for number in range(8):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        wait_until(lambda: ballast.metric("ballast_queued_requests")
                   + ballast.metric("ballast_server_inflight_requests") >= number + 1, "one more in line")
    ballast.reload([one], "health = off", "maxconn = 3")
    wait_until(lambda: one.books()["most"] == 3, "three at a time")
    ballast.reload([one], "health = off", "maxconn = 1", "queue = 1")
    for thread in threads:
        thread.join(patience)
    # Three that are let in at the same moment arrive in any order.
    arrivals = [int(ident[1:]) for ident in one.books()["arrivals"]]
    assert sorted(arrivals) == list(range(8)) and all(abs(place - number) <= 2 for place, number in enumerate(arrivals))
    assert ballast.metric("ballast_requests_total", code="5xx") == 0


def answer_on(connection):
    """One answer of /predict."""
    connection.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"}"):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received.lower()


def test_listeners_come_and_go(start, replicas):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ballast = start(replicas[:1])
    kept = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    lines = ballast.reload(replicas[:1], f"listen = 127.0.0.1:{port}")
    assert f"ballast: info: listening on 127.0.0.1:{port}" in lines
    assert f"ballast: info: global: + listen 127.0.0.1:{port}" in lines
    second = socket.create_connection(("127.0.0.1", port), timeout=patience)
    assert b"connection: close" not in answer_on(second)
    ballast.reload(replicas[:1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=patience)
    # Its connections are not cut: the next answer is their last.
    assert b"connection: close" in answer_on(second)
    assert read_all(second) == b""
    # The one that stayed is the same socket, and its connections go on.
    assert b"connection: close" not in answer_on(kept)


def test_an_address_that_becomes_all_addresses_resets_nobody(start, replicas):
    ballast = start(replicas[:1], "health = off")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    forms = [f"127.0.0.1:{port}", f"0.0.0.0:{port}", f":{port}"]
    ballast.reload(replicas[:1], "health = off", f"listen = {forms[0]}")
    isOver = threading.Event()
    ends = []

    def clients():
        while not isOver.is_set():
            with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
                connection.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                ends.append(read_all(connection)[:15])

    threads = [threading.Thread(target=clients) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        ballast.reload(replicas[:1], "health = off", f"listen = {forms[(number + 1) % 3]}")
    isOver.set()
    for thread in threads:
        thread.join(patience)
    assert set(ends) == {b"HTTP/1.1 200 OK"} and len(ends) > 50
    # However often it changed, each worker has one socket for each form at most.
    def listening():
        told = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True).stdout
        return len(told.splitlines())

    wait_until(lambda: 0 < listening() <= 2 * (os.cpu_count() or 1), "retired sockets to close")


def test_pipes_are_not_waited_for(start, replicas, tmp_path):
    ballast = start(replicas[:1])
    text = ballast.file.read_text()
    ballast.file.unlink()
    os.mkfifo(ballast.file)
    assert any("cannot read the file" in line for line in ballast.reload(refused=True))
    ballast.file.unlink()
    ballast.file.write_text(text)
    ballast.reload()


def test_standard_input_cannot_be_read_again(replicas):
    process = Process([binary, "-c", "-"], stream="stderr", stdin=subprocess.PIPE)
    try:
        process.process.stdin.write(
            f"listen = 127.0.0.1:0\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = off\n")
        process.process.stdin.close()
        process.line("is ready")
        process.signal(signal.SIGHUP)
        process.line("came from standard input, which cannot be read again")
    finally:
        process.kill()


def test_a_name_that_moves_is_told_apart(start, replicas):
    one, two = replicas[:2]
    ballast = start([], *backend(f"server = gpu 127.0.0.1:{one.port}"))
    held = threading.Thread(target=lambda: requests.get(ballast.url + "/steps/moved?count=2", timeout=patience))
    held.start()
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests", server="gpu") == 1, "a stream")
    ballast.reload([], *backend(f"server = gpu 127.0.0.1:{two.port}"))
    text = requests.get(ballast.stats + "/metrics", timeout=patience).text
    names = [line.rpartition(" ")[0] for line in text.splitlines() if "server=" in line]
    assert len(names) == len(set(names))
    assert ballast.metric("ballast_server_state", server=f"gpu@127.0.0.1:{one.port}", state="draining") == 1
    requests.post(f"{one.url}/confirm/moved/0", timeout=patience)
    held.join(patience)


def test_servers_of_one_name_keep_their_addresses(start, tmp_path):
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"]).returncode != 0:
        pytest.skip("NOT TESTED: a mount namespace of its own needs root")
    hosts = tmp_path / "hosts"

    def lead_to(*numbers):
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.{number} fleet\n" for number in numbers))

    lead_to(2, 3, 4)
    inside = ["unshare", "-m", "bash", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "bash"]
    lines = ["health = off", *backend(*(f"server = n{number} fleet:8000" for number in range(3)))]
    ballast = start([], *lines, prefix=inside)

    def told():
        return [line.partition("chat: ")[2] for line in ballast.reload() if "chat: " in line]

    lead_to(4, 2, 3)
    assert told() == []
    lead_to(3, 4, 5)
    assert told() == ["n0 127.0.0.2:8000 → 127.0.0.5:8000"]
    lead_to(5, 4)
    assert told() == ["n1 127.0.0.3:8000 → 127.0.0.4:8000"]
    ballast.reload([], "health = off", *backend("server = n1 fleet:8000", "server = n2 fleet:8000"))
    lead_to(4, 5, 6)
    assert told() == []


def test_a_listener_is_dropped_and_put_back_at_once(start, replicas):
    ballast = start(replicas[:1], "max-connections = 1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    held = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    answer_on(held)
    for _ in range(5):
        ballast.reload(replicas[:1], "max-connections = 1", f"listen = 127.0.0.1:{port}")
        # It waits because there is no room; dropped, it is served.
        waiting = socket.create_connection(("127.0.0.1", port), timeout=patience)
        ballast.reload(replicas[:1], "max-connections = 1")
        assert b"connection: close" in answer_on(waiting)


def test_a_log_that_loses_lines_says_so_once(start, replicas):
    ballast = start(replicas[:1], "access-log = /dev/full", "health = off")
    for _ in range(20):
        requests.get(ballast.url + "/predict", timeout=patience)
    ballast.process.line("error: the log '/dev/full' cannot be written; its lines are lost until it can")
    wait_until(lambda: ballast.metric("ballast_log_lines_dropped_total") == 20, "every lost line to be counted")
    assert sum("/dev/full" in line for line in ballast.process.lines) == 1


MISTAKES = [
    ("unknown-key = 1", r"ballast\.ini:3:1: error: unknown key"),
    ("max-connections = many", "is not a whole number"),
    ("timeout-head = 10", "has no unit"),
    ("balance = best", "is not known here"),
    ("[backend chat]", "has no servers"),
    ("[backend chat]\nserver = a 127.0.0.1:1\nmaxcon = 1", "unknown key 'maxcon' in .backend chat.; did you mean"),
    ("[backend chat]\nserver = a 127.0.0.1:1\nqueue = -1", "is not a whole number"),
    ("[backend chat]\nserver = a 127.0.0.1:1\npath = chat", "is not a path prefix"),
    ("[backend chat]\nserver = a 127.0.0.1:1\nserver = a 127.0.0.1:2", "two servers are called 'a'"),
    ("[backend a]\nserver = a 127.0.0.1:1\n[backend b]\nserver = b 127.0.0.1:1", "both serve every request"),
    ("[stats]\nauth = maybe", "takes NAME:SECRET"),
    ("[stats]\nlisten = 0.0.0.0:1", r"\[stats\] stands twice"),
    ("[frontend x]", r"unknown section \[frontend\]"),
    ("include = no/such/file.ini", "cannot read"),
    ("servers = no.such.host.invalid:80", "cannot resolve 'no.such.host.invalid'"),
    ("access-log = /no/such/folder/log", "cannot write the access log"),
    ("listen = TAKEN", "another process listens there"),
    ("listen = 192.0.2.7:0", "cannot listen on 192.0.2.7:0"),
    ("listen = systemd:web", "no socket was passed"),
    ("user = no-such-user-here", "there is no user or group"),
    ("via = ${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
    ("via = ${file:/no/such/secret}", "/no/such/secret"),
    ("via = \"open", "quote"),
    ("health = /health", "write GET /health"),
    ("server = a 127.0.0.1:1 weigth=2", "is not an option of 'server'; did you mean 'weight'?"),
]


@pytest.mark.parametrize("line, message", MISTAKES, ids=[line.splitlines()[-1] for line, _ in MISTAKES])
def test_a_mistake_changes_nothing(start, replicas, line, message):
    ballast = start(replicas[:1], "via = before", "health = off")
    samples = lambda: {name for name in ballast.metrics() if not name.startswith("process_")}
    before = samples()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = line.replace("TAKEN", f"127.0.0.1:{taken.getsockname()[1]}")
        # A listener beside the mistake must not open either.
        servers = None if line.startswith("[backend") else f"servers = 127.0.0.1:{replicas[1].port}"
        ballast.write([], servers, line)
        lines = ballast.reload(refused=True)
    # The log says that they are errors by itself.
    assert re.search(message.replace(": error: ", ": "), "\n".join(lines)), lines
    assert all("ballast: error: " in text for text in lines if "HUP: reading" not in text)
    assert ballast.metric("ballast_config_last_reload_successful") == 0
    assert samples() == before
    fields = dict(requests.get(ballast.url + "/fields", timeout=patience).json()["fields"])
    assert fields["via"] == "1.1 before"
    ballast.reload(replicas[:1], "via = after", "health = off")
    assert ballast.metric("ballast_config_last_reload_successful") == 1


def test_every_mistake_is_told(start, replicas):
    ballast = start(replicas[:1])
    lines = ballast.reload(replicas[:1], "thraeds = 2", "maxconn = x", *backend("balance = y"), refused=True)
    text = "\n".join(lines)
    assert "unknown key 'thraeds'" in text and "'x' is not" in text and "'y' is not" in text
    lines = ballast.reload(
        [], "access-log = /no/such/log", "servers = no.such.host.invalid:80 nor.this.invalid:80", refused=True)
    text = "\n".join(lines)
    assert "no.such.host.invalid" in text and "nor.this.invalid" in text and "/no/such/log" in text


def test_files_that_vanish_are_a_mistake(start, replicas, tmp_path):
    more, secret = tmp_path / "more.ini", tmp_path / "secret"
    more.write_text("maxconn = 3\n")
    secret.write_text("name")
    ballast = start(replicas[:1], f"include = {more}", f"via = ${{file:{secret}}}")
    for file in (more, secret):
        text = file.read_text()
        file.unlink()
        lines = ballast.reload(refused=True)
        assert any(str(file) in line and "no such file" in line for line in lines), lines
        assert ballast.metric("ballast_server_inflight_limit") == 3
        file.write_text(text)
    ballast.reload()
    more.write_text("maxconn = 4\n")
    assert any("maxconn 3 → 4" in line for line in ballast.reload())
    # A secret is compared, and never shown.
    secret.write_text("other")
    assert any("global: via *** → ***" in line for line in ballast.reload())


def test_what_only_a_start_can_change_is_told(start, replicas):
    ballast = start(replicas[:1], "threads = 1")
    lines = ballast.reload(replicas[:1], "threads = 2", "maxconn = 5")
    assert "ballast: warning: 'threads' takes effect with the next start, not by a reload" in lines
    assert ballast.metric("ballast_server_inflight_limit") == 5


def test_logs_move_with_the_configuration(start, replicas, tmp_path):
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    ballast = start(replicas[:1], f"access-log = {first}", "health = off")
    requests.get(ballast.url + "/predict", timeout=patience)
    ballast.reload(replicas[:1], f"access-log = {second}", "health = off")
    requests.get(ballast.url + "/predict", timeout=patience)
    ballast.reload(replicas[:1], "health = off")
    requests.get(ballast.url + "/predict", timeout=patience)
    for log in (first, second):
        wait_until(lambda: log.read_text().count("\n") == 1, "one line in each")
    wait_until(lambda: not any(str(tmp_path / "second") in name for name in open_files(ballast)), "the log to close")


def open_files(ballast):
    listing = subprocess.run(["ls", "-l", f"/proc/{ballast.process.process.pid}/fd"], capture_output=True, text=True)
    return [line.split(" -> ")[-1] for line in listing.stdout.splitlines() if " -> /" in line]


def test_a_hundred_reloads_under_load_are_not_noticed(start, mortal):
    """Each replaces, adds or removes a server and changes limits; 500 streams, short requests and uploads go on."""
    fleet = [mortal(f"r{number}") for number in range(4)]
    sets = [[0, 1, 2], [1, 2], [1, 2, 3], [0, 3], [0, 1, 2, 3], [2, 3], [0, 2], [3, 1]]

    def lines(number):
        members = [fleet[index] for index in sets[number % len(sets)]]
        return ["max-connections = 2000", f"maxconn = {[0, 300, 150, 0][number % 4]}", f"queue = {1000 + number}",
                f"pool-size = {number % 3 * 16}", f"retries = {number % 2}", *backend(
                    f"balance = {['least-connections', 'round-robin', 'random'][number % 3]}", *named(*members))]

    ballast = start([], *lines(0))
    load = Load(ballast.port)

    async def reloads():
        for number in range(1, 101):
            await changed(ballast, lines(number))
            await asyncio.sleep(0.05)

    asyncio.run(load.run(500, [0] * 6 + [256] * 6 + [300_000] * 3, reloads, count=20, milliseconds=700))
    load.judge(fleet)
    assert load.streams == 500 and load.requests > 500 and load.uploads > 50
    assert sum(" reloaded, in " in line for line in ballast.process.lines) == 100
    assert ballast.metric("ballast_request_errors_total") == 0
    assert ballast.metric("ballast_client_aborts_total") == 0


def test_twenty_rolling_replacements_are_not_noticed(start):
    """Each replica in turn is removed, waited for, stopped, started anew and put back."""
    fleet = [Replica(f"r{number}") for number in range(3)]
    books = []

    def members(without=None):
        return ["health-every = 100ms", *backend(*named(*(one for one in fleet if one is not without)))]

    try:
        ballast = start([], *members())
        load = Load(ballast.port)

        async def roll():
            for turn in range(20):
                old = fleet[turn % 3]
                await changed(ballast, members(without=old))
                await asyncio.to_thread(wait_until, lambda: not any(
                    f'server="{old.name}"' in sample for sample in ballast.metrics()), f"{old.name} to finish")
                books.append(await asyncio.to_thread(old.books))
                # Stopped as an operator does it: by now nothing that it holds is anybody's.
                old.process.signal(signal.SIGKILL)
                await asyncio.to_thread(old.process.wait)
                fleet[turn % 3] = await asyncio.to_thread(Replica, old.name, old.port)
                await changed(ballast, members())

        async def streams():
            while not load.isOver:
                await load.guarded("stream", load.stream(3, 100))

        async def everything():
            flows = [asyncio.create_task(streams()) for _ in range(10)]
            await load.run(0, [0] * 4 + [256] * 4 + [300_000], roll)
            await asyncio.gather(*flows)

        asyncio.run(everything())
        load.judge([*fleet, *(type("Stopped", (), {"books": lambda self, kept=kept: kept})() for kept in books)])
        assert load.requests > 200 and load.streams > 50
        assert ballast.metric("ballast_request_errors_total") == 0
    finally:
        for replica in fleet:
            replica.process.kill()


def test_a_thousand_reloads_leave_memory_and_descriptors_flat(start, replicas):
    ballast = start([], *backend(*named(*replicas)))

    def lap(count):
        for number in range(count):
            members = replicas if number % 2 else replicas[:2]
            settings = [f"maxconn = {number % 7}", *backend(*named(*members), name=f"b{number % 5}")]
            ballast.reload([], *settings)
            if number % 10 == 0:
                requests.get(ballast.url + "/predict", timeout=patience)
        return ballast.metric("process_resident_memory_bytes"), ballast.metric("process_open_fds")

    first, descriptors = lap(200)
    last, descriptors_after = lap(1000)
    assert last - first < 3 << 20, f"{(last - first) / 1024:.0f} KiB more after 1000 reloads"
    assert descriptors_after <= descriptors + 5
