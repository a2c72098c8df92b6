"""Compression of responses: for whom, of what, and never of anything else."""

import gzip
import json
import os
import socket
import threading
import zlib

import pytest
import requests

from conftest import patience, wait_until

TEXT = json.dumps([{"number": number, "word": "ballast"} for number in range(2000)]).encode()
GZIP = "gzip, deflate, br"


def scripted_answer(*fields, body=TEXT, status="200 OK", framing=True):
    lines = [f"HTTP/1.1 {status}", *fields]
    if framing:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def ask(start, scripted):
    """Asks a server that answers with these bytes; the raw head and body, chunks taken off."""
    def begin(answer, *settings, accept=GZIP, method="GET", version="1.1", fields=""):
        def behave(connection, head):
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)

        ballast = start([scripted(behave)], "health = off", "compress = gzip", *settings)
        line = f"Accept-Encoding: {accept}\r\n" if accept is not None else ""
        got = ballast.raw(f"{method} / HTTP/{version}\r\nHost: a\r\n{line}{fields}Connection: close\r\n\r\n".encode())
        head, _, body = got.partition(b"\r\n\r\n")
        names = {}
        for field in head.decode().split("\r\n")[1:]:
            name, _, value = field.partition(": ")
            assert name.lower() not in names or name.lower() == "set-cookie", f"{name} stands twice"
            names[name.lower()] = value
        return names, unchunked(body) if names.get("transfer-encoding") == "chunked" else body, ballast

    return begin


def unchunked(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if count == 0:
            return body
        body, data = body + data[:count], data[count + 2:]


JSON = "Content-Type: application/json; charset=utf-8"


@pytest.mark.parametrize("etag, weak", [('"abc"', 'W/"abc"'), ('W/"abc"', 'W/"abc"')])
def test_what_is_compressed_says_so(ask, etag, weak):
    fields, body, _ = ask(scripted_answer(JSON, f"ETag: {etag}", "Accept-Ranges: bytes", "Vary: Origin", "X-Other: 1"))
    assert gzip.decompress(body) == TEXT and len(body) < len(TEXT) / 5
    assert fields["content-encoding"] == "gzip" and fields["vary"] == "Origin, Accept-Encoding"
    assert fields["etag"] == weak and fields["x-other"] == "1"
    assert "accept-ranges" not in fields and "content-length" not in fields


@pytest.mark.parametrize("accept, is_wanted", [
    ("gzip", True), ("GZIP", True), ("x-gzip", True), ("*", True), ("br, gzip;q=0.1", True), ("gzip;q=1.000", True),
    ("gzip;q=0", False), ("gzip; q=0.0", False), ("identity", False), (None, False), ("", False), ("*;q=0", False),
    ("gzip;q=0, *", False), ("identity;q=1, gzip;q=0.5", False), ("identity;q=0.5, gzip", True), ("gzipped", False),
    ("deflate, br", False),
])
def test_the_client_decides(ask, accept, is_wanted):
    fields, body, _ = ask(scripted_answer(JSON), accept=accept)
    assert (fields.get("content-encoding") == "gzip") == is_wanted
    assert (gzip.decompress(body) if is_wanted else body) == TEXT
    assert fields["vary"] == "Accept-Encoding", "whoever keeps it has to know"
    assert is_wanted or fields["content-length"] == str(len(TEXT))


@pytest.mark.parametrize("answer, options", [
    (scripted_answer(JSON, "Content-Encoding: br"), {}), (scripted_answer(JSON, "Content-Range: bytes 0-9/10", status="206 Partial"), {}),
    (scripted_answer(JSON, "Cache-Control: public, No-Transform"), {}), (scripted_answer(JSON, "Set-Cookie: a=b"), {}),
    (scripted_answer(JSON, "Content-Digest: sha-256=:x:"), {}), (scripted_answer("Content-Type: image/png"), {}),
    (scripted_answer("Content-Type: text/event-stream"), {}), (scripted_answer("X-No-Type: 1"), {}),
    (scripted_answer(JSON, body=b"x" * 1023), {}), (scripted_answer(JSON), {"version": "1.0"}),
    (scripted_answer(JSON, status="304 Not Modified", body=b""), {}), (scripted_answer(JSON, status="302 Found"), {}),
    (scripted_answer("Content-Type: application/jsonp"), {}),
])
def test_what_is_never_compressed(ask, answer, options):
    fields, body, _ = ask(answer, **options)
    assert fields.get("content-encoding") != "gzip"
    assert body == answer.partition(b"\r\n\r\n")[2]


def test_HEAD_is_told_of_nothing_that_is_not_sent(ask):
    fields, body, _ = ask(scripted_answer(JSON).partition(b"\r\n\r\n")[0] + b"\r\n\r\n", method="HEAD")
    assert body == b"" and fields["vary"] == "Accept-Encoding" and "content-encoding" not in fields and fields["content-length"] == str(len(TEXT))


@pytest.mark.parametrize("setting, answer", [
    ("compress-cookies = on", scripted_answer(JSON, "Set-Cookie: a=b")), ("compress-min-size = 10", scripted_answer(JSON, body=b"x" * 11)),
    ("compress-types = image/*", scripted_answer("Content-Type: image/png")), ("compress-level = 9", scripted_answer(JSON)),
    (None, scripted_answer(JSON, status="500 Oh")), (None, scripted_answer("Content-Type: TEXT/html")),
    (None, scripted_answer(JSON, framing=False)),
    (None, b"HTTP/1.1 200 OK\r\n" + JSON.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
     + b"".join(b"%x\r\n%b\r\n" % (len(TEXT[at:at + 700]), TEXT[at:at + 700]) for at in range(0, len(TEXT), 700)) + b"0\r\n\r\n"),
])
def test_what_is_compressed(ask, setting, answer):
    fields, body, _ = ask(answer, setting)
    plain = answer.partition(b"\r\n\r\n")[2]
    assert gzip.decompress(body) == (TEXT if b"chunked" in answer else plain) and fields["content-encoding"] == "gzip"


@pytest.mark.parametrize("body", [os.urandom(1 << 20), bytes(1 << 20), TEXT * 10, b"a" * 1024], ids=["noise", "zeros", "text", "small"])
def test_byte_for_byte(ask, body):
    fields, got, _ = ask(scripted_answer(JSON, body=body))
    assert gzip.decompress(got) == body


def test_off_by_default(start, scripted):
    server = scripted(lambda connection, head: connection.sendall(scripted_answer(JSON)))
    ballast = start([server], "health = off")
    answer = requests.get(ballast.url, timeout=patience, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers and "Vary" not in answer.headers


def test_what_has_come_leaves(start, scripted):
    """Each piece is readable before the next one is sent."""
    turn, pieces = threading.Semaphore(0), [f'{{"number": {number}}}\n'.encode() for number in range(10)]

    def behave(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert turn.acquire(timeout=patience)
        connection.sendall(b"0\r\n\r\n")

    ballast = start([scripted(behave)], "health = off", "compress = gzip")
    with requests.get(ballast.url, stream=True, timeout=patience, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        inflater, got = zlib.decompressobj(31), b""
        for index, _ in enumerate(pieces):
            while got != b"".join(pieces[:index + 1]):
                got += inflater.decompress(answer.raw.read1(65536, decode_content=False))
            turn.release()


def test_trailers_come_through(ask):
    answer = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
              b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
    _, _, ballast = ask(answer)
    got = ballast.raw(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\nAccept-Encoding: gzip\r\n\r\n")
    assert got.endswith(b"0\r\nX-Sum: 1\r\n\r\n") and b"Content-Encoding: gzip" in got


def test_a_cut_response_stays_cut(start, scripted):
    def behave(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n" + b"x" * 3000)

    ballast = start([scripted(behave)], "health = off", "compress = gzip", "retries = 0")
    with pytest.raises(requests.exceptions.RequestException):
        requests.get(ballast.url, timeout=patience, headers={"Accept-Encoding": "gzip"})


def test_C20_memory_for_it_is_bounded(start, scripted):
    """Beyond compress-memory responses leave as they are, and that is told."""
    go = threading.Event()

    def behave(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        go.wait(patience)
        connection.sendall(b"0\r\n\r\n")

    ballast = start([scripted(behave)], "health = off", "compress = gzip", "compress-memory = 1m")
    held = []
    for number in range(6):
        answer = requests.get(ballast.url, stream=True, timeout=patience, headers={"Accept-Encoding": "gzip"})
        held.append(answer)
    assert [answer.headers.get("Content-Encoding") for answer in held] == ["gzip"] * 3 + [None] * 3
    assert ballast.metric("ballast_limits_reached_total", limit="compress-memory") == 3
    go.set()
    assert all(answer.content == b"hello" for answer in held)
    # What is over gives its memory back.
    wait_until(lambda: requests.get(ballast.url, timeout=patience, headers={"Accept-Encoding": "gzip"}).headers.get(
        "Content-Encoding") == "gzip", "memory to be there again")


def test_what_clients_compress_passes_untouched(start, scripted):
    received = threading.Event()
    seen = []
    bomb = gzip.compress(bytes(1 << 20))

    def behave(connection, head):
        while len(head.partition(b"\r\n\r\n")[2]) < len(bomb):
            head += connection.recv(65536)
        seen.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        received.set()

    server = scripted(behave)
    ballast = start([server], "health = off", "compress = gzip")
    requests.post(ballast.url, data=bomb, headers={"Content-Encoding": "gzip"}, timeout=patience)
    assert received.wait(patience)
    assert seen[0].endswith(bomb) and b"Content-Encoding: gzip" in seen[0]


@pytest.mark.parametrize("vary, setting, wanted", [
    ("Vary: accept-encoding, Origin", None, ["accept-encoding, Origin"]), ("Vary: *", None, ["*"]),
    (None, "set-response-header = Vary Origin", ["Origin", "Accept-Encoding"]),
    ("Vary: Origin", "remove-response-header = Vary", ["Accept-Encoding"]),
])
def test_caches_are_told_whatever_else_is_said(start, scripted, vary, setting, wanted):
    answer = scripted_answer(JSON, *([vary] if vary else []))
    ballast = start([scripted(lambda connection, head: connection.sendall(answer))], "health = off", "compress = gzip", setting)
    head = ballast.raw(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").partition(b"\r\n\r\n")[0]
    said = [line.partition(": ")[2] for line in head.decode().split("\r\n") if line.lower().startswith("vary")]
    assert sorted(said) == sorted(wanted) and b"Content-Encoding: gzip" in head


@pytest.mark.parametrize("asked, told", [('W/"abc"', 'W/"abc"'), ('"abc"', '"abc"'), ('W/"other", W/"abc"', 'W/"abc"'), ('W/"abcd"', '"abc"')])
def test_what_is_still_right_is_told_as_it_was(ask, asked, told):
    answer = b'HTTP/1.1 304 Not Modified\r\nETag: "abc"\r\n\r\n'
    fields, _, _ = ask(answer, fields=f"If-None-Match: {asked}\r\n")
    assert fields["etag"] == told and ("vary" in fields) == told.startswith("W/") and "content-encoding" not in fields


def test_a_client_that_wants_nothing_changed(ask):
    fields, body, _ = ask(scripted_answer(JSON), fields="Cache-Control: no-transform\r\n")
    assert body == TEXT and "content-encoding" not in fields

