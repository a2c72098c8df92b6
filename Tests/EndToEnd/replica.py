"""A real inference replica for the end-to-end tests: FastAPI under uvicorn, keeping books on what it was asked.

Runs under the distribution's Python, which has both. Prints its port when it is ready to be connected to.
usage: replica.py NAME [[ADDRESS:]PORT]
"""

import asyncio
import hashlib
import json
import socket
import sys

import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, Response, StreamingResponse

name = sys.argv[1]
app = FastAPI()
seen = []
confirmed = {}
left = []


health_status = 200
at_work = 0
most = 0
arrivals = []


@app.get("/health")
async def health():
    return JSONResponse({"status": health_status}, status_code=health_status)


@app.post("/sick/{status}")
async def sick(status: int):
    """From now on checks get this status."""
    global health_status
    health_status = status
    return {}


@app.api_route("/work/{milliseconds}", methods=["GET", "POST", "PUT"])
async def work(milliseconds: int, request: Request):
    """Counts who is at work here at the same time, and in which order they came."""
    global at_work, most
    at_work += 1
    most = max(most, at_work)
    ident = request.headers.get("x-request-id")
    arrivals.append(ident)
    seen.append(ident)
    try:
        body = await request.body()
        await asyncio.sleep(milliseconds / 1000)
        return {"replica": name, "sha256": hashlib.sha256(body).hexdigest()}
    finally:
        at_work -= 1


@app.api_route("/status/{status}", methods=["GET", "POST", "PUT"])
async def status(status: int, request: Request):
    seen.append(request.headers.get("x-request-id"))
    await request.body()
    return JSONResponse({"replica": name}, status_code=status)


@app.api_route("/predict", methods=["GET", "POST"])
async def predict(request: Request):
    seen.append(request.headers.get("x-request-id"))
    body = await request.body()
    return {"replica": name, "received": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@app.get("/fields")
async def fields(request: Request):
    return {"fields": [[key.decode("latin-1"), value.decode("latin-1")] for key, value in request.headers.raw]}


@app.post("/echo")
async def echo(request: Request):
    """Sends the body back in pieces whose length it does not tell beforehand."""
    body = await request.body()

    async def pieces():
        for start in range(0, len(body), 300_000):
            yield body[start : start + 300_000]

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@app.get("/bytes/{count}")
async def many(count: int):
    block = bytes(range(256)) * 256
    whole = (block * (count // len(block) + 1))[:count]
    return Response(whole, media_type="application/octet-stream")


@app.get("/slow/{milliseconds}")
async def slow(milliseconds: int):
    seen.append("slow")
    await asyncio.sleep(milliseconds / 1000)
    return {"replica": name}


@app.get("/steps/{ident}")
async def steps(ident: str, count: int = 5):
    """Server-sent events; each is sent only after the client has confirmed the one before."""

    async def events():
        for number in range(count):
            while confirmed.get(ident, -1) < number - 1:
                await asyncio.sleep(0.005)
            yield f"data: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.post("/ticks/{count}/{milliseconds}")
async def ticks(count: int, milliseconds: int, request: Request):
    """Server-sent events in a steady rhythm, each with its number; the body is acknowledged in the first."""
    seen.append(request.headers.get("x-request-id"))
    body = await request.body()

    async def events():
        yield f"data: {name} {hashlib.sha256(body).hexdigest()}\n\n"
        for number in range(count):
            await asyncio.sleep(milliseconds / 1000)
            yield f"data: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.post("/confirm/{ident}/{number}")
async def confirm(ident: str, number: int):
    confirmed[ident] = number
    return {}


@app.get("/endless/{ident}")
async def endless(ident: str):
    """Sends an event every 20 ms until the client goes, and keeps a note of that."""

    async def events():
        try:
            while True:
                yield "data: x\n\n"
                await asyncio.sleep(0.02)
        finally:
            left.append(ident)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/ws/{ident}")
async def echo_messages(socket: WebSocket, ident: str):
    """Sends every message back, and keeps a note of the end."""
    await socket.accept(subprotocol="chat" if "chat" in socket.scope["subprotocols"] else None)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                left.append(ident)
                return
            if (text := message.get("text")) is not None:
                await socket.send_text(f"{name}: {text}")
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        left.append(ident)


@app.get("/books")
async def books():
    return {"replica": name, "seen": seen, "left": left, "most": most, "arrivals": arrivals}


@app.post("/v1/chat/completions")
async def chat(request: Request):
    asked = json.loads(await request.body())
    words = ["The", " hull", " is", " steady", "."]
    base = {"id": f"chatcmpl-{name}", "created": 1700000000, "model": asked["model"]}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(words)}
        usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": len(words) + 1}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return JSONResponse({**base, "object": "chat.completion", "choices": choices, "usage": usage})

    async def events():
        for word in words:
            choices = [{"index": 0, "delta": {"content": word}, "finish_reason": None}]
            yield "data: " + json.dumps({**base, "object": "chat.completion.chunk", "choices": choices}) + "\n\n"
            await asyncio.sleep(0.01)
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
host, _, port = (sys.argv[2] if len(sys.argv) > 2 else "0").rpartition(":")
# Accepted sockets inherit it; without, each answer waits for an acknowledgement.
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
listener.bind((host or "127.0.0.1", int(port)))
listener.listen(512)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])
