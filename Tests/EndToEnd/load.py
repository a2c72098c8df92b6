"""Load that notices everything: streams and requests whose every byte is checked, each with an id that replicas count."""

import asyncio
import hashlib
import uuid


class Load:
    """Clients of one ballast, on one event loop. What goes wrong is a line in `complaints`."""

    def __init__(self, port):
        self.port = port
        self.complaints = []
        self.ids = []
        self.streams = self.requests = self.uploads = 0
        self.isOver = False

    async def exchange(self, connection, method, path, body=b""):
        """One request on a kept connection; status, fields and body of the answer."""
        reader, writer = connection
        ident = uuid.uuid4().hex
        self.ids.append(ident)
        head = f"{method} {path} HTTP/1.1\r\nHost: model.test\r\nX-Request-ID: {ident}\r\n"
        if method != "GET":
            head += f"Content-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        if fields.get("transfer-encoding") == "chunked":
            answer = b""
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                answer += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        else:
            answer = await reader.readexactly(int(fields["content-length"]))
        return int(lines[0].split(" ")[1]), fields, answer

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    async def guarded(self, what, body):
        try:
            await body
        except Exception as error:  # Whatever it is, the test tells it.
            self.complaints.append(f"{what}: {error!r}")

    async def stream(self, count, milliseconds):
        connection = await self.connect()
        status, _, answer = await self.exchange(connection, "POST", f"/ticks/{count}/{milliseconds}", b"x" * 100)
        connection[1].close()
        events = answer.decode().split("\n\n")
        expected = [f"data: {number}" for number in range(count)] + [""]
        if status != 200 or events[1:] != expected:
            self.complaints.append(f"a stream came with {status} and {len(events)} events")
        self.streams += 1

    async def client(self, size):
        """Requests one after the other until the end, with bodies of `size`; 0 asks by GET."""
        connection = None
        body = bytes(range(256)) * (size // 256)
        while not self.isOver:
            connection = connection or await self.connect()
            method = "POST" if size else "GET"
            status, fields, answer = await self.exchange(connection, method, "/predict", body)
            if status != 200 or hashlib.sha256(body).hexdigest().encode() not in answer:
                self.complaints.append(f"a {method} of {size} bytes was answered with {status}: {answer[:100]}")
            if size > 10_000:
                self.uploads += 1
            else:
                self.requests += 1
            if fields.get("connection") == "close":
                connection[1].close()
                connection = None
            await asyncio.sleep(0.005)

    async def run(self, streams, clients, during, count=20, milliseconds=500):
        """Runs `during` beside streams of `count` events, and as many clients as sizes in `clients`."""
        work = [self.guarded("stream", self.stream(count, milliseconds)) for _ in range(streams)]
        flows = asyncio.gather(*work)
        asks = asyncio.gather(*(self.guarded(f"client of {size}", self.client(size)) for size in clients))
        await during()
        await flows
        self.isOver = True
        await asks

    def judge(self, replicas):
        """Every request ran once, on one of these replicas; the sum of what is wrong."""
        runs = {}
        for replica in replicas:
            for ident in replica.books()["seen"]:
                runs[ident] = runs.get(ident, 0) + 1
        twice = [ident for ident in self.ids if runs.get(ident, 0) > 1]
        never = [ident for ident in self.ids if runs.get(ident, 0) == 0]
        assert self.complaints == []
        assert (len(twice), len(never)) == (0, 0)
