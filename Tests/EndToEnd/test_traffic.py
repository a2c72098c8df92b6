"""Requests through the real binary to real replicas, by real clients."""

import collections
import concurrent.futures
import hashlib
import subprocess
import threading

import openai
import pytest
import requests
from conftest import patience, read_all, wait_until


def test_round_robin_is_even_however_many_workers(start, replicas):
    ballast = start(replicas, "balance = round-robin", "threads = 2")
    for _ in replicas:
        ballast.process.line("is up")
    wait_until(lambda: sum("is up" in line for line in ballast.process.lines) == 3, "three servers up")

    def ask(count):
        names = []
        for _ in range(count):
            # A connection each, so that both workers take part.
            names.append(requests.get(ballast.url + "/predict", timeout=patience).json()["replica"])
        return names

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        names = [name for part in pool.map(ask, [50] * 6) for name in part]
    assert collections.Counter(names) == {"one": 100, "two": 100, "three": 100}


def test_events_pass_one_by_one(start, replicas):
    ballast = start(replicas[:1])
    with requests.get(ballast.url + "/steps/a?count=20", stream=True, timeout=patience) as answer:
        got = []
        for line in answer.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                number = int(line[6:])
                got.append(number)
                # Only now may the replica send the next one: a proxy that holds events back would hang here.
                requests.post(f"{replicas[0].url}/confirm/a/{number}", timeout=patience)
    assert got == list(range(20))


def pieces(body):
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


@pytest.mark.parametrize("size", [0, 1, 1000, 65_535, 65_536, 65_537, 1 << 20, 64 << 20])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bodies_are_identical_both_ways(start, replicas, size, chunked):
    ballast = start(replicas)
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    data = pieces(body) if chunked else body
    answer = requests.post(ballast.url + "/predict", data=data, timeout=patience).json()
    assert (answer["received"], answer["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    answer = requests.get(f"{ballast.url}/bytes/{size}", timeout=patience)
    assert len(answer.content) == size
    assert answer.content == (bytes(range(256)) * (size // 256 + 1))[:size]
    data = pieces(body) if chunked else body
    assert requests.post(ballast.url + "/echo", data=data, timeout=patience).content == body


def test_the_openai_client(start, replicas):
    ballast = start(replicas)
    client = openai.OpenAI(base_url=ballast.url + "/v1", api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "Is the hull steady?"}]
    whole = client.chat.completions.create(model="demo", messages=messages)
    assert whole.choices[0].message.content == "The hull is steady."
    stream = client.chat.completions.create(model="demo", messages=messages, stream=True)
    assert [chunk.choices[0].delta.content for chunk in stream] == ["The", " hull", " is", " steady", "."]


def test_an_own_answer_is_understood_by_the_openai_client(start):
    ballast = start([1], "health = off")
    client = openai.OpenAI(base_url=ballast.url + "/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.InternalServerError, match="no server accepts connections"):
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "x"}])


def test_fields_towards_the_server(start, replicas):
    ballast = start(replicas[:1])
    sent = {
        "Host": "model.example:8000", "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "https",
        "Connection": "X-Secret", "X-Secret": "1", "X_Under": "1", "X-Request-ID": "my-id.1", "TE": "gzip",
    }
    answer = requests.get(ballast.url + "/fields", headers=sent, timeout=patience)
    fields = answer.json()["fields"]
    names = [name for name, _ in fields]
    assert len(set(names)) == len(names)
    fields = dict(fields)
    assert fields["host"] == fields["x-forwarded-host"] == "model.example:8000"
    assert fields["x-forwarded-for"] == fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["via"] == "1.1 ballast"
    assert fields["x-request-id"] == answer.headers["x-request-id"] == "my-id.1"
    assert not {"connection", "x-secret", "x_under", "te", "keep-alive"} & set(fields)


def test_a_trusted_proxy_is_believed(start, replicas):
    ballast = start(replicas[:1], "trusted-proxies = 127.0.0.0/8")
    sent = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "https"}
    fields = dict(requests.get(ballast.url + "/fields", headers=sent, timeout=patience).json()["fields"])
    assert fields["x-forwarded-for"] == "6.6.6.6, 127.0.0.1"
    assert (fields["x-real-ip"], fields["x-forwarded-proto"]) == ("6.6.6.6", "https")


def curl(*words):
    command = ["curl", "-sS", "-m", str(patience), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_curl_in_its_many_ways(start, replicas, tmp_path):
    ballast = start(replicas)
    assert "HTTP/1.1 200 OK" in curl("-i", ballast.url + "/predict")
    head = curl("-I", ballast.url + "/bytes/1000")
    assert "405" in head or "ontent-length: 1000" in head.lower()
    old = curl("-i", "-0", ballast.url + "/steps/old?count=1")
    assert old.lower().count("transfer-encoding") == 0 and "data: 0" in old and "connection: close" in old.lower()
    upload = tmp_path / "upload"
    upload.write_bytes(b"x" * 3_000_000)
    verbose = ["curl", "-sSv", "-m", str(patience), "-H", "Expect: 100-continue", "--data-binary", f"@{upload}"]
    run = subprocess.run([*verbose, ballast.url + "/predict"], capture_output=True, text=True, check=True)
    assert "100 Continue" in run.stderr and '"received":3000000' in run.stdout
    twice = curl(ballast.url + "/predict", ballast.url + "/predict", "-w", "%{num_connects};")
    assert twice.count("1;") + twice.count("0;") == 2 and "0;" in twice


def test_pipelined_requests_are_answered_in_order(start, replicas):
    ballast = start(replicas)
    request = b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n%s\r\n"
    data = b"".join(request % (10 + number, b"") for number in range(20)) + request % (99, b"Connection: close\r\n")
    import socket

    with socket.create_connection(("127.0.0.1", ballast.port), timeout=patience) as connection:
        connection.sendall(data)
        received = read_all(connection)
    lengths = [int(part.split(b"\r\n")[0]) for part in received.lower().split(b"content-length: ")[1:]]
    assert lengths == [*range(10, 30), 99]


def test_a_client_that_leaves_is_seen_by_the_replica(start, replicas):
    ballast = start(replicas[:1])
    for ident in ("fin", "again"):
        answer = requests.get(f"{ballast.url}/endless/{ident}", stream=True, timeout=patience)
        next(answer.iter_content(1))
        answer.close()
        wait_until(lambda ident=ident: ident in replicas[0].books()["left"], "the replica to see the client leave")


def test_a_slow_reader_stops_the_fast_writer(start, scripted):
    """ballast takes only what its client takes: the server's send blocks instead of filling memory."""
    sent = threading.Event()
    progress = []

    def pour(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        block = bytes(1 << 20)
        connection.settimeout(2)
        try:
            for _ in range(950):
                connection.sendall(block)
                progress.append(len(block))
        except TimeoutError:
            sent.set()

    server = scripted(pour)
    ballast = start([server], "health = off")
    answer = requests.get(ballast.url + "/", stream=True, timeout=patience)
    assert sent.wait(patience)
    assert sum(progress) < 64 << 20
    answer.close()
