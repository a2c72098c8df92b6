"""Limits: each is reached, answered, counted under its key, and harms nobody else."""

import contextlib
import os
import socket
import subprocess

import pytest
import requests

from conftest import for_json, patience, read_all, wait_until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def connect(ballast, data=b"", source="127.0.0.1"):
    connection = socket.socket()
    connection.bind((source, 0))
    connection.settimeout(patience)
    connection.connect(("127.0.0.1", ballast.port))
    connection.sendall(data)
    return connection


def reached(ballast, limit):
    return ballast.metric("ballast_limits_reached_total", limit=limit)


def open_connections(ballast):
    """Without the one that asks."""
    return ballast.metric("ballast_open_connections") - 1


def status_of(data):
    return int(data.split(b" ", 2)[1])


def answering(body=b"ok", fields=b""):
    """A server's behaviour: reads what comes and answers each head with 200."""
    return lambda connection, head: connection.sendall(
        b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (fields, len(body), body))


@pytest.mark.parametrize("limit, setting, data, status", [
    ("head-limit", "head-limit = 1k", GET[:-2] + b"X: " + b"y" * 2000 + b"\r\n\r\n", 431),
    ("target-limit", "target-limit = 64", b"GET /" + b"a" * 80 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ("fields-limit", "fields-limit = 8", GET[:-2] + b"X: y\r\n" * 8 + b"\r\n", 431),
    ("empty-lines-limit", "empty-lines-limit = 0", b"\r\n" + GET, 400),
    ("chunk-line-limit", "chunk-line-limit = 16", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"5;aaaaaaaaaaaaaaaa\r\nhello\r\n0\r\n\r\n", 400),
    ("chunk-extensions-limit", "chunk-extensions-limit = 4",
     b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;ab\r\nx\r\n1;ab\r\nx\r\n1;ab\r\nx\r\n0\r\n\r\n", 400),
    ("trailers-limit", "trailers-limit = 16",
     b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: yyyyyyyyyyyyyyyy\r\n\r\n", 400),
    ("body-limit", "body-limit = 4", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
    ("body-limit", "body-limit = 4",
     b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 413),
    ("timeout-head", "timeout-head = 200ms", b"GET / HTT", 408),
    ("timeout-client", "timeout-client = 200ms", b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", 408),
])
def test_a_limit_of_requests(start, replicas, limit, setting, data, status):
    ballast = start(replicas[:1], setting)
    assert status_of(ballast.raw(data)) == status
    assert reached(ballast, limit) == 1
    # What is below every limit is served.
    assert status_of(ballast.raw(b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200


@pytest.mark.parametrize("limit, setting, response", [
    ("interim-limit", "interim-limit = 2", b"HTTP/1.1 103 x\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("response-head-limit", "response-head-limit = 1k", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000 + b"\r\n\r\n"),
    ("response-fields-limit", "response-fields-limit = 8", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9 + b"\r\n"),
    ("chunk-line-limit", None, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 300 + b"1\r\nx\r\n0\r\n\r\n"),
    ("trailers-limit", None, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 2000 + b"\r\n"),
])
def test_a_limit_of_responses(start, scripted, limit, setting, response):
    server = scripted(lambda connection, head: connection.sendall(response))
    ballast = start([server], "health = off", "retries = 0", setting)
    assert b"HTTP/1.1 502 " in ballast.raw(GET[:-2] + b"Connection: close\r\n\r\n")
    assert reached(ballast, limit) == 1


@pytest.mark.parametrize("limit, setting, behaviour, status", [
    ("timeout-response", "timeout-response = 200ms", lambda connection, head: connection.recv(1), 504),
    ("timeout-request", "timeout-request = 200ms", lambda connection, head: connection.recv(1), 504),
    ("timeout-idle", "timeout-idle = 200ms", lambda connection, head: (
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), connection.recv(1)), "cut"),
    ("timeout-request", "timeout-request = 300ms", lambda connection, head: (
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), connection.recv(1)), "cut"),
])
def test_a_time_limit_of_servers(start, scripted, limit, setting, behaviour, status):
    ballast = start([scripted(behaviour)], "health = off", "retries = 0", "access-log = stderr", setting)
    if status == "cut":
        with pytest.raises(requests.RequestException):
            requests.get(ballast.url, timeout=patience)
    else:
        assert requests.get(ballast.url, timeout=patience).status_code == status
    assert reached(ballast, limit) == 1
    names = {"timeout-response": "first_byte_timeout", "timeout-request": "request_timeout", "timeout-idle": "idle_timeout"}
    ballast.process.line(rf"end=(cut:)?{names[limit]}")
    assert ballast.metric("ballast_request_errors_total", reason=names[limit]) == 1


def test_limits_of_the_line_are_counted(start, scripted):
    """One at work, one in line, one too many."""
    ballast = start([scripted(lambda connection, head: connection.recv(1))], "health = off", "maxconn = 1", "queue = 1",
                    "timeout-queue = 500ms")
    at_work = connect(ballast, GET)
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "the slot to be taken")
    waiting = connect(ballast, GET)
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "the line to be full")
    with connect(ballast, GET[:-2] + b"Connection: close\r\n\r\n") as third:
        assert status_of(read_all(third)) == 503
    assert reached(ballast, "queue") == 1
    wait_until(lambda: reached(ballast, "timeout-queue") == 1, "the second to have waited long enough")
    at_work.close()
    waiting.close()


def test_a_server_that_does_not_accept(start, deaf):
    """No answer, no refusal."""
    ballast = start([deaf], "health = off", "retries = 0", "timeout-connect = 300ms")
    assert requests.get(ballast.url, timeout=patience).status_code == 504
    assert reached(ballast, "timeout-connect") == 1


def test_full_means_wait(start, replicas):
    ballast = start(replicas[:1], "max-connections = 2", "threads = 1")
    held = [connect(ballast) for _ in range(2)]
    wait_until(lambda: open_connections(ballast) == 2, "both to be accepted")
    third = connect(ballast, b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    wait_until(lambda: reached(ballast, "max-connections") > 0, "accepting to pause")
    held[0].close()
    assert status_of(read_all(third)) == 200
    held[1].close()


def test_idle_connections_end_under_the_name_of_their_limit(start, replicas):
    ballast = start(replicas[:1], "timeout-head = 200ms", "timeout-keepalive = 200ms", "log-level = debug")
    assert ballast.raw(b"") == b""
    ballast.process.line("closed an idle connection after timeout-head")
    with connect(ballast, b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        assert status_of(read_all(connection)) == 200
    ballast.process.line("closed an idle connection after timeout-keepalive")
    assert (reached(ballast, "timeout-head"), reached(ballast, "timeout-keepalive")) == (1, 1)


def test_requests_per_connection(start, replicas):
    ballast = start(replicas[:1], "requests-per-connection = 2")
    answer = ballast.raw(b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert answer.count(b"200 OK") == 2 and answer.lower().count(b"connection: close") == 1
    assert reached(ballast, "requests-per-connection") == 1


def test_a_body_over_the_limit_never_arrives_whole(start, scripted):
    """The last chunk over the limit comes in one piece with the end of the body: the server must not get that end."""
    ends = []
    server = scripted(lambda connection, head: ends.append(read_all(connection)))
    ballast = start([server], "health = off", "body-limit = 100k")
    # More than one read of ballast's, so that the head and a part of the body have left.
    body = b"".join(b"2710\r\n" + b"a" * 10_000 + b"\r\n" for _ in range(11)) + b"0\r\n\r\n"
    assert status_of(ballast.raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)) == 413
    wait_until(lambda: ends, "the server's connection to end")
    assert b"0\r\n\r\n" not in ends[0] and ends[0].count(b"a") <= 102_400
    assert ballast.metric("ballast_request_errors_total", reason="too_large") == 1
    # At the limit it passes.
    server.behave = answering()
    assert requests.post(ballast.url, data=iter([b"a" * 51_200] * 2), timeout=patience).status_code == 200


def test_a_full_listener_lets_the_others_in(start, replicas):
    ballast = start(replicas[:1], "listen = 127.0.0.1:0 max-connections=2", "threads = 2")
    ports = [int(line.rsplit(":", 1)[1]) for line in ballast.process.lines if "listening on" in line]
    assert len(ports) == 2
    limited = ports[1]
    held = [socket.create_connection(("127.0.0.1", limited), timeout=patience) for _ in range(2)]
    wait_until(lambda: open_connections(ballast) == 2, "both to be accepted")
    third = socket.create_connection(("127.0.0.1", limited), timeout=patience)
    third.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    wait_until(lambda: reached(ballast, "listen max-connections") > 0, "the listener to pause")
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
    held[0].close()
    # It was not refused: it waited.
    assert status_of(read_all(third)) == 200
    held[1].close()


def test_one_address_has_only_so_many_connections(start, replicas):
    ballast = start(replicas[:1], "max-connections-per-client = 3", "threads = 2")
    held = [connect(ballast) for _ in range(3)]
    wait_until(lambda: open_connections(ballast) == 3, "three to be accepted")
    with connect(ballast, GET) as refused:
        answer = read_all(refused)
    assert status_of(answer) == 429 and b"retry-after" in answer.lower()
    assert reached(ballast, "max-connections-per-client") == 1
    assert ballast.metric("ballast_request_errors_total", reason="client_limit") == 1
    with connect(ballast, b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "127.0.0.2") as other:
        assert status_of(read_all(other)) == 200
    held.pop().close()
    wait_until(lambda: open_connections(ballast) == 2, "one to have gone")
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
    for connection in held:
        connection.close()


def test_a_flood_from_one_address_leaves_the_others_alone(start, replicas):
    """C18: 5,000 connections."""
    ballast = start(replicas[:1], "max-connections-per-client = 10", "threads = 2")
    flood = []
    for _ in range(5000):
        connection = socket.socket()
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.connect(("127.0.0.1", ballast.port))
        flood.append(connection)
    for number in range(20):
        with connect(ballast, b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", f"127.0.1.{number + 1}") as other:
            assert status_of(read_all(other)) == 200
    wait_until(lambda: reached(ballast, "max-connections-per-client") == 4990, "all others to be turned away")
    for connection in flood:
        connection.close()


def test_a_trusted_proxy_is_not_limited(start, replicas):
    ballast = start(replicas[:1], "max-connections-per-client = 1", "trusted-proxies = 127.0.0.3")
    held = [connect(ballast, source="127.0.0.3") for _ in range(5)]
    with connect(ballast, b"GET /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "127.0.0.3") as sixth:
        assert status_of(read_all(sixth)) == 200
    for connection in held:
        connection.close()


def test_new_connections_of_one_address_come_only_so_fast(start, replicas):
    ballast = start(replicas[:1], "connection-rate-per-client = 5", "threads = 2")
    for _ in range(40):
        # Those beyond the first few that are told are reset, perhaps while they still connect.
        with contextlib.suppress(ConnectionResetError):
            connect(ballast).close()
    wait_until(lambda: reached(ballast, "connection-rate-per-client") >= 20, "some to be turned away")
    # In a second it may again.
    def is_let_in():
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(ballast.url + "/predict", timeout=patience).status_code == 200

    wait_until(is_let_in, "to be let in again")


def test_a_client_that_left_out_its_body_is_not_misread(start, scripted):
    """Who gets a final answer in place of 100 may send its next request in place of the body."""
    server = scripted(lambda connection, head: connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))
    ballast = start([server], "health = off")
    with connect(ballast, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n") as connection:
        answer = read_all(connection)
    assert status_of(answer) == 403 and b"connection: close" in answer.lower()


@pytest.mark.parametrize("answer, status", [(b"HTTP/1.1 100 Continue\r\n\r\n", 408), (b"", 504)])
def test_nobody_waits_for_ever_for_a_body(start, scripted, answer, status):
    """The server says 100 and the client sends nothing; or the server says nothing, and the client waits for that."""
    server = scripted(lambda connection, head: (connection.sendall(answer), connection.recv(1)))
    ballast = start([server], "health = off", "retries = 0", "timeout-client = 300ms", "timeout-response = 600ms")
    with connect(ballast, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n") as connection:
        said = read_all(connection)
    assert said.startswith(answer) and status_of(said[len(answer):]) == status


def test_a_response_that_is_malformed_at_once_is_502(start, scripted):
    server = scripted(lambda connection, head: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"))
    ballast = start([server], "health = off")
    answer = requests.post(ballast.url, data="x", headers=for_json, timeout=patience)
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "bad_response")
    assert len(server.received) == 1


@pytest.mark.parametrize("call, error", [
    ("accept4", "EMFILE"), ("accept4", "ENFILE"), ("accept4", "ENOBUFS"), ("accept4", "ENOMEM"), ("accept4", "ECONNABORTED"),
    ("accept4", "EPERM"), ("socket", "EMFILE"), ("socket", "ENOBUFS"), ("connect", "EAGAIN"), ("connect", "ENOBUFS"),
    ("sendto", "ENOBUFS"), ("recvfrom", "ENOMEM"), ("sendto", "ENOMEM"),
])
def test_the_system_says_no_for_a_while(start, replicas, call, error):
    """Some calls fail, then none: ballast lives, and serves as soon as it can."""
    ballast = start(replicas[:1], "health = off", "threads = 1")
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-p", str(ballast.process.process.pid), "-e", f"trace={call}",
         "-e", f"inject={call}:error={error}:when=1..8", "-o", "/dev/null"])
    try:
        wait_until(lambda: f"TracerPid:\t{tracer.pid}" in open(f"/proc/{ballast.process.process.pid}/status").read()
                   or any(f"TracerPid:\t{tracer.pid}" in open(f"/proc/{ballast.process.process.pid}/task/{task}/status").read()
                          for task in os.listdir(f"/proc/{ballast.process.process.pid}/task")), "strace")

        def is_served():
            with contextlib.suppress(requests.RequestException):
                return requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
            return False

        wait_until(is_served, f"an answer in spite of {error}")
        wait_until(is_served, "another one")
    finally:
        tracer.terminate()
        tracer.wait()
    assert ballast.process.process.poll() is None


def test_the_memory_ceiling_is_told(start, replicas):
    ballast = start(replicas[:1], "max-connections = 100", "replay-memory = 0", "threads = 1")
    told = ballast.process.line(r"(\d+)\.\d MiB of memory at most, with 100 connections")
    assert 50 < int(told[1]) < 200


def test_answers_are_in_the_form_that_was_asked_for(start, scripted):
    ballast = start([1], "health = off")
    for accept, kind, start_of_body in [
        ("application/json", "application/json", b'{"error":{"message":"'),
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8", b"<!doctype html>"),
        ("*/*", "text/plain; charset=utf-8", b"502 Bad Gateway: "),
    ]:
        answer = requests.get(ballast.url, headers={"Accept": accept, "X-Request-ID": "my-1"}, timeout=patience)
        assert (answer.status_code, answer.headers["Content-Type"]) == (502, kind)
        assert answer.content.startswith(start_of_body) and b"my-1" in answer.content
        assert answer.headers["X-Request-ID"] == "my-1"
    error = requests.post(ballast.url, json={}, timeout=patience).json()
    assert set(error["error"]) == {"message", "type", "param", "code"} and error["request_id"]
    head = requests.head(ballast.url, headers=for_json, timeout=patience)
    assert head.status_code == 502 and int(head.headers["Content-Length"]) > 0 and head.content == b""


def test_operators_replace_bodies(start, tmp_path):
    folder = tmp_path / "errors"
    folder.mkdir()
    (folder / "502.html").write_text("<h1>{status} {type}</h1><p>{request-id} {else}</p>")
    (folder / "5xx.txt").write_text("ours: {message}")
    ballast = start([1], "health = off", f"error-folder = {folder}")
    html = requests.get(ballast.url, headers={"Accept": "text/html", "X-Request-ID": "my-1"}, timeout=patience)
    assert html.text == "<h1>502 connect</h1><p>my-1 {else}</p>"
    assert requests.get(ballast.url, timeout=patience).text == "ours: no server accepts connections"
    assert requests.get(ballast.url, headers=for_json, timeout=patience).json()["error"]["type"] == "connect"
    # Read anew with a reload; one that cannot be used changes nothing.
    (folder / "5xx.txt").write_text("new")
    (folder / "notes.md").write_text("x")
    lines = ballast.reload()
    assert any("notes.md" in line and "is not used" in line for line in lines)
    assert requests.get(ballast.url, timeout=patience).text == "new"
    (folder / "404.txt").write_bytes(b"\xff")
    (folder / "405.txt").write_bytes(b"x" * 20_000)
    os.mkfifo(folder / "400.txt")
    (folder / "501.txt").mkdir()
    lines = ballast.reload(refused=True)
    for name in ("404.txt", "405.txt", "400.txt", "501.txt"):
        assert any(name in line and "error" in line for line in lines), name
    assert requests.get(ballast.url, timeout=patience).text == "new"
