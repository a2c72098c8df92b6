"""The proxies under test and the replica behind them: started alike, measured alike."""

import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request

root = pathlib.Path(__file__).resolve().parents[2]
binaries = root / ".build" / "release"
folder = pathlib.Path(tempfile.mkdtemp(prefix="ballast-bench-"))
atexit.register(shutil.rmtree, folder, ignore_errors=True)
ports = {"ballast": 18080, "nginx": 18081, "haproxy": 18082}
replica_port = 18090
# From a proxy's port to the one that it serves over TLS.
secure_offset = 20

NGINX = """worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 20000; }}
http {{
    access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
    upstream replica {{ server 127.0.0.1:{replica}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{secure} ssl backlog=4096;
        ssl_certificate {folder}/tls.pem; ssl_certificate_key {folder}/tls.key; ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://replica; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
            proxy_read_timeout 1h;
            proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-ID $request_id;
        }}
    }}
}}
"""

HAPROXY = """global
    nbthread 1
    maxconn 9000
defaults
    mode http
    option http-no-delay
    option forwardfor
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    http-reuse always
    unique-id-format %{{+X}}o%ci%cp%Ts%rt
    unique-id-header X-Request-ID
listen front
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{secure} backlog 4096 ssl crt {folder}/both.pem
    server replica 127.0.0.1:{replica} pool-max-conn 256
"""

BALLAST = """listen = 127.0.0.1:{port}
listen = 127.0.0.1:{secure} tls
servers = 127.0.0.1:{replica}
threads = 1
pool-size = 256
requests-per-connection = 1000000000
[tls]
certificate = {folder}/tls.pem
key = {folder}/tls.key
"""


def make_certificate():
    """An ECDSA one for localhost, its authority is itself."""
    key, certificate = folder / "tls.key", folder / "tls.pem"
    if certificate.exists():
        return certificate
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "30", "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    key.chmod(0o600)
    (folder / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate


def prepare(*tools):
    """Installs the tools that are missing, each Debian's package of its name, and builds."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    script = f"source Scripts/common.sh; need_swift; need_packages {' '.join(missing)}; build_release"
    subprocess.run(["bash", "-c", script], cwd=root, check=True, stdout=subprocess.DEVNULL)


def pinned(processor, command):
    return ["taskset", "-c", str(processor), *command] if os.cpu_count() > 1 else command


class Running:
    """A process that is measured and ended."""

    def __init__(self, name, command, port, processor):
        self.name, self.port, self.secure_port = name, port, port + secure_offset
        self.process = subprocess.Popen(pinned(processor, [str(word) for word in command]), stderr=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{name} does not answer on port {port}")

    def processes(self):
        """The process with its workers."""
        found = [self.process.pid]
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu(self):
        """CPU seconds so far, user and kernel, of all threads."""
        total = 0
        for process in self.processes():
            for task in pathlib.Path(f"/proc/{process}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory(self):
        """Resident bytes."""
        pages = 0
        for process in self.processes():
            pages += int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * 4096

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_replica(*options):
    command = [binaries / "demo-replica", "--port", replica_port, "--slots", 4000, *options]
    return Running("replica", command, replica_port, 1)


def start(name):
    make_certificate()
    values = {"folder": folder, "port": ports[name], "replica": replica_port, "secure": ports[name] + secure_offset}
    text = {"ballast": BALLAST, "nginx": NGINX, "haproxy": HAPROXY}[name].format(**values)
    file = folder / f"{name}.conf"
    file.write_text(text)
    commands = {"ballast": [binaries / "ballast", "-c", file], "nginx": ["nginx", "-c", file],
                "haproxy": ["haproxy", "-db", "-f", file]}
    return Running(name, commands[name], ports[name], 0)


def available():
    return [name for name in ports if name == "ballast" or shutil.which(name)]
