"""How ballast ends, and how it is asked to: what runs is finished, what waits is served, what is cut is told."""

import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from conftest import Process, binary, patience, read_all, wait_until
from test_reload import answer_on


def ready(ballast):
    return requests.get(ballast.stats + "/readyz", timeout=patience).status_code


def in_background(body):
    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_not_ready_and_still_serving_for_a_while(start, replicas):
    ballast = start(replicas[:1], "shutdown-delay = 3s")
    wait_until(lambda: ready(ballast) == 200, "readiness")
    kept = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    assert b"connection: close" not in answer_on(kept)
    ballast.process.signal(signal.SIGTERM)
    ballast.process.line(r"TERM: not ready any more; clients are accepted for another 3\.0 seconds")
    assert ready(ballast) == 503
    # New clients and old ones are served, and told that it was the last time.
    assert b"connection: close" in answer_on(kept)
    fresh = requests.get(ballast.url + "/predict", timeout=patience)
    assert fresh.status_code == 200 and fresh.headers["Connection"] == "close"
    ballast.process.line("running requests may finish within")
    assert ballast.process.wait() == 0


def test_streams_finish_and_those_in_line_are_served(start, mortal):
    one = mortal("one")
    ballast = start([one], "maxconn = 1", "health = off")
    answers = []
    stream = in_background(lambda: answers.append(requests.get(ballast.url + "/steps/stop?count=3").text))
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "a stream")
    waiter = in_background(lambda: answers.append(requests.post(ballast.url + "/predict", data="x").json()["replica"]))
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "one in line")
    ballast.process.signal(signal.SIGTERM)
    ballast.process.line("TERM: running requests may finish")
    assert ready(ballast) == 503
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ballast.port))
    for number in range(3):
        requests.post(f"{one.url}/confirm/stop/{number}", timeout=patience)
    stream.join(patience)
    waiter.join(patience)
    assert sorted(answers) == ["data: 0\n\ndata: 1\n\ndata: 2\n\n", "one"]
    assert ballast.process.wait() == 0
    ballast.process.line("stopped; 2 requests on 2 connections: 2 2xx, .* clients left$")


def test_what_time_does_not_suffice_for_is_cut_and_counted(start, replicas):
    ballast = start(replicas[:1], "maxconn = 1", "health = off", "shutdown-timeout = 300ms")
    ends = []

    def stream():
        try:
            ends.append(len(requests.get(ballast.url + "/endless/late").content))
        except requests.exceptions.ChunkedEncodingError:
            ends.append("cut")

    threads = [in_background(stream)]
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "a stream")
    threads.append(in_background(lambda: ends.append(requests.get(ballast.url + "/predict").status_code)))
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "one in line")
    ballast.process.signal(signal.SIGTERM)
    ballast.process.line("time is up: cutting what still runs")
    for thread in threads:
        thread.join(patience)
    assert sorted(ends, key=str) == [503, "cut"]
    assert ballast.process.wait() == 0
    ballast.process.line("; at the end 1 were cut and 1 refused$")


def test_idle_clients_do_not_hold_it_up(start, replicas):
    ballast = start(replicas[:1], "health = off")
    idle = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    kept = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    answer_on(kept)
    ballast.process.signal(signal.SIGTERM)
    ballast.process.line("TERM")
    # Who was just answered may be asking again: it is served once more, and told.
    assert b"connection: close" in answer_on(kept)
    assert read_all(kept) == b"" and read_all(idle) == b""
    assert ballast.process.wait() == 0


def test_clients_that_wait_to_be_accepted_are_served(start, replicas):
    """They are connected as far as they know: closing the listener must not reset them."""
    ballast = start(replicas[:1], "health = off", "threads = 1", "max-connections = 1")
    first = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    answer_on(first)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    waiting = [socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) for _ in range(20)]
    ballast.process.signal(signal.SIGTERM)
    ballast.process.line("TERM")
    first.close()
    for connection in waiting:
        assert b"http/1.1 200 ok" in answer_on(connection)
        connection.close()
    assert ballast.process.wait() == 0


def test_a_full_line_of_clients_is_served_to_its_end(start, replicas):
    """More than are accepted at a time, and each connected before the signal."""
    ballast = start(replicas, "health = off", "threads = 1")
    ballast.process.signal(signal.SIGSTOP)
    waiting = [socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) for _ in range(300)]
    for connection in waiting:
        connection.sendall(b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n")
    ballast.process.signal(signal.SIGTERM)
    ballast.process.signal(signal.SIGCONT)
    for connection in waiting:
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        connection.close()
    assert ballast.process.wait() == 0


def test_the_next_one_starts_while_the_last_one_finishes(start, replicas, tmp_path):
    """As a script does it: TERM, and start anew at once; a stream of the old one goes on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    file = tmp_path / "a.ini"
    file.write_text(f"listen = 127.0.0.1:{port}\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = off\n")
    old = Process([binary, "-c", file], stream="stderr")
    old.line("is ready")
    answer = requests.get(f"http://127.0.0.1:{port}/endless/next", stream=True, timeout=patience)
    pieces = answer.iter_content(8)
    next(pieces)
    old.signal(signal.SIGTERM)
    new = Process([binary, "-c", file], stream="stderr")
    try:
        new.line("is ready")
        assert requests.get(f"http://127.0.0.1:{port}/predict", timeout=patience).status_code == 200
        next(pieces)
        answer.close()
        assert old.wait() == 0
        new.signal(signal.SIGTERM)
        assert new.wait() == 0
    finally:
        old.kill()
        new.kill()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_ends_it_now(start, replicas, second):
    ballast = start(replicas[:1], "health = off")
    with requests.get(ballast.url + "/endless/now", stream=True) as answer:
        chunks = answer.iter_content(8)
        next(chunks)
        ballast.process.signal(signal.SIGTERM)
        ballast.process.line("TERM: running requests")
        told = time.monotonic()  # Within 0.2 s a second one counts as the first.
        wait_until(lambda: time.monotonic() > told + 0.25, "a breath")
        ballast.process.signal(second)
        assert ballast.process.wait() == 0
    ballast.process.line("at the end 1 were cut and 0 refused")


def test_it_is_asked_by_its_pid_file(start, replicas, tmp_path):
    pid, log = tmp_path / "ballast.pid", tmp_path / "access.log"
    ballast = start(replicas[:1], f"pid-file = {pid}", f"access-log = {log}", "health = off")

    def ask(what, code=0):
        done = subprocess.run([binary, "-s", what, "-c", ballast.file], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stderr

    assert int(pid.read_text()) == ballast.process.process.pid
    # A second one with the same file would fight over it.
    second = subprocess.run([binary, "-c", ballast.file], capture_output=True, text=True, timeout=patience)
    assert second.returncode == 1 and f"another ballast (process {pid.read_text().strip()})" in second.stderr
    ballast.write(replicas[:1], f"pid-file = {pid}", f"access-log = {log}", "health = off", "maxconn = 9")
    ask("reload")
    ballast.process.line("maxconn 0 → 9")
    log.rename(tmp_path / "old.log")
    ask("reopen")
    wait_until(log.exists, "the new log")
    # A configuration with mistakes is nothing to reload, but what runs can be stopped.
    ballast.write(replicas[:1], f"pid-file = {pid}", "nonsense = 1")
    assert "unknown key 'nonsense'" in ask("reload", 2)
    ask("stop")
    assert ballast.process.wait() == 0
    assert not pid.exists()
    assert "no ballast runs with the pid file" in ask("stop", 1)
    # Another's file is not written over, and not removed.
    ballast.write(replicas[:1], f"pid-file = {pid}")
    pid.write_text("precious\n")
    refused = subprocess.run([binary, "-c", ballast.file], capture_output=True, text=True, timeout=patience)
    assert refused.returncode == 1 and "holds something else" in refused.stderr and pid.read_text() == "precious\n"
    # A file left behind by one that was killed names nobody, whoever has its number now.
    pid.write_text(f"{os.getpid()}\n")
    assert "no ballast runs" in ask("quit", 1)
    assert "is nothing to ask for" in ask("restart", 2)
    ballast.write(replicas[:1])
    assert "-s needs the key 'pid-file'" in ask("stop", 2)


def test_quit_is_now(start, replicas, tmp_path):
    pid = tmp_path / "ballast.pid"
    ballast = start(replicas[:1], f"pid-file = {pid}", "health = off")
    with requests.get(ballast.url + "/endless/quit", stream=True) as answer:
        chunks = answer.iter_content(8)
        next(chunks)
        assert subprocess.run([binary, "-s", "quit", "-c", ballast.file]).returncode == 0
        assert ballast.process.wait() == 0
    ballast.process.line("QUIT: stopping now")


def test_logs_that_move_lose_and_tear_nothing(start, replicas, tmp_path):
    log = tmp_path / "access.log"
    ballast = start(replicas, f"access-log = {log}", "health = off")
    isOver = threading.Event()
    asked = []

    def client(number):
        with requests.Session() as session:
            while not isOver.is_set():
                session.get(ballast.url + "/predict", headers={"X-Request-ID": f"c{number}-{len(asked)}"}, timeout=patience)
                asked.append(number)

    threads = [in_background(lambda number=number: client(number)) for number in range(4)]
    for turn in range(30):
        wait_until(log.exists, "the log")
        log.rename(tmp_path / f"access.log.{turn}")
        ballast.process.signal(signal.SIGUSR1)
        mark = len(asked)
        wait_until(lambda: len(asked) > mark + 20, "requests meanwhile")
    isOver.set()
    for thread in threads:
        thread.join(patience)
    ballast.process.signal(signal.SIGTERM)
    assert ballast.process.wait() == 0
    lines = [line for file in tmp_path.glob("access.log*") for line in file.read_text().splitlines(keepends=True)]
    assert all(re.fullmatch(r"\S+ 127\.0\.0\.1 \"GET /predict HTTP/1\.1\" 200 default/\S+ .* id=c\d-\d+ end=ok\n", line)
               for line in lines)
    assert len(lines) == len(asked)


@pytest.mark.parametrize("seed", range(8))
def test_storms_of_signals_end_well(start, replicas, seed):
    """Any order of requests, at any moment of its life; then it stops, and what it was asked last holds."""
    choices = random.Random(seed)
    ballast = start(replicas, "shutdown-timeout = 10s", "access-log = stderr")
    isOver = threading.Event()
    failures = []

    def client():
        with requests.Session() as session:
            while not isOver.is_set():
                answer = session.post(ballast.url + "/predict", data=b"x" * 1000, timeout=patience)
                if answer.status_code != 200:
                    failures.append(answer.text)

    thread = in_background(client)
    for number in range(150):
        if choices.random() < 0.3:
            members = choices.sample(replicas, choices.randint(1, 3))
            ballast.write(members, f"maxconn = {choices.randint(1, 9)}", "shutdown-timeout = 10s")
        ballast.process.signal(choices.choice([signal.SIGHUP] * 6 + [signal.SIGUSR1, signal.SIGUSR2]))
        for _ in range(choices.choice([0, 0, 0, 1, 3])):
            assert requests.get(ballast.stats + "/healthz", timeout=patience).status_code == 200
    # Half of the storms end with everything at once.
    if seed % 2 == 0:
        ballast.reload(replicas[:1], "maxconn = 77")
        assert ballast.metric("ballast_server_inflight_limit") == 77
    isOver.set()
    thread.join(patience)
    assert failures == []
    for number in choices.sample([signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP], 4):
        ballast.process.signal(number)
    assert ballast.process.wait() == 0
    ballast.process.line("stopped; ")


def test_signals_before_it_is_ready_are_not_lost(replicas, tmp_path):
    """A reload that is asked for while the configuration is read comes after it."""
    pipe = tmp_path / "slow"
    os.mkfifo(pipe)
    file = tmp_path / "a.ini"
    text = f"listen = 127.0.0.1:0\nservers = 127.0.0.1:{replicas[0].port}\nvia = ${{file:{pipe}}}\n[stats]\nlisten = off\n"
    file.write_text(text)
    process = Process([binary, "-c", file], stream="stderr")
    try:
        with open(pipe, "w") as secret:  # Now it reads its configuration.
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                process.signal(number)
            file.write_text(text.replace(f"${{file:{pipe}}}", "name"))
            secret.write("first")
        process.line("is ready")
        process.line("USR1: reopening")
        process.line("reloaded, in ")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
