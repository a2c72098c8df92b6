"""ballast's own listeners: who gets in, what can be done there, what they tell; with strangers, and with other people's pages."""
import base64
import contextlib
import csv
import http.client
import io
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time

import openai
import pytest
import requests

from conftest import Process, binary, patience, root, wait_until

secret = ("admin", "c0rrect horse: battery")
auth = '[stats] auth = "admin:c0rrect horse: battery"'
own = {"X-Ballast": "1"}


def act(ballast, backend, server, verb, data=None, **options):
    options = {"auth": secret, "headers": own} | options
    return requests.post(f"{ballast.stats}/api/servers/{backend}/{server}/{verb}", data=data, timeout=patience, **options)


def stats(ballast, **options):
    return requests.get(ballast.stats + "/api/stats", timeout=patience, **({"auth": secret} | options)).json()


def server(ballast, name, **options):
    return next(one for backend in stats(ballast, **options)["backends"] for one in backend["servers"] if one["name"] == name)


@pytest.fixture
def named(start, replicas):
    """Two servers with names, and somebody who may act."""
    return start([], "threads = 2", "[backend predict]", f"server = one 127.0.0.1:{replicas[0].port}",
                 f"server = two 127.0.0.1:{replicas[1].port}", auth)


# Who gets in


def test_a_name_and_a_password_are_asked_for(named):
    for path in ("/", "/stats", "/metrics", "/api/stats", "/api/stats.csv", "/api/config", "/api/events", "/api/live"):
        refused = requests.get(named.stats + path, timeout=patience)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="ballast", charset="UTF-8"')
    for path in ("/healthz", "/readyz"):
        assert requests.get(named.stats + path, timeout=patience).status_code == 200
    assert requests.get(named.stats + "/", auth=secret, timeout=patience).status_code == 200
    for wrong in (("admin", ""), ("Admin", secret[1]), ("admin", secret[1] + "x"), ("", secret[1])):
        assert requests.get(named.stats + "/", auth=wrong, timeout=patience).status_code == 401


@pytest.mark.parametrize("value", [
    "Basic", "Basic =", "Basic ====", "Basic " + "A" * 1500, "Bearer abc", "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
    "Basic " + base64.b64encode(b"nocolon").decode(), "basic !!!!",
])
def test_what_is_no_claim_is_refused(named, value):
    refused = requests.get(named.stats + "/", headers={"Authorization": value}, timeout=patience)
    assert refused.status_code == 401


def test_failures_of_an_address_are_throttled(named):
    for _ in range(5):
        assert requests.get(named.stats + "/", auth=("admin", "wrong"), timeout=patience).status_code == 401
    throttled = requests.get(named.stats + "/", auth=secret, timeout=patience)
    assert throttled.status_code == 429 and 0 < int(throttled.headers["Retry-After"]) <= 60
    named.process.line(r"warning: 127\.0\.0\.1:0: 127\.0\.0\.1 has sent a wrong name or password")


def test_who_was_right_is_served_whoever_is_wrong(named):
    assert requests.get(named.stats + "/", auth=secret, timeout=patience).status_code == 200
    for _ in range(6):
        wrong = requests.get(named.stats + "/", auth=("admin", "wrong"), timeout=patience)
    assert wrong.status_code == 429
    assert requests.get(named.stats + "/", auth=secret, timeout=patience).status_code == 200


def test_who_hangs_up_has_no_more_tries(start, replicas):
    """A guess whose connection is reset before its hash is computed counts as any other."""
    made = subprocess.run(["openssl", "passwd", "-6", secret[1]], capture_output=True, text=True, check=True).stdout.strip()
    ballast = start(replicas[:1], f"[stats] auth = 'admin:{made}'")
    host, port = ballast.stats.removeprefix("http://").split(":")
    for number in range(12):
        with socket.create_connection((host, int(port)), timeout=patience) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            field = base64.b64encode(f"admin:guess{number}".encode()).decode()
            client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {field}\r\n\r\n".encode())
    wait_until(lambda: requests.get(ballast.stats + "/", auth=secret, timeout=patience).status_code == 429, "the throttle")


@pytest.mark.parametrize("method", ["-6", "-5", "-1"])
def test_hashes_of_passwords(start, replicas, method):
    made = subprocess.run(["openssl", "passwd", method, secret[1]], capture_output=True, text=True, check=True).stdout.strip()
    ballast = start(replicas[:1], f"[stats] auth = 'admin:{made}'")
    assert requests.get(ballast.stats + "/", auth=secret, timeout=patience).status_code == 200
    # Who was right is remembered, and served while others are wrong.
    for _ in range(5):
        assert requests.get(ballast.stats + "/", auth=("admin", "wrong"), timeout=patience).status_code == 401
    assert requests.get(ballast.stats + "/", auth=("admin", "wrong"), timeout=patience).status_code == 429
    assert requests.get(ballast.stats + "/", auth=secret, timeout=patience).status_code == 200
    assert not any(made in line for line in ballast.process.lines)


def test_many_wrong_claims_at_once_hold_nothing(start, replicas):
    """Hashes are computed beside the loop, a few at a time."""
    made = subprocess.run(["openssl", "passwd", "-6", secret[1]], capture_output=True, text=True, check=True).stdout.strip()
    ballast = start(replicas[:1], f"[stats] auth = 'admin:{made}'")
    statuses = []

    def claim(number):
        statuses.append(requests.get(ballast.stats + "/", auth=("admin", f"wrong{number}"), timeout=patience).status_code)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
    for thread in threads:
        thread.join()
    assert set(statuses) <= {401, 429, 503} and statuses.count(401) <= 16 and 429 in statuses


@pytest.mark.parametrize("section, fine", [
    ("[stats]\nlisten = 0.0.0.0:0", False), ("[stats]\nlisten = 0.0.0.0:0\nauth = none", True),
    ("[stats]\nlisten = 0.0.0.0:0\nauth = a:b", True), ("[stats]\nlisten = 127.0.0.1:0\n[metrics]\nlisten = 0.0.0.0:0", False),
    ("[stats]\nlisten = 127.0.0.1:0\n[metrics]\nlisten = 0.0.0.0:0\nauth = none", True),
    ("[stats]\nlisten = 127.0.0.1:0\n[metrics]\nauth = none", False), ("[stats]\nauth = none\nauth = a:b", False),
    ("[stats]\nauth = ab", False), ("[stats]\nauth = a:b\nauth = a:c", False), ("[stats]\nauth = a b", False),
    ("[stats]\nauth = 'a:$9$unknown$x'", False), ("[stats]\nauth = 'a:$6$cutoff'", False), ("[stats]\nauth = 'a:{SHA}x='", False),
    ("[stats]\nauth = 'a:!'", False), ("[stats]\nauth = 'a:*'", False), ("[stats]\nauth = a:", False), ("[metrics]\nlisten = 127.0.0.1:0\nnames = x", False),
])
def test_public_listeners_need_somebody_who_may(tmp_path, section, fine):
    file = tmp_path / "a.ini"
    file.write_text(f"listen = :8080\nservers = 10.0.0.1:8000\n{section}\n")
    checked = subprocess.run([binary, "-t", "-c", file], capture_output=True, text=True)
    assert checked.returncode == (0 if fine else 2), checked.stderr
    assert "a:b" not in checked.stderr and "$9$" not in checked.stderr


def test_secrets_are_nowhere(named, tmp_path):
    shown = requests.get(named.stats + "/api/config", auth=secret, timeout=patience)
    assert shown.headers["Content-Type"] == "application/json"
    settings = {(one["section"], one["key"]): one for one in shown.json()["settings"]}
    assert settings["stats", "auth"]["value"] == "admin:***"
    assert settings["", "threads"]["value"] == "2" and settings["", "threads"]["origin"].endswith("ballast.ini:2")
    assert settings["", "timeout-head"]["origin"] == "default"
    dumped = subprocess.run([binary, "-T", "-c", named.file], capture_output=True, text=True)
    typed = subprocess.run([binary, "-T", "-c", named.file, "-D", "stats.auth=x:hunter2"], capture_output=True, text=True)
    for text in (shown.text, dumped.stdout + dumped.stderr, typed.stdout + typed.stderr, "\n".join(named.process.lines)):
        assert "battery" not in text and "hunter2" not in text
    assert "auth = admin:***" in dumped.stdout and "auth = x:***" in typed.stdout


@pytest.mark.parametrize("line", [
    "auth = admin:hunter2${OPEN", "auth = admin:hunter2${NOT_THERE}", 'auth = "admin:hunter2', "auht = admin:hunter2",
    "AUTH = admin:hunter2 x", "auth admin:hunter2", "auth: admin:hunter2", "hunter2", "password = hunter2", "auth = a:b c:hunter2",
])
@pytest.mark.parametrize("section", ["[stats]", "[backend x]", ""])
def test_mistakes_show_no_password(tmp_path, line, section):
    file = tmp_path / "a.ini"
    file.write_text(f"listen = :8080\nservers = 10.0.0.1:8000\n{section}\n{line}\n")
    checked = subprocess.run([binary, "-t", "-c", file], capture_output=True, text=True)
    assert checked.returncode == 2 and f"{file}:4:" in checked.stderr
    assert "hunter2" not in checked.stderr


@pytest.mark.parametrize("word", ["stats.auth:admin:hunter2", "stat.auth=admin:hunter2", "auth=admin:hunter2", "stats.auht=a:hunter2"])
def test_the_command_line_shows_no_password(tmp_path, word):
    checked = subprocess.run(
        [binary, "-t", "-l", ":8080", "10.0.0.1:8000", "-D", word], capture_output=True, text=True)
    assert checked.returncode == 2 and "hunter2" not in checked.stderr


def test_nobody_keeps_a_check_out(start, replicas):
    """Bodies that never come, and answers that nobody reads, make room for who comes."""
    ballast = start(replicas[:1], auth)
    host, port = ballast.stats.removeprefix("http://").split(":")
    held = []
    try:
        for number in range(90):
            held.append(socket.create_connection((host, int(port)), timeout=patience))
            held[-1].sendall([b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx",
                              b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
                              b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 400][number % 3])
        for _ in range(10):
            assert requests.get(ballast.stats + "/healthz", timeout=patience).text == "ok\n"
            assert requests.get(ballast.stats + "/metrics", auth=secret, timeout=patience).ok
    finally:
        for connection in held:
            connection.close()


def test_what_a_reload_takes_away_is_taken_from_who_has_it(start, replicas, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    metrics = ["[metrics]", f"listen = 127.0.0.1:{port}", "auth = prometheus:x"]
    ballast = start(replicas[:1], *metrics, auth)
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read() == b"ok\n"
    with watch(ballast, auth=secret) as told:
        lines = told.iter_lines()
        assert next(line for line in lines if line.startswith(b"data: "))
        # Nothing of it has changed: it goes on.
        ballast.reload(replicas[:1], "via = other", *metrics, auth)
        assert next(line for line in lines if line.startswith(b"data: "))
        ballast.reload(replicas[:1], "[stats] auth = admin:another")
        # Its password is no more, nor is the stream.
        assert not [line for line in lines if b"never" in line]
    # A listener that is no more asks for what it asked for.
    try:
        kept.request("GET", "/metrics")
        assert kept.getresponse().status == 401
    except (http.client.RemoteDisconnected, ConnectionError):
        pass


# Other people's pages


@pytest.mark.parametrize("fields, status", [
    ({}, 403), ({"X-Ballast": "1"}, 200), ({"X-Ballast": "yes"}, 403),
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "SELF"}, 200),
    ({"Origin": "http://evil.example", "X-Ballast": "1"}, 403), ({"Origin": "https://127.0.0.1"}, 403),
    ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site", "X-Ballast": "1"}, 403), ({"Origin": "SELF", "Sec-Fetch-Site": "cross-site"}, 403),
    ({"Origin": "SELF", "Sec-Fetch-Site": "same-origin"}, 200), ({"Host": "localhost.:80", "X-Ballast": "1"}, 200), ({"Sec-Fetch-Site": "none"}, 403),
    ({"Host": "evil.example", "X-Ballast": "1"}, 403), ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ({"Host": "LOCALHOST:1", "X-Ballast": "1"}, 200), ({"Host": "[::1]:8404", "X-Ballast": "1"}, 200),
    ({"Host": "lb.example.com", "X-Ballast": "1"}, 200), ({"Host": "127.0.0.1.evil.example", "X-Ballast": "1"}, 403),
])
def test_who_may_act(start, replicas, fields, status):
    ballast = start([], "[backend predict]", f"server = one 127.0.0.1:{replicas[0].port}", auth, "[stats] names = LB.example.com")
    fields = {name: ballast.stats if value == "SELF" else value for name, value in fields.items()}
    answer = act(ballast, "predict", "one", "drain", headers=fields)
    assert answer.status_code == status, answer.text
    assert server(ballast, "one")["state"] == ("draining" if status == 200 else "up")
    assert not any(name.startswith("Access-Control") for name in answer.headers)


def test_without_auth_nobody_acts_and_names_are_looked_at(start, replicas):
    ballast = start(replicas[:1])
    assert act(ballast, "default", f"127.0.0.1:{replicas[0].port}", "drain").status_code == 403
    for host, status in (("evil.example", 403), ("localhost", 200), (socket.gethostname(), 200)):
        for path in ("/", "/api/stats", "/api/config"):
            assert requests.get(ballast.stats + path, headers={"Host": host}, timeout=patience).status_code == status
        # Scrapers call it as they like, and so do checks.
        for path in ("/metrics", "/healthz"):
            assert requests.get(ballast.stats + path, headers={"Host": host}, timeout=patience).status_code == 200


def test_nothing_changes_by_get(named):
    for verb in ("drain", "resume", "disable", "weight", "check"):
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
            refused = requests.request(
                method, f"{named.stats}/api/servers/predict/one/{verb}", auth=secret, headers=own, timeout=patience)
            assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert server(named, "one")["state"] == "up"
    for path in ("/", "/metrics", "/api/stats"):
        assert requests.post(named.stats + path, auth=secret, headers=own, timeout=patience).status_code == 405


# Actions


def test_draining_cuts_nothing_and_ends(named, replicas):
    client = openai.OpenAI(base_url=named.url + "/v1", api_key="x")
    running = [client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "x"}], stream=True) for _ in range(6)]
    drained = act(named, "predict", "one", "drain")
    assert drained.json() | {"inflight": 0} == {
        "backend": "predict", "server": "one", "state": "draining", "weight": 1, "inflight": 0}
    assert all(len(list(stream)) > 1 for stream in running)
    wait_until(lambda: server(named, "one")["inflight"] == 0, "the drained server to be idle")
    for _ in range(6):
        assert requests.get(named.url + "/predict", timeout=patience).status_code == 200
    counted = server(named, "one")
    assert counted["state"] == "draining" and counted["by_hand"] and counted["healthy"]
    assert act(named, "predict", "one", "resume").json()["state"] == "up"
    assert not server(named, "one")["by_hand"]
    text = requests.get(named.stats + "/api/events", auth=secret, timeout=patience).json()["events"]
    told = [(event["kind"], event["backend"], event["server"], event["text"]) for event in text]
    assert told[0] == ("action", "predict", "one", "resumed by admin from 127.0.0.1")
    assert told[1] == ("action", "predict", "one", "drained by admin from 127.0.0.1")
    named.process.line(r"info: predict/one drained by admin from 127\.0\.0\.1")


def test_actions_outlive_a_reload(named, replicas):
    assert act(named, "predict", "one", "drain").status_code == 200
    assert act(named, "predict", "two", "weight", "weight=7").json()["weight"] == 7
    named.reload([], "[backend predict]", f"server = one 127.0.0.1:{replicas[0].port}",
                 f"server = two 127.0.0.1:{replicas[1].port} weight=2", "maxconn = 9", auth)
    assert server(named, "one")["state"] == "draining" and server(named, "two")["weight"] == 7
    assert act(named, "predict", "two", "weight", "weight=config").json()["weight"] == 2
    assert act(named, "predict", "one", "resume").json() == {
        "backend": "predict", "server": "one", "state": "up", "weight": 1, "inflight": 0}


def test_a_weight_of_zero_is_resumed(named):
    assert act(named, "predict", "one", "weight", "weight=0").json()["state"] == "draining"
    assert act(named, "predict", "one", "resume").json() == {
        "backend": "predict", "server": "one", "state": "up", "weight": 1, "inflight": 0}


def test_a_server_that_drops_kept_connections_is_seen(start, scripted):
    """What a client lost stands at the server that lost it, also where the connection may have been closed for its age."""
    seen = []

    def behave(connection, _):
        seen.append(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        # The next one on it gets no answer.
        received = b""
        while b"\r\n\r\nx" not in received[1:]:
            received += connection.recv(65536)

    ballast = start([scripted(behave)], "health = off", "retries = 0", "threads = 1")
    assert requests.post(ballast.url + "/predict", data="x", timeout=patience).status_code == 200
    assert requests.post(ballast.url + "/predict", data="x", timeout=patience).status_code == 502
    assert ballast.metric("ballast_server_failures_total", reason="reset") == 1
    assert ballast.metric("ballast_stale_connections_total") == 1


def test_a_disabled_server_is_not_checked_and_comes_back(start, replicas):
    ballast = start([], "[backend predict]", "health-every = 100ms", f"server = one 127.0.0.1:{replicas[0].port}",
                    f"server = two 127.0.0.1:{replicas[1].port} disabled", auth)
    checks = lambda name: server(ballast, name)["checks"]["pass"]
    wait_until(lambda: checks("one") > 1, "checks")
    assert act(ballast, "predict", "one", "disable").json()["state"] == "disabled"
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 503
    assert act(ballast, "predict", "one", "check").status_code == 409
    before = checks("one")
    # One that the configuration disables can be had as well; its checks begin.
    act(ballast, "predict", "two", "resume")
    wait_until(lambda: server(ballast, "two")["state"] == "up", "the other server")
    wait_until(lambda: checks("two") > 2, "its checks")
    assert checks("one") == before
    assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
    act(ballast, "predict", "one", "resume")
    wait_until(lambda: server(ballast, "one")["state"] == "up", "the server to be back")


def test_a_check_is_made_at_once(start, replicas):
    ballast = start([], "[backend predict]", "health-every = 10m", f"server = one 127.0.0.1:{replicas[0].port}", auth)
    wait_until(lambda: server(ballast, "one")["checks"]["pass"] == 1, "the first check")
    assert act(ballast, "predict", "one", "check").status_code == 200
    wait_until(lambda: server(ballast, "one")["checks"]["pass"] == 2, "the check that was asked for")


@pytest.mark.parametrize("path, data, status", [
    ("predict/none/drain", None, 404), ("none/one/drain", None, 404), ("predict/one/reboot", None, 404),
    ("predict/one/weight", None, 400), ("predict/one/weight", "weight=257", 400), ("predict/one/weight", "weight=-1", 400),
    ("predict/one/weight", "weight=1e2", 400), ("predict/one/weight", "weight=" + "9" * 900, 400),
    ("predict/one/weight", "x" * 2000, 413), ("predict/one/weight?weight=3", None, 200), ("predict/%6fne/drain", None, 200),
    ("predict/%6/drain", None, 404), ("predict/%00/drain", None, 404), ("predict/one%2Fdrain", None, 404),
])
def test_what_an_action_may_be(named, path, data, status):
    answer = requests.post(f"{named.stats}/api/servers/{path}", data=data, auth=secret, headers=own, timeout=patience)
    assert answer.status_code == status, answer.text
    if status in (400,) or status == 404 and not path.endswith(("reboot", "%2Fdrain")):
        assert set(answer.json()) == {"error"}


def test_a_body_that_never_comes_or_comes_in_pieces(named):
    host, port = named.stats.removeprefix("http://").split(":")
    field = base64.b64encode(":".join(secret).encode()).decode()
    head = f"POST /api/servers/predict/one/weight HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Ballast: 1\r\nAuthorization: Basic {field}\r\n"
    with socket.create_connection((host, int(port)), timeout=patience) as client:
        client.sendall(head.encode() + b"Content-Length: 8\r\n\r\nweig")
        client.sendall(b"ht=")
        assert server(named, "one")["weight"] == 1
        client.sendall(b"5GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = b""
        while piece := client.recv(65536):
            answers += piece
    assert answers.count(b"HTTP/1.1 200 OK") == 2 and b'"weight":5' in answers
    with socket.create_connection((host, int(port)), timeout=patience) as client:
        client.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n8\r\nweight=6\r\n0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 411")
    with socket.create_connection((host, int(port)), timeout=patience) as client:
        client.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"weight=7")
        assert b'"weight":7' in client.recv(65536)
    # Fields that decide stand there once.
    with socket.create_connection((host, int(port)), timeout=patience) as client:
        client.sendall(head.encode() + b"Origin: http://evil.example\r\nOrigin: http://127.0.0.1\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400")
    assert server(named, "one")["weight"] == 7


# What is told


def test_metrics_have_a_listener_of_their_own(start, replicas, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ballast = start(replicas[:1], "[metrics]", f"listen = 127.0.0.1:{port}", "auth = prometheus:x", auth)
    base = f"http://127.0.0.1:{port}"
    ballast.process.line(f"metrics on {base}/metrics")
    assert requests.get(base + "/metrics", timeout=patience).status_code == 401
    assert requests.get(base + "/metrics", auth=secret, timeout=patience).status_code == 401
    told = requests.get(base + "/metrics", auth=("prometheus", "x"), timeout=patience)
    assert told.status_code == 200 and "ballast_build_info{" in told.text
    for path in ("/", "/stats", "/api/stats", "/api/config", "/api/live"):
        assert requests.get(base + path, auth=("prometheus", "x"), timeout=patience).status_code == 404
    assert act(type("", (), {"stats": base}), "default", "x", "drain", auth=("prometheus", "x")).status_code in (404, 405)
    assert requests.get(base + "/healthz", timeout=patience).text == "ok\n"
    # Who may scrape may not look.
    assert requests.get(ballast.stats + "/", auth=("prometheus", "x"), timeout=patience).status_code == 401
    lines = ballast.reload(replicas[:1], auth)
    assert any("- listen" in line or "- metrics" in line for line in lines)
    wait_until(lambda: not connects(port), "the listener to close")


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=patience).close()
        return True
    except ConnectionRefusedError:
        return False


def test_forms_of_exposition(start, replicas):
    ballast = start(replicas[:1])

    def get(accept, coding=None):
        # Without what the client would add by itself.
        session = requests.Session()
        session.headers.clear()
        fields = {"Accept": accept} if accept else {}
        return session.get(ballast.stats + "/metrics", headers=fields | {"Accept-Encoding": coding or "identity"}, timeout=patience)

    prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    for accept, is_open in ((None, False), ("*/*", False), ("text/plain", False), (prometheus, True),
                            ("application/openmetrics-text;q=0.1,text/plain", False), ("application/openmetrics-text;q=0", False)):
        told = get(accept)
        assert told.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0" if is_open else "text/plain; version=0.0.4")
        assert told.text.endswith("# EOF\n") == is_open and "Accept" in told.headers["Vary"]
    packed = get("*/*", "gzip")
    assert packed.headers["Content-Encoding"] == "gzip" and "ballast_build_info" in packed.text
    assert int(packed.headers["Content-Length"]) < len(packed.content) / 4
    assert "Content-Encoding" not in get("*/*", "gzip;q=0").headers


def test_promtool_finds_nothing(start, replicas):
    ballast = start(replicas, "[stats] aliases = autoscaling")
    for _ in range(5):
        requests.get(ballast.url + "/predict", timeout=patience)
    checked = subprocess.run(["promtool", "check", "metrics"], input=ballast.page("/metrics"), capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert 'request_queue_depth{backend="default"} 0' in ballast.page("/metrics")


def test_alerts_hold():
    rules = root / "Config/prometheus/ballast.rules.yml"
    cases = root / "Tests/EndToEnd/alerts.yml"
    for words in (["check", "rules", rules], ["test", "rules", cases]):
        checked = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    alerts = re.findall(r"alert: (\w+)", rules.read_text())
    assert len(alerts) >= 13 and len(set(alerts)) == len(alerts)
    for alert in alerts:
        assert f"name: {alert} firing" in cases.read_text() and f"name: {alert} quiet" in cases.read_text()
    for part in ("summary", "description", "runbook"):
        assert rules.read_text().count(f"          {part}: ") == len(alerts)
    told = (root / "Config/reference/metrics.md").read_text()
    for name in set(re.findall(r"\b(?:ballast|process)_[a-z_]+", rules.read_text())):
        assert re.search(rf"`{re.sub('_(bucket|sum|count)$', '', name)}`", told), name


def test_a_true_p99(start, replicas):
    """A hundred requests, two of them slow: their time is the 99th percentile, and none of a histogram's bounds."""
    ballast = start(replicas[:1], "[stats] aliases = autoscaling")
    longest = 0
    for number in range(100):
        path = "/slow/330" if number in (30, 60) else "/predict"
        began = time.monotonic()
        assert requests.get(ballast.url + path, timeout=patience).status_code == 200
        longest = max(longest, time.monotonic() - began)

    def value(labels):
        return wait_until(lambda: ballast.metrics()[f"prediction_latency_p99_seconds{{{labels}}}"], "a value")

    # A sixteenth is the width of a bucket.
    for labels in ('backend="default"', f'backend="default",server="127.0.0.1:{replicas[0].port}"'):
        assert 0.33 * 15 / 16 <= value(labels) <= longest * 17 / 16


def test_events_and_times_agree_with_the_client(start, replicas):
    ballast = start(replicas[:1])
    client = openai.OpenAI(base_url=ballast.url + "/v1", api_key="x")
    events = 0
    first = total = 0.0
    for _ in range(10):
        began = time.monotonic()
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        for position, _ in enumerate(stream):
            if position == 0:
                first += time.monotonic() - began
            events += 1
        total += time.monotonic() - began
        # The end of the stream is an event that the client keeps for itself.
        events += 1
    wait_until(lambda: ballast.metric("ballast_request_duration_seconds_count") == 10, "the ends")
    assert ballast.metric("ballast_server_stream_events_total") == events
    # The client's clock runs around ballast's, and the replica waits 10 ms behind each of five words.
    inside = ballast.metric("ballast_request_duration_seconds_sum")
    assert 10 * 0.05 <= inside <= total
    own, from_server = (ballast.metric(f"ballast_{whose}_first_byte_seconds_sum") for whose in ("request", "server"))
    assert 0 < from_server <= own <= first
    gaps = ballast.metric("ballast_server_stream_gap_seconds_sum")
    assert ballast.metric("ballast_server_stream_gap_seconds_count") < events
    assert 10 * 0.04 <= gaps <= inside - own


def test_what_programs_read(start, replicas):
    ballast = start([], '[backend "a,b"]', f'server = "x\\"y" 127.0.0.1:{replicas[0].port} maxconn=4')
    requests.get(ballast.url + "/predict", timeout=patience)
    told = stats(ballast, auth=None)
    assert told["backends"][0]["servers"][0]["name"] == 'x"y' and told["backends"][0]["requests"] == 1
    text = requests.get(ballast.stats + "/api/stats.csv", timeout=patience)
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert [(row["backend"], row["server"]) for row in rows] == [("a,b", ""), ("a,b", 'x"y')]
    assert rows[1]["responses_2xx"] == "1" and rows[1]["limit"] == "4" and text.headers["Content-Type"].startswith("text/csv")


def test_hostile_bytes_stay_text(start, scripted, tmp_path):
    """Whatever clients and replicas send: the page, the logs and the exposition stay what they are."""
    nasty = b"<script>alert(1)</script>\"'\\\x80\xff"

    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 599 " + nasty + b"\r\nContent-Length: 0\r\nX-" + b"A: " + nasty + b"\r\n\r\n")

    log = tmp_path / "access.log"
    ballast = start([scripted(behave)], f"access-log = {log}", "access-log-format = json", "health-every = 100ms")
    for head in (b"GET /" + b"%3Cscript%3E\"'\\ HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + nasty + b"\r\nUser-Agent: " + nasty + b"\r\n\r\n",
                 b"<script>/ / HTTP/1.1\r\nHost: <script>\r\n\r\n", b"GET /" + nasty + b" HTTP/1.1\r\nHost: a\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\x1b[31m\r\n\r\n", b"G\"ET /a\"b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
        ballast.raw(head)
    lines = wait_until(lambda: log.exists() and len(log.read_bytes().splitlines()) >= 5 and log.read_bytes().splitlines(), "lines")
    for line in lines:
        record = json.loads(line)
        assert {"time", "id", "client", "method", "path", "status", "end", "total_ms", "tls"} <= set(record)
    wait_until(lambda: server(ballast, stats(ballast, auth=None)["backends"][0]["servers"][0]["name"], auth=None)["state"] == "down", "down")
    page = ballast.page("/")
    assert page.count("<script>") == 1 and "alert(1)" not in page
    assert subprocess.run(["promtool", "check", "metrics"], input=ballast.page("/metrics"), capture_output=True, text=True).returncode == 0
    for event in requests.get(ballast.stats + "/api/events", timeout=patience).json()["events"]:
        assert all(0x20 <= ord(character) < 0x7f for character in event["text"])


# Logs


def test_access_log_as_objects(start, replicas, tmp_path):
    log = tmp_path / "access.log"
    ballast = start(replicas[:1], f"access-log = {log}", "access-log-format = json", "health = off")
    requests.post(ballast.url + "/predict?secret=1", data="x" * 100, headers={"X-Request-ID": "abc"}, timeout=patience)
    record = json.loads(wait_until(lambda: log.exists() and log.read_text(), "a line"))
    assert record["path"] == "/predict" and record["id"] == "abc" and record["status"] == 200
    assert record["backend"] == "default" and record["attempts"] == 1 and record["received_bytes"] == 100
    assert record["queue_ms"] is None and 0 < record["first_byte_ms"] <= record["total_ms"]
    assert record["listener"] == f"127.0.0.1:0" and record["host"] == f"127.0.0.1:{ballast.port}" and record["tls"] == ""
    # The form changes with a reload.
    ballast.reload(replicas[:1], f"access-log = {log}", "health = off")
    requests.get(ballast.url + "/predict", timeout=patience)
    wait_until(lambda: '"GET /predict HTTP/1.1" 200' in log.read_text(), "a line of text")


def test_log_forms(replicas):
    def lines(*words, **options):
        process = Process([binary, "-l", "127.0.0.1:0", f"127.0.0.1:{replicas[0].port}", "-D", "stats.listen=127.0.0.1:0", *words],
                          stream="stderr", **options)
        try:
            process.line("is ready")
            return list(process.lines)
        finally:
            process.kill()

    for line in lines("-D", "log-format=json"):
        record = json.loads(line)
        assert set(record) == {"time", "level", "message"} and record["time"].endswith("Z")
    assert all(line.startswith("ballast: ") for line in lines())
    # A stream that says it is the journal's, and is another one, is text.
    assert all(line.startswith("ballast: ") for line in lines(env={**os.environ, "JOURNAL_STREAM": "1:2"}))
    reader, writer = os.pipe()
    about = os.fstat(writer)
    process = subprocess.Popen(
        [binary, "-l", "127.0.0.1:0", f"127.0.0.1:{replicas[0].port}", "-D", "stats.listen=127.0.0.1:0"], stderr=writer,
        env={**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            first = told.readline()
        assert re.fullmatch(r"<6>listening on 127\.0\.0\.1:\d+\n", first), first
    finally:
        process.kill()
        process.wait()


def test_a_slow_log_reader_costs_lines_and_no_request(start, replicas, tmp_path):
    """Lines wait for a reader, so many and no more; then they are given up and counted."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ballast = start(replicas[:1], f"access-log = {pipe}", "access-log-format = json", "health = off", "path = /predict")
        batch = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n" * 500

        def lost():
            with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as client:
                client.sendall(batch)
                answers = 0
                while answers < 500:
                    answers += client.recv(1 << 20).count(b"HTTP/1.1 404")
            return ballast.metric("ballast_log_lines_dropped_total")

        wait_until(lost, "lines to be given up")
        assert requests.get(ballast.url + "/predict", timeout=patience).status_code == 200
        received = b""

        def has_all():
            nonlocal received
            with contextlib.suppress(BlockingIOError):
                received += os.read(reader, 1 << 20)
            return received.count(b"\n") >= 10_000

        # Those that waited come whole.
        wait_until(has_all, "the lines that waited")
        for line in received.split(b"\n")[:10_000]:
            assert json.loads(line)["status"] == 404
    finally:
        os.close(reader)


# Watching


def watch(ballast, **options):
    return requests.get(ballast.stats + "/api/live", stream=True, timeout=patience, **options)


def test_who_watches_gets_everything_and_then_what_changes(start, replicas):
    ballast = start(replicas[:2], "health-every = 100ms")
    with watch(ballast) as told:
        assert told.headers["Content-Type"] == "text/event-stream" and told.headers["Cache-Control"] == "no-store"
        events = (json.loads(line[6:]) for line in told.iter_lines() if line.startswith(b"data: "))
        everything = next(events)
        ids = [part[0] for part in everything["parts"]]
        assert ids == ["status", "tiles", "b0", "b0s0", "b0s0m", "b0s1", "b0s1m", "b0x", "recent", "about"]
        shape = re.search(r'data-shape="(\w+)"', ballast.page("/"))[1]
        assert everything["shape"] == shape
        change = next(events)
        assert change["shape"] == shape and len(change["parts"]) < len(ids)
        ballast.reload(replicas[:1], "health-every = 100ms")
        assert next(event["shape"] for event in events if event["shape"] != shape)


def test_watchers_are_bounded(start, replicas):
    ballast = start(replicas[:1])
    watchers = [watch(ballast) for _ in range(16)]
    try:
        assert all(one.status_code == 200 for one in watchers)
        assert watch(ballast).status_code == 503
        watchers.pop().close()
        # Others are still served, and a place that was given up is another's.
        wait_until(lambda: watchers.append(watch(ballast)) or watchers[-1].status_code == 200, "a place")
        assert requests.get(ballast.stats + "/healthz", timeout=patience).ok
    finally:
        for one in watchers:
            one.close()
