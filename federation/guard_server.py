"""The guard as a process: frames in, frames out, one request at a time.

Rules:
    1. One connection is one request. Connections are few, and each part of one has its deadline: whoever sends slowly,
       or nothing, holds one place for a while and nothing else.
    2. The guard answers one request at a time. What it is given are bytes; it alone judges them.
    3. Whatever arrives, the process goes on: what is no frame is dropped without a word.
    4. Asked to stop, it takes no more connections and drops those that have not asked yet. A request that is being
       answered is finished; a process that is killed instead leaves it charged in the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from federation.framing import read_frame, write_frame
from federation.guard_listeners import Listener
from federation.sealed import MAX_BYTES
from privacy.errors import InputError, Refused

MAX_CONNECTIONS: Final = 16
READ_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
_PAUSE: Final = 0.2

logger = logging.getLogger("kith.guard.server")


class Watch(Protocol):
    """Who is told of what the server does: counts and times, never what a person's record says."""

    def answered(self, peer: str, request: bytes, reply: bytes, seconds: float) -> None:
        """A request got its reply."""

    def turned_away(self, why: str) -> None:
        """A connection ended without one: "peer", "frame", "connection" or "fault"."""


class GuardServer:
    """Serves one guard at one listener, which it closes."""

    def __init__(self, answer: Callable[[bytes], bytes], listener: Listener, watch: Watch) -> None:
        """Nothing is accepted before `run`."""
        self._answer, self._listener, self._watch = answer, listener, watch
        self._guard = ThreadPoolExecutor(1)  # one thread for all requests: libraries keep their own threads beside it
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._asking: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Serve until `stop` (rule 4)."""
        try:
            while not self._stopping.is_set():
                if self._free.acquire(timeout=_PAUSE) and not self._accept():
                    self._free.release()
        finally:
            self._listener.close()
            self._end_connections()
            os.close(self._wake_read)

    def stop(self) -> None:
        """Make `run` return; from any thread or a signal's handler, once or more."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    def _accept(self) -> bool:
        """Begin one connection; False if there is none."""
        bound = self._listener.bound
        ready, _, _ = select.select([bound.fileno(), self._wake_read], [], [])
        if self._stopping.is_set() or bound.fileno() not in ready:
            return False
        try:
            channel, _ = bound.accept()
        except OSError as error:  # it is gone again, or the system is out of something
            logger.warning("a connection was not accepted: %s", error.strerror)
            time.sleep(_PAUSE)
            return False
        thread = threading.Thread(target=self._serve, args=(channel,), daemon=True)
        with self._changing:
            self._threads.add(thread)
        thread.start()
        return True

    def _serve(self, channel: socket.socket) -> None:
        try:
            self._exchange(channel)
        except Refused:
            self._watch.turned_away("peer")
        except InputError:
            self._watch.turned_away("frame")
        except OSError:
            self._watch.turned_away("connection")
        except Exception as error:  # rule 3: a guard does not raise
            logger.error("unforeseen %s", type(error).__name__)
            self._watch.turned_away("fault")
        finally:
            channel.close()
            self._free.release()
            with self._changing:
                self._threads.discard(threading.current_thread())

    def _exchange(self, raw: socket.socket) -> None:
        channel, peer = self._listener.greet(raw)
        with channel:
            self._now_asking(channel)
            try:
                request = read_frame(channel, MAX_BYTES, READ_SECONDS)
            finally:
                self._asking.discard(channel)
            reply, seconds = self._guard.submit(self._timed, request).result()  # rule 2
            try:
                write_frame(channel, reply, WRITE_SECONDS)
            finally:
                self._watch.answered(peer, request, reply, seconds)

    def _timed(self, request: bytes) -> tuple[bytes, float]:
        if self._stopping.is_set():
            raise ConnectionError("stopping")
        began = time.monotonic()
        reply = self._answer(request)
        return reply, time.monotonic() - began

    def _now_asking(self, channel: socket.socket) -> None:
        with self._changing:
            if self._stopping.is_set():
                raise ConnectionError("stopping")
            self._asking.add(channel)

    def _end_connections(self) -> None:
        """Rule 4."""
        with self._changing:
            asking, threads = list(self._asking), list(self._threads)
        for channel in asking:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._guard.shutdown(wait=False)
