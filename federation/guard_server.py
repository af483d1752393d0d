"""The guard as a process: frames in, frames out, one request at a time.

Rules:
    1. One connection is one request. It gets one of few places once the listener has let it in, and each part of it has
       its deadline: whoever sends slowly, or nothing, holds one place for a while and nothing else.
    2. Who has yet to be let in, or to get a place, stands at one of the doors. Few of them are for one origin: whoever
       has no certificate shuts out at most those who come from where he does, and holds no place.
    3. What all places hold of requests is bounded, and counted as it comes: who only says that much will follow takes
       nothing away.
    4. The guard answers one request at a time. What it is given are bytes; it alone judges them.
    5. Whatever arrives, the process goes on: what is no frame is dropped without a word.
    6. Asked to stop, it takes no more connections and drops those that have not asked yet. A request that is being
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
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from federation.framing import read_frame, write_frame
from federation.guard_listeners import Listener
from federation.sealed import MAX_BYTES, Answered
from privacy.errors import InputError, Refused

MAX_CONNECTIONS: Final = 16
"""Places."""
MAX_DOORS: Final = 64
"""Connections that have no place yet."""
MAX_OF_ORIGIN: Final = 4
"""Of these, from one origin."""
MAX_HELD: Final = 2 * MAX_BYTES
"""Bytes of requests that are read or wait for their answers."""
CROWD: Final = "crowd"
"""Why a connection was turned away: too many are at the doors from where it comes."""
READ_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
_PAUSE: Final = 0.2

logger = logging.getLogger("kith.guard.server")


class Watch(Protocol):
    """Who is told of what the server does: counts and times, never what a person's record says."""

    def answered(self, peer: str, received: int, answered: Answered, seconds: float) -> None:
        """A request of so many bytes got its reply."""

    def turned_away(self, why: str) -> None:
        """A connection ended without one: "peer", "frame", "connection", "fault" or `CROWD`."""


class GuardServer:
    """Serves one guard at one listener, which it closes."""

    def __init__(self, answer: Callable[[bytes], Answered], listener: Listener, watch: Watch) -> None:
        """Nothing is accepted before `run`."""
        self._answer, self._listener, self._watch = answer, listener, watch
        self._guard = ThreadPoolExecutor(1)  # one thread for all requests: libraries keep their own threads beside it
        self._doors = threading.BoundedSemaphore(MAX_DOORS)
        self._of_origin: Counter[str | None] = Counter()
        self._placed = self._held = 0
        self._asking: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._changing = threading.Condition()
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Serve until `stop` (rule 6)."""
        try:
            while not self._stopping.is_set():
                if self._doors.acquire(timeout=_PAUSE) and not self._accept():
                    self._doors.release()
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
            channel, address = bound.accept()
        except OSError as error:  # it is gone again, or the system is out of something
            logger.warning("a connection was not accepted: %s", error.strerror)
            time.sleep(_PAUSE)
            return False
        origin = self._listener.origin(address)
        thread = threading.Thread(target=self._serve, args=(channel, origin), daemon=True)
        with self._changing:
            crowded = origin is not None and self._of_origin[origin] >= MAX_OF_ORIGIN  # rule 2
            if not crowded:
                self._of_origin[origin] += 1
                self._threads.add(thread)
        if crowded:
            channel.close()
            self._watch.turned_away(CROWD)
            return False
        thread.start()
        return True

    def _serve(self, raw: socket.socket, origin: str | None) -> None:
        try:
            channel, peer = self._let_in(raw, origin)
            with channel:
                try:
                    self._exchange(channel, peer)
                finally:
                    with self._changing:
                        self._placed -= 1
                        self._changing.notify()
        except Refused:
            self._watch.turned_away("peer")
        except InputError:
            self._watch.turned_away("frame")
        except OSError:
            self._watch.turned_away("connection")
        except Exception as error:  # rule 5: a guard does not raise
            logger.error("unforeseen %s", type(error).__name__)
            self._watch.turned_away("fault")
        finally:
            raw.close()
            with self._changing:
                self._threads.discard(threading.current_thread())

    def _let_in(self, raw: socket.socket, origin: str | None) -> tuple[socket.socket, str]:
        """From a door to a place: the channel, and who is behind it (rules 1 and 2)."""
        try:
            found = self._listener.greet(raw)
            with self._changing:
                self._changing.wait_for(lambda: self._stopping.is_set() or self._placed < MAX_CONNECTIONS)
                self._placed += 1
            return found
        finally:
            with self._changing:
                self._of_origin -= Counter([origin])  # so that it forgets those at no door
            self._doors.release()

    def _exchange(self, channel: socket.socket, peer: str) -> None:
        self._now_asking(channel)
        answered, received, seconds = self._asked(channel)
        try:
            write_frame(channel, answered.sealed, WRITE_SECONDS)
        finally:
            self._watch.answered(peer, received, answered, seconds)

    def _asked(self, channel: socket.socket) -> tuple[Answered, int, float]:
        """What comes of the request that is read from a channel, how long that is, and the seconds that it took."""
        held = 0

        def kept(more: int) -> None:  # rule 3
            nonlocal held
            with self._changing:
                if self._held + more > MAX_HELD:
                    raise InputError(f"requests: expected at most {MAX_HELD} bytes at once, got more")
                self._held += more
                held += more

        try:
            try:
                request = read_frame(channel, MAX_BYTES, READ_SECONDS, kept)
            finally:
                self._asking.discard(channel)
            answered, seconds = self._guard.submit(self._timed, request).result()  # rule 4
            return answered, len(request), seconds
        finally:
            with self._changing:
                self._held -= held

    def _timed(self, request: bytes) -> tuple[Answered, float]:
        if self._stopping.is_set():
            raise ConnectionError("stopping")
        began = time.monotonic()
        answered = self._answer(request)
        return answered, time.monotonic() - began

    def _now_asking(self, channel: socket.socket) -> None:
        with self._changing:
            if self._stopping.is_set():
                raise ConnectionError("stopping")
            self._asking.add(channel)

    def _end_connections(self) -> None:
        """Rule 6."""
        with self._changing:
            asking, threads = list(self._asking), list(self._threads)
            self._changing.notify_all()
        for channel in asking:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._guard.shutdown(wait=False)
