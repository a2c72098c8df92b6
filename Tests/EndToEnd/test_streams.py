"""Clients that leave, streams that are counted, and tunnels: what lives longer than a request and an answer."""

import contextlib
import hashlib
import socket
import threading

import pytest
import requests
from websockets.sync.client import connect as connect_websocket

from conftest import patience, read_all, wait_until

RESET = b"\1\0\0\0\0\0\0\0"
UPGRADE = b"GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def open_to(ballast, data=b""):
    link = socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(data)
    return link


def leave(link, how):
    if how == "reset":
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    link.close()


def receive(link, count):
    data = b""
    while len(data) < count and (piece := link.recv(count - len(data))):
        data += piece
    return data


def head_of(link):
    data = b""
    while not data.endswith(b"\r\n\r\n") and (piece := link.recv(1)):
        data += piece
    return data


# Leaving


class Watcher:
    """A server that notes each request's beginning and its connection's end."""

    def __init__(self, answer=b""):
        self.answer = answer
        self.begun, self.ended = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, connection, head):
        connection.sendall(self.answer)
        self.begun.release()
        read_all(connection)
        self.ended.release()


PHASES = {
    "waiting": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
    "uploading": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", b""),
    "streaming": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", PHASES)
def test_who_leaves_ends_the_request_at_the_server(start, scripted, phase, how):
    """C04, C05: counted by phase, nothing of it runs on, and the slot is free for the next."""
    data, answer = PHASES[phase]
    watcher = Watcher(answer)
    ballast = start([scripted(watcher)], "health = off", "maxconn = 1", "access-log = stderr")
    link = open_to(ballast, data)
    assert watcher.begun.acquire(timeout=patience)
    if phase == "streaming":
        head_of(link)
    # Another one waits for the slot.
    following = open_to(ballast, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "the second to wait")
    leave(link, how)
    assert watcher.ended.acquire(timeout=patience)
    assert watcher.begun.acquire(timeout=patience), "the slot was not passed on"
    wait_until(lambda: ballast.metric("ballast_client_aborts_total", phase=phase) == 1, "it to be counted")
    ballast.process.line(f"end=left:{phase}")
    following.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_who_leaves_the_line_leaves_no_gap(start, scripted, how):
    watcher = Watcher()
    server = scripted(watcher)
    ballast = start([server], "health = off", "maxconn = 1")
    first = open_to(ballast, b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
    assert watcher.begun.acquire(timeout=patience)
    second = open_to(ballast, b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "the second to wait")
    third = open_to(ballast, b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 2, "the third to wait")
    leave(second, how)
    wait_until(lambda: ballast.metric("ballast_queued_requests") == 1, "the second to be gone")
    assert ballast.metric("ballast_client_aborts_total", phase="queued") == 1
    first.close()
    assert watcher.begun.acquire(timeout=patience)
    assert server.received[1].startswith(b"GET /third ") and len(server.received) == 2
    third.close()


def test_who_leaves_while_ballast_connects_leaves_nothing(start, deaf):
    ballast = start([deaf], "health = off", "timeout-connect = 20s")
    link = open_to(ballast, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "the attempt")
    link.close()
    wait_until(lambda: ballast.metric("ballast_client_aborts_total", phase="connecting") == 1, "it to be counted")
    assert ballast.metric("ballast_server_inflight_requests") == 0
    wait_until(lambda: ballast.metric("ballast_server_connections", state="active") == 0, "its connection to close")


def test_who_only_finishes_sending_may_be_served(start, replicas):
    """half-close = serve; by default such a client has left."""
    request = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    ballast = start(replicas[:1], "half-close = serve")
    answer = ballast.raw(request, half_close=True)
    assert answer.startswith(b"HTTP/1.1 200") and b"5\r\nhello\r\n0\r\n\r\n" in answer
    # Several requests at once, and a slow one.
    answer = ballast.raw(b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + b"GET /work/300 HTTP/1.1\r\nHost: a\r\n\r\n", half_close=True)
    assert answer.count(b"HTTP/1.1 200") == 3
    # Half a request is none, and half a body is a client that left.
    assert ballast.raw(b"GET /predict HTTP/1.1\r\nHo", half_close=True) == b""
    assert ballast.raw(request[:-2], half_close=True) == b""
    assert ballast.metric("ballast_client_aborts_total", phase="uploading") == 1
    default = start(replicas[:1], "access-log = stderr")
    assert default.raw(request, half_close=True) == b""
    assert default.metric("ballast_client_aborts_total") == 1
    default.process.line(r'"POST /echo HTTP/1.1" - .* end=left:')


def test_who_resets_has_left_even_where_half_a_close_is_served(start, scripted):
    watcher = Watcher()
    ballast = start([scripted(watcher)], "health = off", "half-close = serve")
    link = open_to(ballast, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert watcher.begun.acquire(timeout=patience)
    link.shutdown(socket.SHUT_WR)
    leave(link, "reset")
    assert watcher.ended.acquire(timeout=patience)
    wait_until(lambda: ballast.metric("ballast_client_aborts_total", phase="waiting") == 1, "it to be counted")


# Events


def test_events_are_counted(start, replicas):
    ballast = start(replicas[:1], "health = off")
    answer = requests.post(ballast.url + "/ticks/20/1", data="x", timeout=patience)
    assert answer.text.count("data:") == 21
    wait_until(lambda: ballast.metric("ballast_server_stream_events_total") == 21, "the events")
    # What is no event stream has none, whatever stands in it.
    requests.post(ballast.url + "/echo", data="data: x\n\n" * 5, timeout=patience)
    assert ballast.metric("ballast_server_stream_events_total") == 21


@pytest.mark.parametrize("version, framing", [("1.0", b""), ("1.1", b"Content-Length: 47\r\n")])
def test_events_of_other_framings_are_counted(start, scripted, version, framing):
    events = b"data: 1\r\n\r\n: ping\r\n\r\ndata: 2\ndata: 3\n\ndata: 4\n\n"
    server = scripted(lambda connection, head: connection.sendall(
        b"HTTP/%s 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n%s\r\n" % (version.encode(), framing) + events))
    ballast = start([server], "health = off")
    assert requests.get(ballast.url, timeout=patience).content == events
    wait_until(lambda: ballast.metric("ballast_server_stream_events_total") == 3, "the events")


# Trailers and interim responses


def test_trailers_and_interim_responses_pass(start, scripted):
    def answer(connection, head):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n")

    server = scripted(answer)
    ballast = start([server], "health = off", "remove-response-header = X-Gone")
    with open_to(ballast, b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n") as link:
        assert head_of(link) == b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        assert b"\r\nTrailer: X-Sum\r\n" in head_of(link)
        assert receive(link, 22) == b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"
    assert b"\r\nTE: trailers\r\n" in server.received[0]


def test_a_request_with_trailers_is_sent_again_with_them(start, scripted):
    """The first server dies when all has come; what is kept holds the trailers too."""
    seen = []

    def behave(connection, head):
        body = head.partition(b"\r\n\r\n")[2]
        while not body.endswith(b"\r\n\r\n"):
            body += connection.recv(1000)
        seen.append(body)
        if len(seen) > 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    ballast = start([scripted(behave), scripted(behave)], "health = off")
    with open_to(ballast, b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n") as link:
        assert head_of(link).startswith(b"HTTP/1.1 200")
    assert seen == [b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"] * 2


# Tunnels


def test_websockets(start, replicas):
    """Real ones: text, bytes of every size, subprotocols, pings, a proper end."""
    ballast = start(replicas[:1], "access-log = stderr")
    url = f"ws://127.0.0.1:{ballast.port}/ws/proper"
    with connect_websocket(url, subprotocols=["chat"], compression=None) as link:
        assert link.subprotocol == "chat"
        link.send("hello")
        assert link.recv(patience) == "one: hello"
        for size in (0, 1, 125, 126, 70_000, 1_000_000):
            data = hashlib.sha256(b"%d" % size).digest() * (size // 32 + 1)
            link.send(data[:size])
            assert link.recv(patience) == data[:size]
        assert link.ping().wait(patience)
        assert ballast.metric("ballast_server_inflight_requests") == 1
        assert ballast.metric("ballast_open_tunnels") == 1
    wait_until(lambda: "proper" in replicas[0].books()["left"], "the end to arrive")
    ballast.process.line(r'"GET /ws/proper HTTP/1.1" 101 .* end=ok')
    assert (ballast.metric("ballast_tunnels_total"), ballast.metric("ballast_open_tunnels")) == (1, 0)
    assert ballast.metric("ballast_requests_total", code="1xx") == 1
    assert ballast.metric("ballast_server_inflight_requests") == 0


def test_a_websocket_that_is_gone_without_a_word_ends_at_the_server(start, replicas):
    ballast = start(replicas[:1])
    link = open_to(ballast, b"GET /ws/rude HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert head_of(link).startswith(b"HTTP/1.1 101 ")
    leave(link, "reset")
    wait_until(lambda: "rude" in replicas[0].books()["left"], "the end to arrive")
    wait_until(lambda: ballast.metric("ballast_tunnels_total") == 1, "it to be counted")


def test_a_client_that_is_gone_is_seen_while_its_server_does_not_read(start, scripted):
    """Nothing more is read of it then: only its reset tells."""
    ended, stuck = threading.Event(), threading.Event()

    def serve(connection):
        stuck.wait(patience)
        read_all(connection)
        ended.set()

    ballast = start([scripted(tunnel(serve))], "health = off")
    link = open_to(ballast, UPGRADE)
    head_of(link)
    link.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            link.send(bytes(1 << 16))
    leave(link, "reset")
    wait_until(lambda: ballast.metric("ballast_tunnels_total") == 1, "its end")
    assert ballast.metric("ballast_server_inflight_requests") == 0
    stuck.set()
    assert ended.wait(patience)


def tunnel(serve):
    """A server's behaviour: reads the head, switches, then does what `serve` does with the connection."""
    def behave(connection, head):
        connection.sendall(SWITCHED)
        serve(connection)

    return behave


def test_a_tunnel_passes_ends_one_by_one(start, scripted):
    def serve(connection):
        data = read_all(connection)
        connection.sendall(b"you said " + data)
        connection.shutdown(socket.SHUT_WR)

    ballast = start([scripted(tunnel(serve))], "health = off")
    # What is sent behind the head belongs to the new protocol and waits for it.
    with open_to(ballast, UPGRADE + b"early ") as link:
        head = head_of(link)
        assert head.startswith(b"HTTP/1.1 101 ") and b"\r\nUpgrade: websocket\r\n" in head
        assert b"\r\nConnection: upgrade\r\n" in head and b"\r\nX-Request-ID: " in head
        link.sendall(b"and late")
        link.shutdown(socket.SHUT_WR)
        assert read_all(link) == b"you said early and late"
    wait_until(lambda: ballast.metric("ballast_tunnels_total") == 1, "it to be counted")
    assert ballast.metric("ballast_server_connections") == 0


def test_a_server_may_finish_first(start, scripted):
    got = []

    def serve(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        got.append(read_all(connection))

    ballast = start([scripted(tunnel(serve))], "health = off")
    with open_to(ballast, UPGRADE) as link:
        head_of(link)
        assert read_all(link) == b"bye"
        link.sendall(b"still here")
        link.shutdown(socket.SHUT_WR)
        wait_until(lambda: got == [b"still here"], "what came after the end of the other side")


def test_a_server_that_leaves_is_heard_to_its_end(start, scripted):
    """It sends much and closes, while its client reads slowly."""
    much = b"y" * (3 << 20)

    def serve(connection):
        receive(connection, 5)
        connection.sendall(much)

    ballast = start([scripted(tunnel(serve))], "health = off")
    with open_to(ballast, UPGRADE + b"begin") as link:
        head_of(link)
        got = receive(link, 1000)
        wait_until(lambda: ballast.metric("ballast_server_inflight_requests") == 1, "the connection to fill")
        assert got + read_all(link) == much
        # Nobody hears this any more, and nothing waits for it.
        link.sendall(b"hello?")
    wait_until(lambda: ballast.metric("ballast_tunnels_total") == 1, "its end")


def test_much_passes_through_a_tunnel_in_both_directions_at_once(start, scripted):
    block = hashlib.sha256(b"x").digest() * 32_768

    def serve(connection):
        sender = threading.Thread(target=lambda: connection.sendall(block * 8), daemon=True)
        sender.start()
        got.append(hashlib.sha256(receive(connection, len(block) * 8)).digest())
        sender.join()

    got = []
    ballast = start([scripted(tunnel(serve))], "health = off")
    with open_to(ballast, UPGRADE) as link:
        head_of(link)
        threading.Thread(target=lambda: link.sendall(block * 8), daemon=True).start()
        assert receive(link, len(block) * 8) == block * 8
        wait_until(lambda: got == [hashlib.sha256(block * 8).digest()], "all of it")


@pytest.mark.parametrize("answer, status", [
    (b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 502),
    (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", 502),
    (b"HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n", 502),
    (b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n", 502),
    (b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", 502),
    (b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", 200),
    (b"HTTP/1.1 426 No\r\nUpgrade: other/2\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n", 426),
])
def test_only_a_true_101_opens_a_tunnel(start, scripted, answer, status):
    """Whatever else the server says, what the client sends next is a request again."""
    seen = []

    def behave(connection, head):
        seen.append(head)
        connection.sendall(answer if b"/t " in head else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    ballast = start([scripted(behave)], "health = off", "retries = 0", "pool-size = 0")
    with open_to(ballast, UPGRADE + b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as link:
        data = read_all(link)
    assert data.startswith(b"HTTP/1.1 %d " % status) and data.endswith(b"ok")
    # 426 says what is wanted (RFC 9110, 15.5.22).
    assert (b"\r\nUpgrade: other/2\r\n" in data) == (status == 426)
    assert [head.split(b" ")[1] for head in seen] == [b"/t", b"/next"]
    assert ballast.metric("ballast_tunnels_total") == 0


@pytest.mark.parametrize("setting, request_", [
    ("upgrade = off", UPGRADE), ("upgrade = other", UPGRADE), (None, UPGRADE.replace(b"websocket", b"h2c")),
    (None, UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0")),
    (None, UPGRADE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nhi")),
])
def test_what_is_not_allowed_is_not_offered(start, scripted, setting, request_):
    server = scripted(lambda connection, head: connection.sendall(SWITCHED))
    ballast = start([server], "health = off", "retries = 0", setting)
    with open_to(ballast, request_) as link:
        # The server switches all the same, which nobody asked it to.
        assert head_of(link).split(b" ")[1] == b"502"
    assert len(server.received) == 1 and b"upgrade" not in server.received[0].lower()


def test_a_silent_tunnel_ends_after_its_time(start, scripted):
    ended = threading.Event()

    def serve(connection):
        read_all(connection)
        ended.set()

    ballast = start([scripted(tunnel(serve))], "health = off", "timeout-tunnel = 300ms", "access-log = stderr")
    with open_to(ballast, UPGRADE) as link:
        head_of(link)
        assert read_all(link) == b"<reset>"
    assert ended.wait(patience)
    assert ballast.metric("ballast_limits_reached_total", limit="timeout-tunnel") == 1
    assert ballast.metric("ballast_request_errors_total", reason="tunnel_timeout") == 1
    ballast.process.line("end=cut:tunnel_timeout")


def test_a_server_that_dies_in_a_tunnel_is_seen(start, scripted):
    def serve(connection):
        connection.sendall(b"half")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    ballast = start([scripted(tunnel(serve))], "health = off")
    with open_to(ballast, UPGRADE) as link:
        head_of(link)
        assert receive(link, 4) == b"half"
        link.sendall(b"x")
        assert read_all(link) == b"<reset>"
    assert ballast.metric("ballast_request_errors_total", reason="reset") == 1


def test_a_slow_reader_of_a_tunnel_stops_its_writer(start, scripted):
    """R23 for tunnels: what nobody reads is not kept."""
    sent, is_full = [0], threading.Event()

    def serve(connection):
        connection.settimeout(1)
        try:
            while True:
                sent[0] += connection.send(bytes(65536))
        except TimeoutError:
            is_full.set()
            read_all(connection)

    ballast = start([scripted(tunnel(serve))], "health = off")
    with open_to(ballast, UPGRADE) as link:
        head_of(link)
        assert is_full.wait(patience)
        assert 1 << 20 < sent[0] < 32 << 20
        assert ballast.metric("process_resident_memory_bytes") < 100 << 20


def test_tunnels_live_over_a_reload_and_until_the_end_of_a_stop(start, replicas):
    ballast = start(replicas[:1], "shutdown-timeout = 1s")
    with connect_websocket(f"ws://127.0.0.1:{ballast.port}/ws/reload", compression=None) as link:
        link.send("before")
        assert link.recv(patience) == "one: before"
        ballast.reload(replicas[1:2], "shutdown-timeout = 1s")
        link.send("after")
        assert link.recv(patience) == "one: after"
        ballast.process.signal(15)
        ballast.process.line("may finish")
        link.send("stopping")
        assert link.recv(patience) == "one: stopping"
        assert ballast.process.wait() == 0
    ballast.process.line("at the end 1 were cut")
