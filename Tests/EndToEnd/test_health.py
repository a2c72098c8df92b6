"""Servers that fail, freeze, get ill and come back: what checks, ejection and retries make of it."""

import collections
import concurrent.futures
import signal
import socket
import threading

import pytest
import requests
from conftest import binary, for_json, patience, Process, wait_until

quick = ("health-every = 100ms", "health-timeout = 200ms")


def load(ballast, stop, method, path, clients=6):
    """Asks until `stop` is set; statuses by the id of each request."""
    outcomes = {}

    def ask(client):
        number = 0
        while not stop.is_set():
            ident = f"{method}-{client}-{number}"
            number += 1
            answer = requests.request(method, ballast.url + path, headers={"X-Request-ID": ident}, timeout=patience)
            outcomes[ident] = answer.status_code

    pool = concurrent.futures.ThreadPoolExecutor(clients)
    running = [pool.submit(ask, client) for client in range(clients)]

    def join():
        for one in running:
            one.result()
        return outcomes

    return join


def test_killed_under_load(start, mortal, tmp_path):
    """GETs show nothing of it; POSTs run at most once each, and only those in flight at the dead replica fail."""
    three = [mortal(name) for name in ("a", "b", "c")]
    log = tmp_path / "access.log"
    ballast = start(three, *quick, f"access-log = {log}")
    for replica in three:
        ballast.wait_for_state(replica, "up")
    stop = threading.Event()
    gets = load(ballast, stop, "GET", "/work/20")
    posts = load(ballast, stop, "POST", "/work/20")
    wait_until(lambda: ballast.metric("ballast_requests_total", code="2xx") > 100, "some load")
    dead = three[1]
    dead.process.signal(signal.SIGKILL)
    ballast.wait_for_state(dead, "down")
    before = ballast.metric("ballast_requests_total", code="2xx")
    wait_until(lambda: ballast.metric("ballast_requests_total", code="2xx") > before + 100, "service to go on")
    # It comes back on its port, is found and used.
    back = mortal("b", dead.port)
    ballast.wait_for_state(dead, "up")
    wait_until(lambda: back.books()["seen"], "the replica to be used again")
    stop.set()
    failed = {ident: status for ident, status in gets().items() if status != 200}
    assert not failed, (failed, [line for line in log.read_text().splitlines() if any(ident in line for ident in failed)])
    outcomes = posts()
    failed = [ident for ident, status in outcomes.items() if status != 200]
    assert len(failed) <= 6, failed
    seen = collections.Counter(
        ident for replica in (three[0], three[2], back) for ident in replica.books()["seen"] if ident.startswith("POST"))
    assert max(seen.values()) == 1
    assert not set(failed) & set(seen)


def test_frozen_under_load(start, mortal):
    """SIGSTOP: out after its checks time out; what may be replayed goes elsewhere, late answers go nowhere."""
    three = [mortal(name) for name in ("a", "b", "c")]
    ballast = start(three, *quick, "health-busy = 1s")
    for replica in three:
        ballast.wait_for_state(replica, "up")
    stop = threading.Event()
    gets = load(ballast, stop, "GET", "/work/20")
    wait_until(lambda: ballast.metric("ballast_requests_total", code="2xx") > 50, "some load")
    frozen = three[0]
    frozen.process.signal(signal.SIGSTOP)
    # It had requests, so it is busy first; nothing comes from it, so it is down then.
    ballast.process.line(rf"{frozen.port} is (busy|down)")
    ballast.wait_for_state(frozen, "down")
    frozen.process.signal(signal.SIGCONT)
    ballast.wait_for_state(frozen, "up")
    stop.set()
    assert set(gets().values()) == {200}


def test_health_503_takes_a_server_out(start, mortal):
    ill, well = mortal("ill"), mortal("well")
    ballast = start([ill, well], *quick)
    for replica in (ill, well):
        ballast.wait_for_state(replica, "up")
    requests.post(ill.url + "/sick/503", timeout=patience)
    ballast.process.line(rf"{ill.port} is down: status 503")
    assert {requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] for _ in range(6)} == {"well"}
    requests.post(ill.url + "/sick/200", timeout=patience)
    ballast.wait_for_state(ill, "up")


def test_all_down_answers_503_at_once_and_recovers(start, mortal):
    only = mortal("only")
    ballast = start([only], "health-every = 300ms")
    ballast.wait_for_state(only, "up")
    only.process.kill()
    ballast.wait_for_state(only, "down")
    answer = requests.get(ballast.url + "/predict", headers=for_json, timeout=patience)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "no_server")
    assert answer.headers["Retry-After"] == "1"
    assert requests.get(ballast.stats + "/readyz", timeout=patience).status_code == 200
    mortal("only", only.port)
    ballast.wait_for_state(only, "up")
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200


@pytest.mark.parametrize("check, state", [
    ("health = GET /health", "up"), ("health = GET /nothing", "down"), ("health = auto", "up"), ("health = tcp", "up"),
    ("health = GET /status/204\nhealth-expect = 204", "up"), ("health = GET /health\nhealth-expect = 204", "down"),
    ("health = HEAD /nothing\nhealth-expect = 4xx", "up"), ("health = off", "up"),
])
def test_kinds_of_checks(start, replicas, check, state):
    ballast = start(replicas[:1], *quick, check)
    ballast.wait_for_state(replicas[0], state)


def test_checks_carry_the_host_that_is_asked_for(start, scripted):
    server = scripted(lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    ballast = start([server], *quick, "health = GET /alive?deep=1", "health-host = model.test")
    ballast.wait_for_state(server, "up")
    assert server.received[0].startswith(b"GET /alive?deep=1 HTTP/1.1\r\nHost: model.test\r\n")


def test_failures_in_a_row_eject_a_server(start, mortal, scripted):
    """Its checks pass, its requests fail: out after eject-after, tried again after eject-for, back when it works."""
    works = threading.Event()

    def behave(connection, head):
        if b"/health" in head or works.is_set():
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"replica":"ill"}')

    ill, well = scripted(behave), mortal("well")
    ballast = start([ill, well], *quick, "eject-after = 3", "eject-for = 200ms", "balance = round-robin")
    for server in (ill, well):
        ballast.wait_for_state(server, "up")
    for _ in range(6):
        # Lost GETs are repeated on the other server: no client sees it.
        assert requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] == "well"
    ballast.process.line(rf"{ill.port} is ejected")
    ballast.wait_for_state(ill, "ejected")
    works.set()

    def recovered():
        requests.get(ballast.url + "/predict", timeout=patience)
        return ballast.metric("ballast_server_state", server=f"127.0.0.1:{ill.port}", state="up")

    wait_until(recovered, "the trial request to bring it back")
    assert "ill" in {requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] for _ in range(4)}


def test_statuses_eject_where_they_are_listed(start, scripted, replicas):
    server = scripted(lambda connection, _: connection.sendall(
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"))
    ballast = start([server, replicas[0]], "health = off", "eject-on = 5xx", "eject-after = 2", "balance = round-robin")
    statuses = [requests.get(ballast.url + "/predict", timeout=patience).status_code for _ in range(6)]
    assert statuses == [500, 200, 500, 200, 200, 200]


def test_with_nothing_to_connect_to_there_is_one_answer(start):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ballast = start([port], "health = off")
    answer = requests.post(ballast.url + "/", data="x", headers=for_json, timeout=patience)
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "connect")


def test_post_with_a_key_is_replayed_where_that_is_said(start, scripted, mortal):
    """`replay = keyed`: a lost POST with Idempotency-Key goes elsewhere, one without does not."""
    lost = scripted(lambda connection, head: None)
    replica = mortal("a")
    for key, status in (({"Idempotency-Key": "k1"}, 200), ({}, 502)):
        ballast = start([lost, replica], "health = off", "replay = keyed", "balance = round-robin")
        answer = requests.post(ballast.url + "/predict", data="x" * 5000, headers=key, timeout=patience)
        assert answer.status_code == status
        if status == 200:
            assert answer.json()["received"] == 5000


def test_zero_retries_mean_one_server(start, replicas):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ballast = start([port, replicas[0]], "health = off", "retries = 0", "balance = round-robin", "eject-after = 0")
    statuses = [requests.get(ballast.url + "/predict", timeout=patience).status_code for _ in range(4)]
    assert statuses == [502, 200, 502, 200]


def test_the_demo_replica_fails_when_told(start):
    """Its options are what others try ballast with: failing, dropping, loading and freezing."""
    def replica(*options):
        process = Process([binary.parent / "demo-replica", "--port", "0", "--name", "demo", *options])
        made.append(process)
        return int(process.line(r"on http://127.0.0.1:(\d+)")[1])

    made = []
    try:
        half = f"http://127.0.0.1:{replica('--fail', '50')}"
        statuses = [requests.post(half + "/predict", data="x", timeout=patience).status_code for _ in range(6)]
        assert statuses == [200, 500] * 3
        drops = f"http://127.0.0.1:{replica('--drop', '100')}"
        with pytest.raises(requests.ConnectionError):
            requests.post(drops + "/predict", data="x", timeout=patience)
        loading = replica("--load", "1000")
        assert requests.get(f"http://127.0.0.1:{loading}/health", timeout=patience).status_code == 503
        freezing = replica("--freeze-after", "3000", "--freeze-for", "4000")
        ballast = start([loading, freezing], *quick, "health-fall = 2")
        ballast.wait_for_state(f"127.0.0.1:{loading}", "up")
        ballast.process.line(rf"{freezing} is down: no answer within 0.2 seconds")
        ballast.wait_for_state(f"127.0.0.1:{freezing}", "up")
    finally:
        for process in made:
            process.kill()
