"""Servers and clients that fail, and what ballast must make of it."""

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import threading

import pytest
import requests
from conftest import binary, for_json, patience, read_all, wait_until


def test_killing_a_replica_under_load_costs_no_get(start, mortal):
    three = [mortal(name) for name in ("a", "b", "c")]
    ballast = start(three, "health-every = 100ms")
    wait_until(lambda: sum("is up" in line for line in ballast.process.lines) == 3, "three servers up")
    victim = three[1]
    statuses, cut = [], []
    halfway = threading.Event()

    def ask(_):
        session = requests.Session()
        for number in range(60):
            try:
                statuses.append(session.get(ballast.url + "/slow/5", timeout=patience).status_code)
            except requests.exceptions.ChunkedEncodingError as error:
                # The replica was killed between the head and the body of its answer: nobody can take the head back.
                cut.append(error)
            if number == 20:
                halfway.set()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = pool.map(ask, range(8))
        assert halfway.wait(patience)
        victim.process.signal(signal.SIGKILL)
        list(running)
    assert statuses == [200] * (480 - len(cut))
    assert ballast.metric("ballast_request_errors_total", reason="truncated") == len(cut) <= 8
    ballast.process.line(f"{victim.port} is down")
    # It comes back on its port, is found again and used.
    mortal("b", victim.port)
    wait_until(
        lambda: sum(f"{victim.port} is up" in line for line in ballast.process.lines) == 2, "the replica to be found"
    )
    assert "b" in {requests.get(ballast.url + "/predict", timeout=patience).json()["replica"] for _ in range(12)}


def test_a_post_is_never_sent_twice(start, scripted):
    """Every server dies on it: it must have reached one of them only."""

    def die(connection, _):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    servers = [scripted(die) for _ in range(3)]
    ballast = start(servers, "health = off")
    assert requests.post(ballast.url + "/", data="x", timeout=patience).status_code == 502
    assert sum(len(server.received) for server in servers) == 1
    assert requests.get(ballast.url + "/", timeout=patience).status_code == 502
    assert sum(len(server.received) for server in servers) == 3


def test_refusing_servers_are_skipped_for_posts_too(start, replicas):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ballast = start([port, *replicas[:1]], "health = off", "balance = round-robin")
    for _ in range(10):
        assert requests.post(ballast.url + "/predict", data="x", timeout=patience).json()["replica"] == "one"


def test_without_a_server_the_answer_is_503(start):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ballast = start([port], "health-every = 50ms")
    ballast.process.line("is down")
    answer = requests.get(ballast.url + "/", headers=for_json, timeout=patience)
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert answer.json()["error"]["type"] == "no_server"


CUTS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("framing", CUTS)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_cut_response_never_looks_whole(start, scripted, framing, version):
    ballast = start([scripted(lambda connection, _: connection.sendall(CUTS[framing]))], "health = off")
    received = ballast.raw(b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version)
    assert b"hello" in received
    assert not received.endswith(b"0\r\n\r\n")
    if version == b"1.0" and framing == "chunked":
        assert received.endswith(b"<reset>")
    else:
        assert b"Content-Length: 5\r\n" not in received


BAD_RESPONSES = [
    b"HTTP/1.1 2000 OK\r\n\r\n", b"SSH-2.0-OpenSSH_9.0\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40, b"",
]


@pytest.mark.parametrize("response", BAD_RESPONSES)
def test_a_malformed_response_is_502(start, scripted, response):
    ballast = start([scripted(lambda connection, _: connection.sendall(response))], "health = off")
    answer = ballast.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    final = answer.replace(b"HTTP/1.1 103 Early Hints\r\n\r\n", b"")
    assert final.startswith(b"HTTP/1.1 502 ")


BAD_REQUESTS = [
    (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400), (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501), (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505), (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 9000), 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"a" * 40000), 431), (b"\x16\x03\x01\x02\x00\x01", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 3\r\n\r\nabc", 417),
]


def test_malformed_requests_never_reach_a_server(start, scripted):
    server = scripted(lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    ballast = start([server], "health = off")
    for request, status in BAD_REQUESTS:
        # What follows a malformed request is never taken for another one.
        answer = ballast.raw(request + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status), (request[:60], answer[:60])
        assert answer.count(b"\r\n\r\n") == 1 and b"Connection: close\r\n" in answer
    assert server.received == []
    assert ballast.process.process.poll() is None
    ballast.process.signal(signal.SIGTERM)
    assert ballast.process.wait() == 0
    assert f"{len(BAD_REQUESTS)} failed" in ballast.process.line("stopped;").string


def test_an_early_answer_reaches_an_uploading_client(start, scripted):
    """A server that refuses an upload before reading it, and closes."""

    def refuse(connection, _):
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)

    ballast = start([scripted(refuse)], "health = off")
    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(1000)
            assert piece
            received += piece
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_reset_client_ends_the_request_at_the_server(start, scripted):
    begun = threading.Event()
    gone = threading.Event()

    def wait(connection, _):
        begun.set()
        if connection.recv(1) == b"":
            gone.set()

    ballast = start([scripted(wait)], "health = off")
    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert begun.wait(patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert gone.wait(patience)


def test_time_limits_answer_for_themselves(start, scripted):
    silent = scripted(lambda connection, _: connection.recv(1))
    ballast = start([silent], "health = off", "timeout-response = 300ms", "timeout-head = 300ms", "timeout-client = 300ms")
    assert requests.get(ballast.url + "/", timeout=patience).status_code == 504
    assert ballast.raw(b"GET / HTTP/1.1\r\nHost:").startswith(b"HTTP/1.1 408 ")
    assert ballast.raw(b"") == b""
    for begun in (b"", b"ab"):
        body = ballast.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n" + begun)
        assert body.startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_comes_with_the_connection_is_read(start, scripted):
    """Bytes that arrive with the connect event are told once: nobody may wait for another event."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_at_once():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            held.append(connection)

    held = []
    threading.Thread(target=answer_at_once, daemon=True).start()
    ballast = start([listener.getsockname()[1]], "health = off", "timeout-response = 20s")
    for _ in range(40):
        answer = ballast.raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 Busy")
    listener.close()


def test_an_upload_that_nobody_reads_ends(start, scripted):
    never = threading.Event()
    server = scripted(lambda connection, _: never.wait(patience))
    ballast = start([server], "health = off", "timeout-response = 500ms")
    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99000000\r\n\r\n")
        sender = threading.Thread(target=pour, args=(connection,), daemon=True)
        sender.start()
        assert connection.recv(100).startswith(b"HTTP/1.1 504 ")
    never.set()


def pour(connection):
    try:
        while True:
            connection.sendall(bytes(65536))
    except OSError:
        pass


def test_a_kept_connection_reset_while_ballast_slept_is_replaced(start, scripted):
    """The send fails on the kept connection; the same request must then leave on the new one."""
    connections = []

    def answer(connection, head):
        connections.append(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if len(connections) == 1:
            reset.wait(patience)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            closed.set()

    reset, closed = threading.Event(), threading.Event()
    ballast = start([scripted(answer)], "health = off", "threads = 1", "timeout-response = 20s")
    assert requests.get(ballast.url, timeout=patience).status_code == 200
    ballast.process.signal(signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        reset.set()
        assert closed.wait(patience)
        ballast.process.signal(signal.SIGCONT)
        assert read_all(client).startswith(b"HTTP/1.1 200 OK")


def test_a_stuck_log_reader_does_not_keep_ballast_alive(replicas):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write_end, True)
    process = subprocess.Popen([binary, "-l", "127.0.0.1:0", replicas[0].url], stderr=write_end)
    descriptors = f"/proc/{process.pid}/fd"

    def listens():
        """Signals are heard since before the ports are opened. Until it is ballast, it has the sockets of this process."""
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process.pid}/exe") != str(binary.resolve()):
                return False
            return sum(os.readlink(f"{descriptors}/{number}").startswith("socket:") for number in os.listdir(descriptors)) >= 2

    wait_until(listens, "its ports")
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(timeout=patience) == 0
    finally:
        process.kill()
        os.close(read_end)
        os.close(write_end)


# Operators


def test_term_lets_running_requests_finish(start, replicas):
    ballast = start(replicas)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        before = sum(replica.books()["seen"].count("slow") for replica in replicas)
        running = [pool.submit(requests.get, ballast.url + "/slow/700", timeout=patience) for _ in range(8)]
        wait_until(
            lambda: sum(replica.books()["seen"].count("slow") for replica in replicas) - before == 8, "8 running requests"
        )
        ballast.process.signal(signal.SIGTERM)
        answers = [request.result() for request in running]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {answer.headers["connection"] for answer in answers} == {"close"}
    assert ballast.process.wait() == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(ballast.url + "/predict", timeout=patience)


def test_a_second_term_stops_now(start, replicas):
    ballast = start(replicas)
    answer = requests.get(ballast.url + "/endless/term", stream=True, timeout=patience)
    pieces = answer.iter_content(1)
    next(pieces)
    ballast.process.signal(signal.SIGTERM)
    # Two in one breath are one: wrappers send to a process and to its group.
    ballast.process.signal(signal.SIGTERM)
    ballast.process.line("may finish")
    next(pieces)

    def ended():
        ballast.process.signal(signal.SIGTERM)
        return ballast.process.process.poll() is not None

    wait_until(ended, "a second TERM to count")
    assert ballast.process.wait() == 0
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for _ in pieces:
            pass


def run(*words, **options):
    return subprocess.run([binary, *words], capture_output=True, text=True, timeout=patience, **options)


def test_a_port_in_use_is_told_and_fatal(start, replicas):
    ballast = start(replicas)
    second = run("-l", f"127.0.0.1:{ballast.port}", replicas[0].url)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{ballast.port}: another process listens there" in second.stderr


def test_a_missing_privilege_is_told():
    start = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read())
    if start <= 80:
        pytest.skip("any process may listen on port 80 here (ip_unprivileged_port_start)")
    words = [binary, "-l", "127.0.0.1:80", "127.0.0.1:1"]
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service", *words]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=patience)
    assert refused.returncode == 1
    assert "cannot listen on 127.0.0.1:80: ports below 1024 need the capability CAP_NET_BIND_SERVICE" in refused.stderr


def test_mistakes_are_told_with_their_place(tmp_path):
    file = tmp_path / "bad.ini"
    file.write_text("listen = 8080\nservers = 127.0.0.1:1\ntimeout-idel = 5s\n")
    for words in (["-t", "-c", file], ["-c", file]):
        bad = run(*words)
        assert bad.returncode == 2
        assert f"{file}:1:10: error: '8080' is not [ADDRESS]:PORT; write :8080" in bad.stderr
        assert f"{file}:3:1: error: unknown key 'timeout-idel'" in bad.stderr and "'timeout-idle'" in bad.stderr
    assert run("-t", "-l", ":8080", "127.0.0.1:1").returncode == 0
    assert run("-c", tmp_path / "none.ini").returncode == 2
    assert run("--no-such-option").returncode == 2
    assert run("-c", "-", input="listen = :1\n").returncode == 2


def test_an_unknown_name_is_told(tmp_path):
    unknown = run("-l", "127.0.0.1:0", "no-such-host.invalid:80")
    assert unknown.returncode == 1
    assert "cannot resolve 'no-such-host.invalid'" in unknown.stderr


def test_hup_does_not_end_ballast(start, replicas):
    ballast = start(replicas)
    ballast.process.signal(signal.SIGHUP)
    ballast.process.line("HUP: ")
    assert requests.get(ballast.url + "/predict", timeout=patience).ok


def test_help_and_version():
    assert run("--help").stdout.startswith("ballast: an HTTP load balancer")
    assert run("--version").stdout.startswith("ballast 0.")


def test_few_descriptors_pause_accepting_and_nothing_else(start, replicas):
    ballast = start(replicas[:1], "health = off")
    pid = ballast.process.process.pid
    folder = f"/proc/{pid}/fd"

    def watched_signals():
        return sum("signalfd" in os.readlink(f"{folder}/{name}") for name in os.listdir(folder))

    # TERM, INT, QUIT, HUP, USR1 and USR2 get their descriptors a moment after ballast is ready.
    wait_until(lambda: watched_signals() == 6, "the signals to be watched")
    opened = len(os.listdir(folder))
    subprocess.run(["prlimit", f"--nofile={opened + 6}:{opened + 6}", "--pid", str(pid)], check=True)
    held = [socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) for _ in range(12)]
    ballast.process.line("cannot accept")
    for connection in held:
        connection.close()
    wait_until(lambda: requests.get(ballast.url + "/predict", timeout=patience).ok, "service again")
