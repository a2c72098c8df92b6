"""What ballast tells: the page, the metrics, readiness, the access log, the effective settings."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest
import requests
from conftest import Process, binary, patience, root, wait_until


def test_metrics_pass_promtool(start, replicas):
    if not shutil.which("promtool"):
        pytest.skip("promtool is missing (Debian package prometheus)")
    ballast = start(replicas, "maxconn = 5")
    requests.post(ballast.url + "/predict", data="x", timeout=patience)
    ballast.raw(b"nonsense\r\n\r\n")
    text = requests.get(ballast.stats + "/metrics", timeout=patience).text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_real_prometheus_scrapes_it(start, replicas, tmp_path):
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is missing (Debian package prometheus)")
    ballast = start(replicas)
    requests.get(ballast.url + "/predict", timeout=patience)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "prometheus.yml"
    target = ballast.stats.removeprefix("http://")
    config.write_text(f"scrape_configs: [{{job_name: b, scrape_interval: 200ms, scrape_timeout: 200ms, "
                      f"static_configs: [{{targets: ['{target}']}}]}}]\n")
    prometheus = Process(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}"], stream="stderr")
    try:
        def scraped():
            try:
                query = {"query": 'ballast_requests_total{backend="default",code="2xx"}'}
                found = requests.get(f"http://127.0.0.1:{port}/api/v1/query", params=query, timeout=patience).json()
                return found["data"]["result"]
            except (requests.ConnectionError, KeyError, ValueError):
                return None

        assert wait_until(scraped, "prometheus to have scraped")[0]["value"][1] == "1"
    finally:
        prometheus.kill()


def test_counters_add_up(start, replicas):
    ballast = start(replicas)
    with requests.Session() as session:
        for _ in range(20):
            session.get(ballast.url + "/predict", timeout=patience)
    requests.get(ballast.url + "/nothing", timeout=patience)
    ballast.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    metrics = ballast.metrics()
    assert metrics['ballast_requests_total{backend="default",code="2xx"}'] == 20
    assert metrics['ballast_requests_total{backend="default",code="4xx"}'] == 1
    assert metrics['ballast_requests_total{backend="",code="4xx"}'] == 1
    assert metrics['ballast_request_errors_total{backend="",reason="bad_request"}'] == 1
    assert ballast.metric("ballast_server_responses_total", backend="default") == 21
    assert ballast.metric("ballast_request_duration_seconds_count") == 22
    assert ballast.metric("ballast_server_first_byte_seconds_count") == 21
    assert ballast.metric("ballast_connections_total", listener=f"127.0.0.1:{ballast.port}") >= 3
    assert metrics["process_open_fds"] > 5 and metrics["process_resident_memory_bytes"] > 1 << 20
    wait_until(lambda: ballast.metric("ballast_server_up") == 3, "three servers up")


def test_the_page_shows_servers_and_lets_nothing_in(start, replicas):
    ballast = start([], '[backend "<b>"]', f'server = "<i>1</i>" 127.0.0.1:{replicas[0].port} maxconn=7')
    page = wait_until(
        lambda: (text := requests.get(ballast.stats + "/", timeout=patience)).text.count("</summary></details></th><td class=\"state up\">● up") and text, "the server up")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff" and page.headers["Cache-Control"] == "no-store"
    assert "<i>" not in page.text and "&lt;i&gt;1&lt;/i&gt;" in page.text and "&lt;b&gt;" in page.text
    row = re.search(r"<tr id=\"b0s0\"><th scope=\"row\"><details><summary>&lt;i&gt;.*</tr>", page.text)[0]
    assert "<small>/7</small>" in row and "200 in" in row


def test_own_listener_answers_and_refuses(start, replicas):
    ballast = start(replicas)
    assert requests.get(ballast.stats + "/healthz", timeout=patience).text == "ok\n"
    wait_until(lambda: requests.get(ballast.stats + "/readyz", timeout=patience).status_code == 200, "readiness")
    assert requests.get(ballast.stats + "/stats", timeout=patience).status_code == 200
    assert requests.get(ballast.stats + "/other", timeout=patience).status_code == 404
    refused = requests.post(ballast.stats + "/", data="x", timeout=patience)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    head = requests.head(ballast.stats + "/metrics", timeout=patience)
    assert head.status_code == 200 and int(head.headers["Content-Length"]) > 1000 and not head.text
    # Its own pages are never served where traffic is, and it forwards nothing.
    assert requests.get(ballast.url + "/metrics", timeout=patience).json() == {"detail": "Not Found"}
    with requests.Session() as session:
        for path in ("/", "/metrics", "/healthz"):
            assert session.get(ballast.stats + path, timeout=patience).status_code == 200


def test_metrics_of_many_servers_are_whole(start):
    """More than a block of bytes, to a client that reads slowly."""
    servers = "servers = " + " ".join(f"127.0.0.1:{port}" for port in range(20000, 20300))
    ballast = start([], "health = off", servers)
    host, port = ballast.stats.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=patience) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := client.recv(3000):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body) > 1 << 20
    assert body.endswith(b"\n")


def test_readiness_waits_for_the_first_round_of_checks(start, scripted):
    answer = threading.Event()

    def behave(connection, _):
        answer.wait(patience)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    ballast = start([scripted(behave)], "health-timeout = 60s")
    assert requests.get(ballast.stats + "/readyz", timeout=patience).status_code == 503
    answer.set()
    wait_until(lambda: requests.get(ballast.stats + "/readyz", timeout=patience).status_code == 200, "readiness")


def test_a_taken_default_port_is_a_warning(start, replicas, tmp_path):
    file = tmp_path / "two.ini"
    file.write_text(f"listen = 127.0.0.1:0\nservers = 127.0.0.1:{replicas[0].port}\n")
    taken = None
    try:
        taken = socket.create_server(("127.0.0.1", 8404))
    except OSError:
        pass
    process = Process([binary, "-c", file], stream="stderr")
    try:
        process.line(r"warning: no statistics: cannot listen on 127.0.0.1:8404")
        process.line("is ready")
    finally:
        process.kill()
        if taken:
            taken.close()


def test_access_log_lines(start, replicas, tmp_path):
    log = tmp_path / "access.log"
    # One worker, so that lines stand in the order of the requests.
    ballast = start(replicas[:1], f"access-log = {log}", "health = off", "threads = 1")
    requests.post(ballast.url + "/predict?secret=1", data="x" * 100, headers={"X-Request-ID": "abc"}, timeout=patience)
    ballast.raw(b"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n")
    ballast.raw(b'GET /%22"\\ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    lines = wait_until(
        lambda: (text := log.read_text().splitlines() if log.exists() else []) and len(text) >= 3 and text, "three lines")
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 127\.0\.0\.1 "POST /predict HTTP/1\.1" 200 '
        rf"default/127\.0\.0\.1:{replicas[0].port} queue=- connect=\d+\.\d{{3}}ms first-byte=\d+\.\d{{3}}ms "
        r"total=\d+\.\d{3}ms attempts=1 in=100 out=\d+ host=127\.0\.0\.1:\d+ id=abc end=ok", lines[0]), lines[0]
    assert '"- - -" 400 - ' in lines[1] and lines[1].endswith("end=bad_request")
    for line in lines:
        assert all(0x20 <= ord(character) < 0x7f for character in line)


def test_a_log_disk_that_is_full_costs_no_request(start, replicas):
    ballast = start(replicas[:1], "access-log = /dev/full", "health = off")
    for _ in range(5):
        assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
    wait_until(lambda: ballast.metric("ballast_log_lines_dropped_total") == 5, "five lines to be given up")


def test_dump_shows_what_is_in_effect(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    file = tmp_path / "a.ini"
    file.write_text(f"listen = :8080\nvia = ${{file:{secret}}}\n[backend predict]\nserver = gpu1 10.0.0.1:8000\nmaxconn = 10\n")
    shown = subprocess.run([binary, "-c", file, "-T", "-D", "predict.maxconn=4"], capture_output=True, text=True)
    assert shown.returncode == 0
    assert "hunter2" not in shown.stdout + shown.stderr
    assert re.search(r"^via = \*\*\* +# .*a\.ini:2$", shown.stdout, re.M)
    assert re.search(r"^maxconn = 4 +# -D predict\.maxconn=4$", shown.stdout, re.M)
    assert re.search(r"^queue = 1000 +# default$", shown.stdout, re.M)
    wrong = subprocess.run([binary, "-c", file, "-T", "-D", "predict.maxconn=many"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "'many' is not a whole number" in wrong.stderr


@pytest.mark.parametrize("name", ["ballast.ini", "ballast-minimal.ini"])
def test_the_configurations_that_are_delivered_are_valid(name):
    checked = subprocess.run([binary, "-t", "-c", root / "Config" / name], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_public_page_without_auth_does_not_start(tmp_path):
    file = tmp_path / "a.ini"
    file.write_text("listen = :8080\nservers = 10.0.0.1:8000\n[stats]\nlisten = 0.0.0.0:9000\n")
    checked = subprocess.run([binary, "-t", "-c", file], capture_output=True, text=True)
    assert checked.returncode == 2 and "auth = none" in checked.stderr


def test_logs_are_opened_anew_and_stray_signals_survived(start, replicas, tmp_path):
    log = tmp_path / "access.log"
    ballast = start(replicas[:1], f"access-log = {log}", "health = off")
    requests.get(ballast.url + "/predict", timeout=patience)
    wait_until(lambda: log.exists() and log.read_text().count("\n") == 1, "a line")
    log.rename(tmp_path / "access.log.1")
    ballast.process.signal(signal.SIGUSR1)
    wait_until(log.exists, "the new file")
    for number in (signal.SIGUSR2, signal.SIGHUP):
        ballast.process.signal(number)
    ballast.process.line("USR2: this version does not know it")
    ballast.process.line("reloaded; nothing has changed")
    requests.get(ballast.url + "/predict", timeout=patience)
    wait_until(lambda: log.read_text().count("\n") == 1, "a line in the new file")
    assert (tmp_path / "access.log.1").read_text().count("\n") == 1


def test_the_test_looks_outside_the_file(tmp_path):
    file = tmp_path / "a.ini"
    file.write_text("listen = :8080\nservers = no.such.host.invalid:80\naccess-log = /no/such/folder/log\n")
    checked = subprocess.run([binary, "-t", "-c", file], capture_output=True, text=True)
    assert checked.returncode == 2
    assert f"{file}:2:1: error: cannot resolve 'no.such.host.invalid'" in checked.stderr
    assert "cannot write the access log '/no/such/folder/log': no such file or directory" in checked.stderr


def test_the_page_can_be_switched_off(replicas, tmp_path):
    file = tmp_path / "a.ini"
    file.write_text(f"listen = 127.0.0.1:0\nservers = 127.0.0.1:{replicas[0].port}\n[stats]\nlisten = off\n")
    process = Process([binary, "-c", file], stream="stderr")
    try:
        process.line("is ready")
        assert not any("statistics" in line for line in process.lines)
    finally:
        process.kill()


def test_idle_connections_do_not_lock_a_check_out(start, replicas):
    ballast = start(replicas[:1], "health = off")
    host, port = ballast.stats.removeprefix("http://").split(":")
    held = []
    try:
        for number in range(150):
            held.append(socket.create_connection((host, int(port)), timeout=patience))
            if number % 2:
                held[-1].sendall(b"GET /metr")
        assert requests.get(ballast.stats + "/healthz", timeout=patience).text == "ok\n"
    finally:
        for connection in held:
            connection.close()


def test_a_log_that_is_a_pipe_nobody_reads_is_told(replicas, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = [binary, "-l", "127.0.0.1:0", "-D", f"access-log={pipe}", f"127.0.0.1:{replicas[0].port}"]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=patience)
    assert refused.returncode == 1 and f"cannot write the access log '{pipe}'" in refused.stderr


def test_a_server_that_fails_its_trial_is_tried_again(start, scripted, replicas):
    tried = []

    def behave(connection, _):
        tried.append(1)

    ill = scripted(behave)
    ballast = start([ill, replicas[0]], "health = off", "eject-after = 1", "eject-for = 50ms", "balance = round-robin")

    def trials():
        requests.get(ballast.url + "/predict", timeout=patience)
        return len(tried) >= 4

    wait_until(trials, "three trials")
