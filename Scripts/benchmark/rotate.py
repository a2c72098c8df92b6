"""Certificates change again and again under load: every new one is served within certificate-check, and nothing fails."""

import socket
import ssl
import subprocess
import threading
import time

import proxies

PORT = 18140
ROTATIONS = 200
CONFIG = """listen = 127.0.0.1:{port} tls
servers = 127.0.0.1:{replica}
certificate-check = 100ms
[stats]
listen = off
[tls]
certificate = {folder}/rotate.pem
key = {folder}/rotate.key
"""


def make(number):
    """A certificate with this serial, in the place of the last one; its key follows."""
    certificate, key = proxies.folder / "rotate.pem", proxies.folder / "rotate.key"
    fresh, fresh_key = certificate.with_suffix(".newpem"), key.with_suffix(".newkey")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-set_serial", str(number), "-keyout", fresh_key, "-out", fresh, "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    fresh_key.chmod(0o600)
    fresh.rename(certificate)
    fresh_key.rename(key)


def context():
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def ask(link):
    link.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while b"}" not in answer:
        piece = link.recv(65536)
        if not piece:
            raise OSError(f"cut after {answer!r}")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError(f"{answer!r}")


class Load(threading.Thread):
    """Kept connections and new ones in turn, for as long as it is wanted."""

    def __init__(self):
        super().__init__(daemon=True)
        self.wanted, self.requests, self.failures = True, 0, []
        self.start()

    def run(self):
        mine, session = context(), None
        while self.wanted:
            try:
                with mine.wrap_socket(socket.create_connection(("127.0.0.1", PORT), timeout=30), session=session) as link:
                    for _ in range(20):
                        ask(link)
                        self.requests += 1
                    session = link.session
            except OSError as error:
                self.failures.append(str(error))


def serial():
    with context().wrap_socket(socket.create_connection(("127.0.0.1", PORT), timeout=30)) as link:
        text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], capture_output=True, check=True,
                              input=link.getpeercert(binary_form=True)).stdout.decode()
    return int(text.partition("=")[2], 16)


def run():
    make(1)
    file = proxies.folder / "rotate.ini"
    file.write_text(CONFIG.format(port=PORT, replica=proxies.replica_port, folder=proxies.folder))
    replica = proxies.start_replica("--ttft", "0")
    ballast = subprocess.Popen([proxies.binaries / "ballast", "-c", file], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                serial()
                break
            except OSError:
                time.sleep(0.05)
        loads = [Load() for _ in range(8)]
        taken = []
        for number in range(2, ROTATIONS + 2):
            make(number)
            began = time.monotonic()
            while serial() != number:
                if time.monotonic() - began > 30:
                    raise SystemExit(f"certificate {number} is not served")
            taken.append(time.monotonic() - began)
        for load in loads:
            load.wanted = False
        for load in loads:
            load.join()
        failures = [failure for load in loads for failure in load.failures]
        taken.sort()
        print(f"{ROTATIONS} rotations, {sum(load.requests for load in loads)} requests on kept and new connections, "
              f"{len(failures)} failed; the new certificate was served after {taken[len(taken) // 2] * 1000:.0f} ms, "
              f"at most {taken[-1] * 1000:.0f} (certificate-check = 100ms)")
        for failure in failures[:5]:
            print(failure)
        return 1 if failures else 0
    finally:
        ballast.terminate()
        ballast.wait()
        replica.stop()
