"""What a thousand handshakes at once do to streams that are running: how late events come, beside nginx and haproxy."""

import contextlib
import multiprocessing
import socket
import ssl
import statistics

import proxies
import streams

STREAMS, HELLOS, ROUNDS = 50, 1000, 5


def first_flight(context):
    """The bytes with which a client begins, whose making costs the client as much as answering costs the server."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def storm(port, hellos, go, done):
    """All of them connect, say hello when they are told to, and wait for the answer. In a process of its own."""
    for _ in range(ROUNDS):
        links = [socket.create_connection(("127.0.0.1", port)) for _ in hellos]
        done.set()
        go.wait()
        go.clear()
        for link, hello in zip(links, hellos):
            link.sendall(hello)
        answered = sum(link.recv(1) == b"\x16" for link in links)
        assert answered == len(links), f"{answered} of {len(links)} were answered"
        for link in links:
            link.close()


def measure(name, hellos):
    """The latest event of each round, without a storm and in one; in milliseconds."""
    proxy = proxies.start(name)
    try:
        clients = streams.open_streams(proxy.port, STREAMS)
        streams.read(clients, 0.5)
        calm, stormy = [], []
        go, done = multiprocessing.Event(), multiprocessing.Event()
        crowd = multiprocessing.Process(target=storm, args=(proxy.secure_port, hellos, go, done), daemon=True)
        crowd.start()
        for _ in range(ROUNDS):
            while not done.is_set():
                streams.read(clients, 0.1)
            done.clear()
            calm.append(max(streams.read(clients, 1)) / 1e6)
            go.set()
            stormy.append(max(streams.read(clients, 1)) / 1e6)
        while crowd.is_alive():
            streams.read(clients, 0.1)
        assert crowd.exitcode == 0, "not every hello was answered"
        for client in clients:
            client.close()
        return calm, stormy
    finally:
        proxy.stop()


def run():
    context = ssl.create_default_context(cafile=str(proxies.make_certificate()))
    hellos = [first_flight(context) for _ in range(HELLOS)]
    replica = proxies.start_replica("--ttft", "20", "--tpot", "20", "--tokens", "1000000")
    try:
        for name in proxies.available():
            calm, stormy = measure(name, hellos)
            print(f"{name:9}the latest of {STREAMS} streams' events, {ROUNDS} rounds: {statistics.median(calm):.1f} ms "
                  f"(at most {max(calm):.1f}); with {HELLOS} handshakes begun at once {statistics.median(stormy):.1f} ms "
                  f"(at most {max(stormy):.1f})", flush=True)
    finally:
        replica.stop()
    return 0
