"""Tests of servers that hang, send without end or refuse: each ends in one line, in bounded time and memory."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vol2vol.errors import Unreadable
from vol2vol.volumes import open_volume
from vol2vol.volumes.formats import documents

# Servers


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def server(monkeypatch):
    """Start servers that misbehave; return a function from the kind of misbehaviour to an address."""
    monkeypatch.setattr(documents, "SECONDS", 0.4)
    servers, stop = [], threading.Event()

    def start(behaviour):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                behaviour(self, stop)

            def log_message(self, *_):
                pass

        servers.append(Server(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/a.zarr"

    yield start
    stop.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def silent(request, stop):
    stop.wait(60)


def endless(request, stop):
    request.send_response(200)
    request.end_headers()
    try:
        while not stop.is_set():
            request.wfile.write(b" " * (1 << 20))
    except OSError:
        pass


def dripping(request, stop):
    request.send_response(200)
    request.end_headers()
    try:
        while not stop.wait(0.1):
            request.wfile.write(b" ")
            request.wfile.flush()
    except OSError:
        pass


def forbidding(request, stop):
    request.send_response(403)
    request.end_headers()


def failing(request, stop):
    request.send_response(500)
    request.end_headers()


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (silent, "does not answer"),
        (endless, "is longer than"),
        (dripping, "does not send it within"),
        (forbidding, "no permission"),
        (failing, "the server answers 500"),
    ],
)
def test_servers_that_behave_badly(behaviour, words, server, monkeypatch):
    monkeypatch.setattr(documents, "DOCUMENT", 4 << 20)
    began = time.monotonic()
    with pytest.raises(Unreadable, match=words):
        open_volume(server(behaviour))
    assert time.monotonic() - began < 60


def test_a_server_that_nobody_runs():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreadable, match="check the address"):
        open_volume(f"http://127.0.0.1:{port}/a.zarr")
