"""Every row of the corpus through the running binary: a raw client before it, a server behind it that keeps each byte. After
each row, another request gets its own answer. All of it in the clear, and with TLS on both sides."""

import contextlib
import pathlib
import re
import socket
import ssl
import threading

import pytest

from authority import Authority
from conftest import patience, wait_until

folder = pathlib.Path(__file__).resolve().parents[1] / "HTTPTests" / "Corpus"


FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: .*"


class Row:
    def __init__(self, line):
        self.ident, self.section, outcome, text = line.split("\t")
        self.bytes = unescape(text)
        outcome, _, self.proxy = unescape(outcome).decode("latin-1").partition(" | ")
        self.words = outcome.split(" ")
        self.is_accepted = self.words[0] == "accept"
        self.attributes = [word.partition("=")[::2] for word in self.words[4:]]

    def all(self, name):
        return [value for key, value in self.attributes if key == name]

    def one(self, name):
        return next(iter(self.all(name)), None)


def unescape(text):
    text = re.sub(r"\\\{(.*?)\*(\d+)\}", lambda found: found[1] * int(found[2]), text)
    return re.sub(
        r"\\(x..|[rnt\\])",
        lambda found: {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}.get(found[1]) or chr(int(found[1][1:], 16)),
        text,
    ).encode("latin-1")


def rows(name):
    return [Row(line) for line in (folder / name).read_text().splitlines() if not line.startswith("#")]


class Message:
    """A message read by the letter: what is not exactly right is `fault`."""

    def __init__(self, head, body, is_whole):
        lines = head.split(b"\r\n")
        self.start = lines[0].split(b" ", 2)
        self.fields = [tuple(line.split(b": ", 1)) for line in lines[1:]]
        self.body, self.is_whole = body, is_whole
        self.trailers = []

    def values(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]


class Reader:
    """Strict messages from a socket."""

    def __init__(self, connection):
        self.connection, self.data = connection, b""

    def more(self):
        try:
            piece = self.connection.recv(1 << 20)
        except OSError:
            piece = b""
        self.data += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.data:
            if not self.more():
                return None
        found, _, self.data = self.data.partition(mark)
        return found

    def exactly(self, count):
        while len(self.data) < count:
            if not self.more():
                break
        found, self.data = self.data[:count], self.data[count:]
        return found

    def chunks(self, trailers):
        body = b""
        while (line := self.until(b"\r\n")) is not None:
            assert re.fullmatch(rb"[0-9a-f]+", line), line
            size = int(line, 16)
            if size == 0:
                while (trailer := self.until(b"\r\n")) is not None:
                    if not trailer:
                        return body, True
                    assert re.fullmatch(FIELD, trailer, re.DOTALL), trailer
                    trailers.append(trailer.decode("latin-1").replace(": ", ":", 1))
                return body, False
            data = self.exactly(size + 2)
            if len(data) < size + 2:
                return body + data[:size], False
            assert data.endswith(b"\r\n"), data[-20:]
            body += data[:-2]
        return body, False

    def head(self):
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", head.replace(b"\r\n", b"")), head
        for line in head.split(b"\r\n")[1:]:
            assert re.fullmatch(FIELD, line, re.DOTALL), line
        return head

    def message(self, has_body=True, is_response=False):
        """The next message; None where nothing more comes."""
        head = self.head()
        if head is None:
            return None
        message = Message(head, b"", True)
        lengths, codings = message.values("content-length"), message.values("transfer-encoding")
        assert len(lengths) + len(codings) <= 1, head
        if not has_body:
            return message
        if codings:
            assert codings == [b"chunked"], head
            message.body, message.is_whole = self.chunks(message.trailers)
        elif lengths:
            assert re.fullmatch(rb"[0-9]+", lengths[0]), head
            # A server that waits for more than there is would wait for ever: it takes what comes.
            wanted = int(lengths[0])
            message.body = self.exactly(min(wanted, 1 << 20))
            message.is_whole = len(message.body) == wanted
        elif is_response:
            while self.more():
                pass
            message.body, self.data = self.data, b""
        return message


class Recorder:
    """A server that keeps every request by its connection, answers `/canary-N` with N, and everything else with `script`."""

    def __init__(self, script=None, context=None):
        self.script, self.context = script, context
        self.whole, self.partial, self.faults = [], [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        if self.context:
            try:
                connection = self.context.wrap_socket(connection, server_side=True)
            except OSError:
                return
        reader = Reader(connection)
        with connection:
            try:
                while self.answer(connection, reader):
                    pass
            except AssertionError as fault:
                self.faults.append(str(fault))
            except OSError:
                pass
            if reader.data:
                self.partial.append(reader.data)
            if self.context:
                # An end that is said: without, an answer that ends with its connection is cut.
                with contextlib.suppress(OSError, ValueError):
                    connection.unwrap()

    def answer(self, connection, reader):
        head = reader.head()
        if head is None:
            return False
        if b"\r\nexpect:" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        reader.data = head + b"\r\n\r\n" + reader.data
        message = reader.message()
        if not message.is_whole:
            self.partial.append(message)
            return False
        target = message.start[1]
        if target.startswith(b"/canary-"):
            number = target[8:]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(number), number))
            return True
        self.whole.append(message)
        if self.script is None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + (b"" if message.start[0] == b"HEAD" else b"case"))
            return True
        connection.sendall(self.script())
        return False


def ask(ballast, number, connection=None):
    """A canary: its answer must be its own."""
    own = connection or ballast.link()
    own.sendall(b"GET /canary-%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    answer = Reader(own).message(is_response=True)
    assert answer and answer.start[1] == b"200" and answer.body == b"%d" % number, number
    if connection is None:
        own.close()


@pytest.fixture(scope="module", params=["plain", "secured"])
def quick(request, tmp_path_factory):
    """One ballast before one recorder, for all rows: a recorder for a script, and the ballast."""
    from conftest import Ballast

    limits = ["health = off", "retries = 0", "eject-after = 0", "timeout-head = 1s", "timeout-client = 200ms",
              "timeout-response = 5s", "timeout-idle = 5s"]
    started = []

    def begin(script=None):
        folder = tmp_path_factory.mktemp("corpus")
        if request.param == "plain":
            recorder = Recorder(script)
            ballast = Ballast(folder, [recorder.port], *limits)
            ballast.link = lambda: socket.create_connection(("127.0.0.1", ballast.port), timeout=patience)
        else:
            authority = Authority(folder / "authority")
            issued = authority.issue("localhost")
            behind = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            behind.load_cert_chain(issued.path, issued.key_path)
            recorder = Recorder(script, behind)
            ballast = Ballast(folder, None, "listen = 127.0.0.1:0 tls", f"servers = https://localhost:{recorder.port}",
                              f"tls-ca = {authority.path}", *limits, "[tls]", issued.lines)
            port = int(ballast.process.line(r"listening on 127\.0\.0\.1:(\d+) with TLS")[1])
            context = ssl.create_default_context(cafile=authority.path)
            ballast.link = lambda: context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), timeout=patience), server_hostname="localhost")
        ballast.is_secured = request.param == "secured"
        started.append(ballast)
        return recorder, ballast

    yield begin
    for ballast in started:
        ballast.process.kill()


@pytest.fixture(scope="module")
def front(quick):
    return quick()


def check_forwarded(row, message):
    method, target = row.words[1], row.words[2]
    wanted = row.one("sent") or target or "/"
    wanted = "/" + wanted if wanted.startswith("?") else wanted
    assert message.start == [method.encode(), wanted.encode(), b"HTTP/1.1"]
    if row.one("body") is not None:
        assert message.body == row.one("body").encode()
    if row.one("host") is not None:
        assert message.values("host") == [row.one("host").encode()]
    assert len(message.values("host")) == 1
    check_fields(row, message)
    asked = {pair.partition(":")[0].lower() for pair in row.all("with")}
    for name in {"connection", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection", "trailer"} - asked:
        assert not message.values(name), name


def check_fields(row, message):
    for pair in row.all("with"):
        name, _, value = pair.partition(":")
        assert message.values(name) == [value.replace("_", " ").encode("latin-1")], pair
    for name in row.all("without"):
        assert not message.values(name), name
    for name in row.all("has"):
        assert len(message.values(name)) == 1, name
    if row.all("trailer") or row.all("trailers"):
        assert message.trailers == row.all("trailer")


@pytest.mark.parametrize("row", rows("requests.tsv"), ids=lambda row: row.ident)
def test_request(row, front):
    recorder, ballast = front
    recorder.whole, recorder.partial, recorder.faults = [], [], []
    is_head = row.bytes.lstrip(b"\r\n").startswith(b"HEAD ")
    # What is refused on a connection that is not secured (421) is right on one that is.
    is_right = ballast.is_secured and b"https://" in row.bytes.lower() and "421" in (row.words[0], row.proxy)
    with ballast.link() as connection:
        reader = Reader(connection)
        is_refused = not row.is_accepted
        # Behind what is refused, what looks like a request must not become one.
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" if is_refused and row.bytes.endswith(b"\r\n") else b""
        connection.sendall(row.bytes + smuggled)
        answer = read_final(reader, "HEAD" if is_head else "GET")
        status = int(answer.start[1])
        assert answer.values("x-request-id"), "no id"
        if is_right:
            assert status == 200
            return
        if is_refused:
            assert status == int(row.words[0])
        elif row.proxy:
            assert status == int(row.proxy)
        elif row.words[3].startswith("length=") and not row.one("body") and int(row.words[3][7:]) > 5:
            # Less than it promised: the client is told, and the server is not left waiting.
            assert status == 408
            is_refused = True
        else:
            assert status == 200
        if is_refused:
            assert answer.values("connection") == [b"close"]
            assert reader.message() is None and not reader.data
            assert recorder.whole == []
        elif row.proxy:
            assert recorder.whole == []
        else:
            assert len(recorder.whole) == 1, [message.start for message in recorder.whole]
            check_forwarded(row, recorder.whole[0])
            if b"close" not in answer.values("connection") and reader.data == b"" and "length-zero" not in row.ident:
                ask(ballast, 7, connection)
    ask(ballast, 8)
    assert recorder.faults == []
    assert all(message.start[1] != b"/smuggled" for message in recorder.whole)


@pytest.fixture(scope="module")
def back(quick):
    case = {}
    return case, *quick(lambda: case["bytes"])


@pytest.mark.parametrize("row", rows("responses.tsv"), ids=lambda row: row.ident)
def test_response(row, back):
    case, recorder, ballast = back
    recorder.whole, recorder.faults = [], []
    case["bytes"] = row.bytes
    method = row.words[1] if row.is_accepted else "GET"
    with ballast.link() as connection:
        reader = Reader(connection)
        body = b"Content-Length: 1\r\n\r\nx" if method == "POST" else b"\r\n"
        connection.sendall(b"%s / HTTP/1.1\r\nHost: a\r\n%s" % (method.encode(), body))
        answer = read_final(reader, method)
        status = int(answer.start[1]) if answer else None
        if not row.is_accepted or row.proxy == "502":
            assert status == 502
        elif row.proxy == "cut":
            # Told before a byte had left, or seen to be cut.
            assert status == 502 or not answer.is_whole
        elif row.proxy:
            assert status == int(row.proxy)
        elif int(row.words[2]) < 200:
            # An interim response, and then nothing.
            assert status == 502
        else:
            assert status == int(row.words[2]) and answer.is_whole
            if row.one("body") is not None:
                assert answer.body == row.one("body").encode()
            check_fields(row, answer)
            for name in ("keep-alive", "upgrade", "proxy-connection"):
                assert not answer.values(name), name
        if answer and answer.is_whole and b"close" not in answer.values("connection"):
            ask(ballast, 7, connection)
        assert reader.data == b""
    ask(ballast, 8)
    assert len(recorder.whole) == 1


def read_final(reader, method):
    """The final response behind the interim ones; those have no body."""
    while True:
        head = reader.head()
        if head is None:
            return None
        if head.startswith(b"HTTP/1.1 1"):
            continue
        reader.data = head + b"\r\n\r\n" + reader.data
        has_body = method != "HEAD" and not re.match(rb"HTTP/1.1 (204|304)", head)
        return reader.message(has_body=has_body, is_response=True)


def test_the_corpus_is_there():
    assert len(rows("requests.tsv")) >= 300 and len(rows("responses.tsv")) >= 120
