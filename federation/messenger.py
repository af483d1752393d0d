"""The Flower ClientApp: carries sealed bytes from the coordinator to the site's guard and back. It can do nothing else.

Which guard it asks is said by the SuperNode's own `--node-config`, never by the run:

    guard="unix:/run/kith/guard.sock"
    guard="tls:host:port,ca=/path/ca.pem,cert=/path/messenger.pem,key=/path/messenger.key"

Flower starts a process of it for each message, with the rights of the SuperNode and in code that the coordinator ships.
So it stands alone, on Flower and the standard library: this file by itself is the app. It reads no file of the site but
the certificates that it is given, believes nothing that it carries, and says nothing of its own but the fixed words
below: Flower sends the text of an exception to the server.

A frame on the socket is the length of its body, four bytes, most significant first, and the body.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

RECORD: Final = "kith"
BODY: Final = "body"
MAX_BYTES: Final = 128 * 2**20
"""Of a body, in either direction."""
PREFIX: Final = 4
PATIENCE: Final = 600.0
"""Seconds for a guard's whole answer; its first one reads everybody's rows."""
CHUNK: Final = 1 << 20
PAUSE: Final = 0.05
"""Seconds until a guard is tried again that lets nobody in at the moment."""
NO_GUARD: Final = 1001
"""Code of every error reply from here: a guard's own refusals are sealed replies."""
SILENT: Final = "site: its guard does not answer"
UNNAMED: Final = "site: its node config names no guard"
NO_BODY: Final = "message: expected one record 'kith' with one body, got otherwise"

Ask = Callable[[bytes], bytes]


class Unnamed(Exception):  # noqa: N818 - never seen outside of this file
    """The node config names no guard."""


def messenger(ask_of: Callable[[Context], Ask]) -> ClientApp:
    """A ClientApp whose guard is asked by what `ask_of` gives for a node's context."""
    app = ClientApp()

    @app.query()
    def carry(message: Message, context: Context) -> Message:
        body = body_of(message.content)
        if body is None:
            return Message(Error(code=NO_GUARD, reason=NO_BODY), reply_to=message)
        try:
            answer = ask_of(context)(body)
        except Unnamed:
            return Message(Error(code=NO_GUARD, reason=UNNAMED), reply_to=message)
        except Exception:  # of whatever kind: its text is not for the coordinator
            return Message(Error(code=NO_GUARD, reason=SILENT), reply_to=message)
        return Message(carried(answer), reply_to=message)

    return app


def body_of(content: RecordDict) -> bytes | None:
    """The sealed bytes that a message carries; None if it is no message of ours."""
    record = content.config_records.get(RECORD)
    body = record.get(BODY) if record is not None and len(content) == len(record) == 1 else None
    return body if isinstance(body, bytes) and len(body) <= MAX_BYTES else None


def carried(body: bytes) -> RecordDict:
    """The content of a message that carries these bytes."""
    return RecordDict({RECORD: ConfigRecord({BODY: body})})


def ask_at(place: str) -> Ask:
    """How the guard at a place is asked; the place is as in a node config.

    Raises:
        Unnamed: if it is no place.
    """
    scheme, _, rest = place.partition(":")
    if scheme == "unix" and rest.startswith("/"):
        return lambda body: _exchange(lambda deadline: _unix(rest, deadline), body)
    address, *options = rest.split(",")
    host, _, port = address.rpartition(":")
    files = dict(option.partition("=")[::2] for option in options)
    if scheme != "tls" or not host or not port.isdecimal() or set(files) != {"ca", "cert", "key"}:
        raise Unnamed
    return lambda body: _exchange(lambda _: _tls(host.strip("[]"), int(port), files), body)


def _of_node(context: Context) -> Ask:
    place = context.node_config.get("guard")
    if not isinstance(place, str):
        raise Unnamed
    return ask_at(place)


def _unix(path: str, deadline: float) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.settimeout(PATIENCE)
    try:
        while True:
            try:
                channel.connect(path)
                return channel
            except BlockingIOError:  # as many wait already as the system takes; it says so at once
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
    except OSError:
        channel.close()
        raise


def _tls(host: str, port: int, files: dict[str, str]) -> socket.socket:
    context = ssl.create_default_context(cafile=files["ca"])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files["cert"], files["key"])
    channel = socket.create_connection((host, port), timeout=PATIENCE)
    try:
        return context.wrap_socket(channel, server_hostname=host)
    except OSError:
        channel.close()
        raise


def _exchange(connected: Callable[[float], socket.socket], body: bytes) -> bytes:
    deadline = time.monotonic() + PATIENCE
    with connected(deadline) as channel:
        channel.sendall(len(body).to_bytes(PREFIX, "big") + body)
        size = int.from_bytes(_read(channel, PREFIX, deadline), "big")
        if not 0 < size <= MAX_BYTES:
            raise ConnectionError
        return _read(channel, size, deadline)


def _read(channel: socket.socket, size: int, deadline: float) -> bytes:
    parts, missing = [], size
    while missing:
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        part = channel.recv(min(missing, CHUNK))
        if not part:
            raise ConnectionError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


app = messenger(_of_node)
