"""Figures for Prometheus, served over HTTP, of runs and of guards alike.

Rules:
    1. Whoever may connect takes up little of the process: a few connections at once, and one that says nothing ends.
       One too many is dropped, and a guard beside it keeps its threads and descriptors.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from privacy.errors import InputError

MAX_CONNECTIONS: Final = 16
SECONDS: Final = 5.0
"""Of silence on a connection."""
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):([0-9]{1,5})", re.ASCII)


def host_and_port(address: str, where: str) -> tuple[str, int]:
    """The two parts of HOST:PORT; an IPv6 address stands in brackets.

    Raises:
        InputError: for anything else.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or int(parts[2]) > 65_535:
        raise InputError(f"{where}: expected HOST:PORT, got {address!r:.60}")
    return parts[1].strip("[]"), int(parts[2])


@contextmanager
def metrics_server(registry: CollectorRegistry, host: str, port: int, where: str) -> Iterator[str]:
    """Serve a registry for as long as the block lasts; the URL.

    Args:
        registry: what is served.
        host: a name or address of this machine.
        port: TCP port; 0 for any free one.
        where: who named the address, for messages.

    Raises:
        InputError: if nothing can be served there.
    """
    try:
        server = _Server(host, port, registry)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{where}: expected an address to listen on, got {why}") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(WSGIRequestHandler):
    timeout = SECONDS  # rule 1

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: whoever asks would write into the log."""


class _Server(ThreadingMixIn, WSGIServer):
    """Rule 1."""

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)
        self.set_app(make_wsgi_app(registry))

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, if there is one for it."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: one that breaks off is no error of ours."""
