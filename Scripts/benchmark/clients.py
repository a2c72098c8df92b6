"""Clients of the world that are no test's everyday, over TLS: wrk, ab, curl, and a browser on the page."""

import re
import subprocess
import sys
import time

import proxies

PORT, STATS = 18150, 18151
CONFIG = """listen = 127.0.0.1:{port} tls
servers = 127.0.0.1:{replica}
[stats]
listen = 127.0.0.1:{stats} tls
[tls]
certificate = {folder}/tls.pem
key = {folder}/tls.key
"""


def run(name, *words, wanted, **options):
    """Runs a client; what it says has to hold what is wanted."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, **options)
    text = done.stdout + done.stderr
    is_good = re.search(wanted, text) is not None
    print(f"{name}: {'well' if is_good else 'NOT AS WANTED: ' + text[-2000:]}", flush=True)
    return is_good


def fingerprint(certificate):
    """What chromium knows a certificate by: the digest of its public key."""
    script = (f"openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform DER"
              " | openssl dgst -sha256 -binary | openssl base64")
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def main():
    certificate = proxies.make_certificate()
    file = proxies.folder / "clients.ini"
    file.write_text(CONFIG.format(port=PORT, replica=proxies.replica_port, stats=STATS, folder=proxies.folder))
    replica = proxies.start_replica("--ttft", "0")
    ballast = subprocess.Popen([proxies.binaries / "ballast", "-c", file], stderr=subprocess.DEVNULL)
    url, page = f"https://localhost:{PORT}/health", f"https://localhost:{STATS}/"
    try:
        time.sleep(1)
        results = [
            run("wrk, kept", "wrk", "-t1", "-c32", "-d3", url, wanted=r"(?s)^(?!.*(Non-2xx|Socket errors)).*requests in"),
            run("wrk, a connection each", "wrk", "-t1", "-c32", "-d3", "-H", "Connection: close", url,
                wanted=r"(?s)^(?!.*(Non-2xx|Socket errors)).*requests in"),
            run("ab, kept", "ab", "-n", 5000, "-c", 16, "-k", url, wanted=r"Failed requests: +0\n"),
            run("ab, a connection each", "ab", "-n", 2000, "-c", 16, url, wanted=r"Failed requests: +0\n"),
            run("ab, TLS 1.2", "ab", "-n", 1000, "-c", 16, "-f", "TLS1.2", url, wanted=r"Failed requests: +0\n"),
            run("curl, HTTP/2 wanted", "curl", "-sSv", "--http2", "--cacert", certificate, url, wanted=r"HTTP/1.1 200"),
            run("chromium, the page", "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={proxies.folder}/c",
                f"--ignore-certificate-errors-spki-list={fingerprint(certificate)}", "--dump-dom", page,
                wanted=r"(?s)<h1>ballast.*● up"),
            run("chromium without trust", "chromium", "--headless", "--no-sandbox", "--disable-gpu",
                f"--user-data-dir={proxies.folder}/d", "--dump-dom", page, wanted=r"ERR_CERT_AUTHORITY_INVALID|Privacy error"),
        ]
    finally:
        ballast.terminate()
        code = ballast.wait()
        replica.stop()
    return 0 if all(results) and code == 0 else 1


sys.exit(main())
