"""Frames on a guard's socket: the length of a body, four bytes, most significant first, and the body.

`federation.messenger` speaks it too, in lines of its own: that file must stand alone.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final

from privacy.errors import InputError

PREFIX: Final = 4
CHUNK: Final = 1 << 20
SHORTEST_WAIT: Final = 0.001


def read_frame(channel: socket.socket, max_bytes: int, seconds: float, kept: Callable[[int], None]) -> bytes:
    """The body of one frame, all of it within so many seconds; memory is taken only as bytes come.

    Args:
        channel: where it comes from.
        max_bytes: of the body.
        seconds: for all of it.
        kept: told of how many bytes there are more, with each part that comes; what it raises ends the reading.

    Raises:
        InputError: for an empty body or one of more than `max_bytes`.
        OSError: if the other side ends early or is too slow.
    """
    deadline = time.monotonic() + seconds
    size = int.from_bytes(_read(channel, PREFIX, deadline, kept), "big")
    if not 0 < size <= max_bytes:
        raise InputError(f"frame: expected 1 to {max_bytes} bytes, got {size}")
    return _read(channel, size, deadline, kept)


def write_frame(channel: socket.socket, body: bytes, seconds: float) -> None:
    """Send a body as one frame.

    Raises:
        OSError: if the other side does not take it within so many seconds.
    """
    deadline = time.monotonic() + seconds
    left = memoryview(len(body).to_bytes(PREFIX, "big") + body)
    while left:  # over TLS sendall would begin the time anew with every record
        channel.settimeout(max(deadline - time.monotonic(), SHORTEST_WAIT))
        left = left[channel.send(left) :]


def _read(channel: socket.socket, size: int, deadline: float, kept: Callable[[int], None]) -> bytes:
    found = bytearray()
    while len(found) < size:
        channel.settimeout(max(deadline - time.monotonic(), SHORTEST_WAIT))
        part = channel.recv(min(size - len(found), CHUNK))
        if not part:
            raise ConnectionError("ended early")
        kept(len(part))
        found += part
    return bytes(found)
