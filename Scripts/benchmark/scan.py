"""testssl.sh looks at a ballast with an ECDSA and an RSA certificate, and finds nothing worse than LOW."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

root = pathlib.Path(__file__).resolve().parents[2]
PORT, STATS = 18443, 18444
CONFIG = """listen = 127.0.0.1:{port} tls
servers = 127.0.0.1:18445
health = off
hsts = 365d
# What an application says of itself.
set-response-header = X-Content-Type-Options nosniff
set-response-header = X-Frame-Options DENY
set-response-header = Content-Security-Policy "default-src 'none'"
[tls]
certificate = {folder}/ec.pem {folder}/rsa.pem
key = {folder}/ec.key {folder}/rsa.key
[stats]
listen = 127.0.0.1:{stats}
"""
EXTENSIONS = """basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
crlDistributionPoints = URI:http://127.0.0.1/none.crl
"""


def openssl(*words):
    subprocess.run(["openssl", *[str(word) for word in words]], check=True, capture_output=True)


def make_certificates(folder):
    openssl("req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", 90, "-subj", "/CN=ballast scan", "-keyout",
            folder / "ca.key", "-out", folder / "ca.pem")
    (folder / "extensions").write_text(EXTENSIONS)
    for name, kind in (("ec", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("rsa", ["rsa:3072"])):
        openssl("req", "-newkey", *kind, "-nodes", "-subj", "/CN=localhost", "-keyout", folder / f"{name}.key", "-out",
                folder / f"{name}.csr")
        (folder / f"{name}.key").chmod(0o600)
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-days", 80, "-extfile", folder / "extensions", "-out", folder / f"{name}.pem")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ballast-scan-"))
    make_certificates(folder)
    (folder / "scan.ini").write_text(CONFIG.format(port=PORT, stats=STATS, folder=folder))
    replica = subprocess.Popen([root / ".build/release/demo-replica", "--port", "18445"], stdout=subprocess.DEVNULL)
    ballast = subprocess.Popen([root / ".build/release/ballast", "-c", folder / "scan.ini"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        done = subprocess.run(["testssl", "--quiet", "--color", "0", "--add-ca", folder / "ca.pem", "--jsonfile",
                               folder / "scan.json", "--nodns", "min", "--ip", "127.0.0.1", f"localhost:{PORT}"],
                              capture_output=True, text=True)
        (folder / "scan.txt").write_text(done.stdout)
        findings = json.loads((folder / "scan.json").read_text())
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{STATS}/metrics").read().decode()
    finally:
        for process in (ballast, replica):
            process.terminate()
            process.wait()
    counts = {}
    for finding in findings:
        counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
    # WARN is what the scanner says of its own means.
    bad = [finding for finding in findings if finding["severity"] not in ("OK", "INFO", "LOW", "WARN")]
    print(", ".join(f"{count} {severity}" for severity, count in sorted(counts.items())) + f"; the report is {folder}/scan.txt")
    for finding in findings:
        if finding in bad or finding["severity"] == "LOW":
            print(f"  {finding['severity']} {finding['id']}: {finding['finding']}")
    failed = sum(int(value) for value in re.findall(r"^ballast_tls_handshake_failures_total\{.*\} (\d+)$", metrics, re.M))
    print(f"ballast lives, and has counted {failed} failed handshakes")
    return 1 if bad or len(findings) < 50 else 0


sys.exit(main())
