"""A client for many event streams at once, which measures how long each event travelled."""

import select
import socket
import time

REQUEST = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: 16\r\n\r\n"
           b'{"stream": true}')
MARK = b'"sent_ns":'


def open_streams(port, count):
    """Opens the streams apart, by no divisor of their rhythm: events in step would queue at this client, and be measured."""
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        client.setblocking(False)
        client.send(REQUEST)
        clients.append(client)
        time.sleep(0.0031)
    return clients


def read(clients, seconds):
    """Reads for a time; the delay of each event in nanoseconds. Events are short: one arrives in one piece."""
    poll = select.epoll()
    by_number = {}
    for client in clients:
        poll.register(client.fileno(), select.EPOLLIN)
        by_number[client.fileno()] = client
    delays = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            data = by_number[number].recv(65536)
            now = time.monotonic_ns()
            if not data:
                raise SystemExit("a stream ended early")
            start = 0
            while (start := data.find(MARK, start)) >= 0:
                start += len(MARK)
                delays.append(now - int(data[start : data.index(b",", start)]))
    poll.close()
    return delays
