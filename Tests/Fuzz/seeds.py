"""Where a fuzz target's search begins: the bytes of the corpus, of the configurations of the tests, or a few addresses.

usage: seeds.py TARGET FOLDER
"""

import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]
target, folder = sys.argv[1], pathlib.Path(sys.argv[2])


def rows(name):
    """The bytes of every row; of what is repeated, once."""
    for line in (root / f"Tests/HTTPTests/Corpus/{name}.tsv").read_text().splitlines():
        if not line.startswith("#"):
            text = re.sub(r"\\\{([^*]*)\*\d+\}", r"\1", line.split("\t")[3])
            yield text.encode("latin-1", "ignore").decode("unicode_escape").encode("latin-1", "ignore")


def addresses():
    plain = ["1.2.3.4", "::", "::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "2001:db8::/32", "10.0.0.0/8", "[::1]:80", ":8080",
             "*:80", "http://a:1/", "http://[::1]:2", "host.example:8000", "unix:/x", "1::8", "fe80::1%eth0", "0", "a:65535"]
    return [text.encode() for text in plain]


def introductions():
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    return [b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\nGET", b"PROXY TCP6 2001:db8::1 ::1 9 80\r\n", b"PROXY UNKNOWN x\r\n",
            signature + b"\x21\x11\0\x0c" + bytes(12), signature + b"\x21\x21\0\x28" + bytes(40), signature + b"\x20\0\0\0GET",
            signature + b"\x21\x31\0\xd8" + bytes(216)]


seeds = {
    "Request": lambda: rows("requests"),
    "Response": lambda: rows("responses"),
    "Chunks": lambda: (body for name in ("requests", "responses") for row in rows(name)
                       if b"hunked" in row and (body := row.partition(b"\r\n\r\n")[2])),
    "Settings": lambda: (path.read_bytes() for pattern in ("Tests/ConfigurationTests/Golden/*.ini", "Config/*.ini")
                         for path in root.glob(pattern)),
    "Address": addresses,
    "Proxy": introductions,
}
for number, data in enumerate(seeds[target]()):
    (folder / f"seed-{number}").write_bytes(data)
