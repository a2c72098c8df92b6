"""A replica of the walk: answers as its paths say, misbehaves as it is told, and writes every request's id to a file that
outlives it.

usage: walk_replica.py PORT BOOKS [CERTIFICATE KEY]
"""

import asyncio
import hashlib
import os
import random
import socket
import ssl
import struct
import sys

port, books = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
# Percent of requests on which each happens; `slow` is in milliseconds.
mode = {}
GARBAGE = [b"HTTP/1.1 2000 OK\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n", b"\x00" * 100,
           b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000]


def body_of(nonce, size):
    unit = nonce.encode() + b"."
    return (unit * (size // len(unit) + 1))[:size]


def happens(name):
    return random.random() * 100 < mode.get(name, 0)


class Gone(Exception):
    pass


async def read_body(reader, fields):
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return body
    return await reader.readexactly(int(fields.get("content-length", 0)))


async def answer(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
    method, target, _ = lines[0].split(" ")
    parts = target.strip("/").split("/")
    if parts[0] == "health":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return
    if parts[0] == "mode":
        mode.clear()
        mode.update((name, int(value)) for name, value in (pair.split("=") for pair in parts[1:]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return
    kind, nonce, rest = parts[0], parts[1], [int(part) for part in parts[2:]]
    if fields.get("x-request-id") != nonce or fields.get("host") != "walk.test":
        os.write(books, f"mixed up: {head!r}\n".encode())
    if happens("refuse"):
        await read_body(reader, fields)
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        return
    if happens("early"):
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        raise Gone
    # From here on it has begun to run.
    os.write(books, f"{method} {nonce}\n".encode())
    if happens("reset"):
        reset(writer)
    body = await read_body(reader, fields)
    if mode.get("slow"):
        await asyncio.sleep(random.random() * mode["slow"] / 1000)
    if happens("fail"):
        writer.write(b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n")
        return
    if happens("garbage"):
        writer.write(random.choice(GARBAGE))
        raise Gone
    cuts = happens("cut")
    await KINDS[kind](reader, writer, nonce, rest, body, cuts)
    await writer.drain()
    if cuts or happens("stale"):
        raise Gone


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise Gone


async def plain(_, writer, nonce, rest, __, cuts):
    body = body_of(nonce, rest[0])
    writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" if rest[0] % 2 else b"")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + (body[: len(body) // 2] if cuts else body))


async def chunked(_, writer, nonce, rest, __, cuts):
    body = body_of(nonce, rest[0])
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Nonce\r\n\r\n")
    while body:
        size = random.randint(1, 20_000)
        writer.write(b"%x\r\n" % len(body[:size]) + body[:size] + b"\r\n")
        body = body[size:]
        await writer.drain()
    if not cuts:
        writer.write(b"0\r\nX-Nonce: " + nonce.encode() + b"\r\n\r\n")


async def digest(_, writer, nonce, rest, body, cuts):
    text = f"{nonce} {hashlib.sha256(body).hexdigest()}".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + (text[:5] if cuts else text))


async def events(reader, writer, nonce, rest, __, cuts):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(rest[0]):
        event = f"data: {nonce} {number}\n\n".encode()
        writer.write(b"%x\r\n" % len(event) + event + b"\r\n")
        await writer.drain()
        await asyncio.sleep(rest[1] / 1000)
    if not cuts:
        writer.write(b"0\r\n\r\n")


async def tunnel(reader, writer, nonce, rest, __, cuts):
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    while line := await reader.readline():
        writer.write(nonce.encode() + b" " + line)
        await writer.drain()
        if cuts:
            reset(writer)
    raise Gone


KINDS = {"get": plain, "chunk": chunked, "post": digest, "sse": events, "ws": tunnel}


async def serve(reader, writer):
    try:
        while True:
            await answer(reader, writer)
    except (Gone, asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main():
    context = None
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 20, backlog=512, ssl=context)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
