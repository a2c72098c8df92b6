"""How soon a request ends at its server when its client leaves, by how far it was; and how soon the slot is given on."""

import socket
import statistics
import struct
import subprocess
import threading
import time

import proxies

PORT, SERVER = 18130, 18131
CONFIG = """listen = 127.0.0.1:{port}
servers = 127.0.0.1:{server}
health = off
maxconn = 1
[stats]
listen = off
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PHASES = {
    "waiting": (REQUEST, b""),
    "uploading": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000), b""),
    "streaming": (REQUEST, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
}


class Server:
    """Notes when each connection begins to ask, and when it ends."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", SERVER), backlog=512)
        self.answer, self.begun, self.ended = b"", threading.Semaphore(0), threading.Semaphore(0)
        self.beginning = self.end = 0.0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                connection.recv(65536)
                self.beginning = time.monotonic()
                connection.sendall(self.answer)
                self.begun.release()
                while connection.recv(65536):
                    pass
            except OSError:
                pass
            self.end = time.monotonic()
            self.ended.release()


def ask(data):
    link = socket.create_connection(("127.0.0.1", PORT))
    link.sendall(data)
    return link


def leave(link, resets):
    if resets:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    moment = time.monotonic()
    link.close()
    return moment


def told(name, times):
    times = sorted(1000 * each for each in times)
    print(f"{name:28} median {statistics.median(times):6.2f} ms, 99th {times[len(times) * 99 // 100]:6.2f} ms, "
          f"most {times[-1]:6.2f} ms", flush=True)
    return times[-1]


def run(rounds=200):
    file = proxies.folder / "cancel.ini"
    file.write_text(CONFIG.format(port=PORT, server=SERVER))
    server = Server()
    ballast = subprocess.Popen([proxies.binaries / "ballast", "-c", file], stderr=subprocess.PIPE, text=True)
    while "is ready" not in (line := ballast.stderr.readline()):
        if not line:
            raise SystemExit("ballast has not started")
    most = 0.0
    try:
        for phase, (data, answer) in PHASES.items():
            server.answer = answer
            for resets in (False, True):
                times, passed = [], []
                for _ in range(rounds):
                    link = ask(data)
                    server.begun.acquire()
                    following = ask(REQUEST)
                    time.sleep(0.002)
                    moment = leave(link, resets)
                    server.ended.acquire()
                    times.append(server.end - moment)
                    server.begun.acquire()
                    passed.append(server.beginning - moment)
                    following.close()
                    server.ended.acquire()
                name = f"{phase}, {'reset' if resets else 'closed'}"
                most = max(most, told(name, times), told(name + ": next in line", passed))
    finally:
        ballast.terminate()
        ballast.wait()
    print(f"within 20 ms: {'yes' if most < 20 else 'no'}")
    return 0
