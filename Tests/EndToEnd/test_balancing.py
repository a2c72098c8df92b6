"""Who gets which request: policies, weights, limits and the line, routes, names; with replicas that keep books."""

import collections
import concurrent.futures
import hashlib
import socket
import subprocess
import threading

import pytest
import requests
from conftest import for_json, patience, Replica, wait_until


def names(ballast, count, path="/predict", **options):
    """Which replica answered, for `count` requests one after the other."""
    with requests.Session() as session:
        answers = [session.get(ballast.url + path, timeout=patience, **options) for _ in range(count)]
    return collections.Counter(answer.json()["replica"] for answer in answers)


def server(replica, *options):
    return f"server = {replica.name} 127.0.0.1:{replica.port} {' '.join(options)}"


def test_round_robin_is_exact(start, replicas):
    ballast = start(replicas, "balance = round-robin", "health = off", "threads = 2")
    # A connection for each request, so that every worker takes part.
    answers = [requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] for _ in range(300)]
    assert collections.Counter(answers) == {"one": 100, "two": 100, "three": 100}


@pytest.mark.parametrize("policy", ["weighted", "round-robin", "least-connections"])
def test_weights_three_to_one(start, replicas, policy):
    one, two, _ = replicas
    ballast = start([], f"balance = {policy}", "health = off", server(one, "weight=3"), server(two))
    assert names(ballast, 400) == {"one": 300, "two": 100}


def test_ip_hash_keeps_a_client(start, replicas):
    ballast = start(replicas, "balance = ip-hash", "health = off")
    assert len(names(ballast, 20)) == 1
    # Addresses of the loopback network are clients like any other.
    used = collections.Counter()
    for number in range(1, 60):
        with socket.create_connection(("127.0.0.1", ballast.port), patience, (f"127.0.9.{number}", 0)) as client:
            client.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received = b""
            while piece := client.recv(65536):
                received += piece
        used[received.split(b'"replica":"')[1].split(b'"')[0]] += 1
    assert len(used) == 3 and min(used.values()) > 5, used


def test_a_slow_replica_gets_few_requests(start, replicas, scripted):
    """Fifty times slower, and `least-connections` leaves it alone."""
    slow = [0]

    def behave(connection, head):
        while head:
            slow[0] += 1
            threading.Event().wait(3)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')
            head = connection.recv(65536)

    ballast = start([scripted(behave), *replicas[:2]], "health = off")

    def ask(_):
        return requests.get(ballast.url + "/work/20", timeout=patience).ok

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(480))) == 480
    assert slow[0] < 0.05 * 480, slow


def test_limits_hold_for_a_hundred_clients(start, mortal):
    three = [mortal(name) for name in ("a", "b", "c")]
    ballast = start(three, "maxconn = 10", "threads = 2", "health = off")

    def ask(number):
        return requests.get(ballast.url + "/work/100", headers={"X-Request-ID": f"r{number}"}, timeout=patience)

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(200)))
    assert {answer.status_code for answer in answers} == {200}
    books = [replica.books() for replica in three]
    assert max(book["most"] for book in books) == 10
    seen = sorted(ident for book in books for ident in book["arrivals"])
    assert seen == sorted(f"r{number}" for number in range(200))
    assert ballast.metric("ballast_server_inflight_requests") == 0
    assert ballast.metric("ballast_queue_duration_seconds_count", backend="default") > 0


def test_the_line_drains_in_order(start, mortal):
    replica = mortal("a")
    ballast = start([replica], "maxconn = 1", "health = off", "threads = 2")

    def ask(number):
        return requests.get(ballast.url + "/work/30", headers={"X-Request-ID": f"r{number}"}, timeout=patience).status_code

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        asked = []
        for number in range(20):
            asked.append(pool.submit(ask, number))
            # One after the other is at work or in line before the next one comes.
            wait_until(
                lambda: ballast.metric("ballast_server_inflight_requests") + ballast.metric("ballast_queued_requests")
                + ballast.metric("ballast_requests_total", code="2xx") >= len(asked),
                "the request to be in line",
            )
        assert [one.result() for one in asked] == [200] * 20
    assert replica.books()["arrivals"] == [f"r{number}" for number in range(20)]
    assert replica.books()["most"] == 1


def test_a_full_line_answers_503_with_retry_after(start, mortal):
    replica = mortal("a")
    ballast = start([replica], "maxconn = 1", "queue = 1", "timeout-queue = 300ms", "health = off")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(requests.get, ballast.url + "/work/1500", timeout=patience)
        wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "the slot to be taken")
        second = pool.submit(requests.get, ballast.url + "/work/1", headers=for_json, timeout=patience)
        wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "the line to be full")
        third = requests.get(ballast.url + "/work/1", headers=for_json, timeout=patience)
        assert third.status_code == 503
        assert third.json()["error"]["type"] == "queue_full"
        assert 1 <= int(third.headers["Retry-After"]) <= 30
        answer = second.result()
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "queue_timeout"
        assert "Retry-After" in answer.headers
        assert first.result().status_code == 200
    assert ballast.metric("ballast_request_errors_total", reason="queue_full") == 1
    assert ballast.metric("ballast_request_errors_total", reason="queue_timeout") == 1


def test_who_leaves_the_line_frees_its_place(start, mortal):
    replica = mortal("a")
    ballast = start([replica], "maxconn = 1", "queue = 1", "health = off")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(requests.get, ballast.url + "/work/1000", timeout=patience)
        wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "the slot to be taken")
        with socket.create_connection(("127.0.0.1", ballast.port)) as client:
            client.sendall(b"GET /work/1 HTTP/1.1\r\nHost: a\r\nX-Request-ID: gone\r\n\r\n")
            wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "the client to be in line")
        wait_until(lambda: ballast.metric("ballast_queued_requests") == 0, "the client to be out of line")
        second = pool.submit(requests.get, ballast.url + "/work/1", timeout=patience)
        assert (first.result().status_code, second.result().status_code) == (200, 200)
    assert ballast.metric("ballast_client_aborts_total", phase="queued") == 1
    assert "gone" not in replica.books()["arrivals"]


def test_backups_and_disabled_servers(start, mortal):
    first, spare, off = (mortal(name) for name in ("first", "spare", "off"))
    ballast = start(
        [], "health-every = 100ms", "health-rise = 1", server(first), server(spare, "backup"), server(off, "disabled"))
    ballast.wait_for_state("first", "up")
    ballast.wait_for_state("spare", "up")
    ballast.wait_for_state("off", "disabled")
    assert names(ballast, 10) == {"first": 10}
    requests.post(first.url + "/sick/503", timeout=patience)
    ballast.wait_for_state("first", "down")
    assert names(ballast, 10) == {"spare": 10}
    requests.post(first.url + "/sick/200", timeout=patience)
    ballast.wait_for_state("first", "up")
    assert names(ballast, 10) == {"first": 10}


def test_routes_by_host_and_path(start, replicas):
    one, two, three = replicas
    ballast = start(
        [], "health = off",
        "[backend chat]", "path = /predict /v1/", server(one),
        "[backend steps]", "path = /predict/deep", server(two),
        "[backend host]", "host = *.example.com", "path = /predict", "listen = 127.0.0.1:0", server(three),
    )

    def who(path, host="a", port=ballast.port):
        answer = requests.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host}, timeout=patience)
        return answer.json().get("replica") if answer.status_code == 200 else answer.status_code

    assert who("/predict") == "one"
    assert who("/predict?x=/predict/deep") == "one"
    assert who("/predict", "Model.Example.com:80") == "three"
    assert who("/predict", "example.com") == "one"
    assert who("/predict", "a.b.example.com") == "one"
    assert who("/predictions") == 404
    assert who("/health") == 404
    # It reaches the replica, which serves nothing there: the second backend has had it.
    assert who("/predict/deep/er") == 404
    assert ballast.metric("ballast_requests_total", backend="steps", code="4xx") == 1
    assert ballast.metric("ballast_request_errors_total", backend="", reason="no_route") == 2
    # A listener of a backend's own serves that backend alone.
    own = int(ballast.process.line(r"listening on 127.0.0.1:(?!%d)(\d+)" % ballast.port)[1])
    assert who("/predict", "a", own) == "three"
    assert who("/health", "a", own) == 200 or who("/health", "a", own) is None
    for path in ("/predict/../secret", "/predict/%2e%2e/secret", "/predict/%2Fx", "/./predict"):
        answer = ballast.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 400 "), path


def test_one_name_with_three_addresses_is_three_servers(start, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.{number} replicas.test\n" for number in (11, 12, 13)))
    prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$0" "$@"']
    if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("this needs the right to make a mount namespace")
    first = Replica("first", "127.0.0.11:0")
    others = []
    try:
        others = [Replica(f"r{number}", f"127.0.0.{number}:{first.port}") for number in (12, 13)]
        ballast = start([], "health = off", f"servers = replicas.test:{first.port}", prefix=prefix)
        assert names(ballast, 30) == {"first": 10, "r12": 10, "r13": 10}
    finally:
        for replica in [first, *others]:
            replica.process.kill()


def test_bodies_are_replayed_whole(start, mortal, scripted):
    """A PUT whose first server dies after reading it all goes to the second with every byte."""
    seen = []

    def die(connection, head):
        seen.append(head)
        received = len(head.split(b"\r\n\r\n", 1)[1])
        while received < 300_000:
            received += len(connection.recv(65536))

    replica = mortal("a")
    ballast = start([scripted(die), replica], "health = off", "balance = round-robin")
    body = bytes(range(256)) * 1172
    answer = requests.put(ballast.url + "/work/1", data=body[:300_000], timeout=patience)
    assert answer.json()["sha256"] == hashlib.sha256(body[:300_000]).hexdigest()
    assert len(seen) == 1 and len(replica.books()["arrivals"]) == 1
    assert ballast.metric("ballast_retries_total", reason="reset") == 1
    # The same in chunks.
    answer = requests.put(ballast.url + "/work/1", data=(body[start : start + 7000] for start in range(0, 300_000, 7000)),
                          timeout=patience)
    assert answer.status_code in (200, 502)


def test_a_refusal_goes_elsewhere(start, mortal):
    """503 and 429 say that nothing was run: a POST may go to another replica, whole."""
    busy, free = mortal("busy"), mortal("free")
    ballast = start([busy, free], "health = off", "retry-on = connect reset 429 503", "balance = round-robin")
    answers = [requests.post(ballast.url + "/status/503", data="x" * 9000, timeout=patience) for _ in range(2)]
    # Both refuse: the client gets what the second said, and each was asked once a request.
    assert [answer.status_code for answer in answers] == [503, 503]
    assert len(busy.books()["seen"]) == len(free.books()["seen"]) == 2
    assert ballast.metric("ballast_retries_total", reason="status") == 2
