"""Where a guard can be asked: a Unix socket, or TLS with certificates on both sides.

Rules:
    1. A Unix socket is for its owner and its group (0660); who is behind a connection is asked of the kernel, and where
       peers are named nobody else is answered.
    2. TLS is 1.3, and whoever asks shows a certificate of the one authority that the site names, and one of the names
       in it is a peer's, where peers are named.
    3. A socket that another process listens on is left alone, however busy that is: it is removed only if the system
       says that nobody listens.
    4. A handshake has a short deadline, and tells before it whose it is as far as one can know: what strangers may hold
       of a guard is counted by that (`federation.guard_server`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import socket
import ssl
import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from federation.site import TlsFiles
from privacy.errors import InputError, Refused

SOCKET_MODE: Final = 0o660
BACKLOG: Final = 64
HANDSHAKE_SECONDS: Final = 3.0
SUBNET: Final = 64
"""Bits of an IPv6 address that one customer of a network has to himself; the rest he may choose."""
_CREDENTIALS: Final = struct.Struct("3i")  # of struct ucred: process, user, group


@dataclass(frozen=True)
class Listener:
    """A bound socket, and how somebody who has connected is greeted.

    Attributes:
        address: as a messenger's node config writes it.
        bound: the listening socket.
        greet: the channel to talk over and who is behind it; raises `Refused` or `OSError`.
        origin: of the address of somebody who has connected: what he can not choose of it (rule 4); None on a Unix
            socket, where the kernel has let him in and greeting takes no time.
        path, inode: of a Unix socket.
    """

    address: str
    bound: socket.socket
    greet: Callable[[socket.socket], tuple[socket.socket, str]]
    origin: Callable[[Any], str | None]
    path: Path | None = None
    inode: int = 0

    def close(self) -> None:
        """Take no more connections, and leave no socket behind."""
        with contextlib.suppress(OSError):
            if self.path is not None and self.path.lstat().st_ino == self.inode:
                self.path.unlink()
        self.bound.close()


def listen(place: str, peers: Sequence[str] = (), tls: TlsFiles | None = None) -> Listener:
    """A listener at "unix:PATH" or "tls:HOST:PORT".

    Args:
        place: where.
        peers: who may ask: for "unix:" names or numbers of the system's users, for "tls:" names in certificates.
        tls: the files for "tls:".

    Raises:
        InputError: if the place is none, is taken, or a peer or a file is unusable.
    """
    scheme, _, rest = place.partition(":")
    host, _, port = rest.rpartition(":")
    if scheme == "unix" and rest.startswith("/"):
        return _unix(Path(rest), peers)
    if scheme == "tls" and host and port.isdecimal() and int(port) < 1 << 16:
        if tls is None:
            raise InputError("guard: expected [tls] with certificate, key and clients in site.toml, got none")
        return _tls(host.strip("[]"), int(port), peers, tls)
    raise InputError(f"guard, listen: expected unix:/PATH or tls:HOST:PORT, got {place!r:.80}")


def _unix(path: Path, peers: Sequence[str]) -> Listener:
    users = frozenset(map(_user, peers))
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # nobody can connect until the mode is right
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(SOCKET_MODE)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise InputError(f"guard, listen: expected a socket at {path}, got {error.strerror}") from None

    def greet(channel: socket.socket) -> tuple[socket.socket, str]:
        _, user, _ = _CREDENTIALS.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if users and user not in users:
            raise Refused(f"guard: expected one of its peers, got user {user}")
        return channel, f"user {user}"

    return Listener(f"unix:{path}", bound, greet, lambda _: None, path, path.lstat().st_ino)


def _tls(host: str, port: int, peers: Sequence[str], files: TlsFiles) -> Listener:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.clients)
    except (OSError, ssl.SSLError) as error:
        expected = "PEM files of a certificate, its key and an authority"
        raise InputError(f"guard, tls: expected {expected}, got {error.strerror}") from None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"guard, listen: expected to listen at {host}:{port}, got {error.strerror}") from None

    def greet(channel: socket.socket) -> tuple[socket.socket, str]:
        channel.settimeout(HANDSHAKE_SECONDS)  # of all of it (rule 4)
        secured = context.wrap_socket(channel, server_side=True)
        names = _names(secured)
        if peers and not names & set(peers):
            secured.close()
            raise Refused("guard: expected one of its peers, got another certificate")
        return secured, f"certificate {min(names, default='without a name')}"

    return Listener(f"tls:{host}:{bound.getsockname()[1]}", bound, greet, _origin)


def _origin(address: tuple[Any, ...]) -> str:
    """Rule 4."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    bits = SUBNET if isinstance(host, ipaddress.IPv6Address) and not host.ipv4_mapped else host.max_prefixlen
    return str(ipaddress.ip_network((host, bits), strict=False))


def _names(channel: ssl.SSLSocket) -> set[str]:
    """Common names and DNS names of the other side's certificate."""
    found: Any = channel.getpeercert() or {}
    subject = {value for part in found.get("subject", ()) for kind, value in part if kind == "commonName"}
    return subject | {value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"}


def _user(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise InputError(f"guard, peers: expected a user of this system, got {name!r:.60}") from None


def _remove_stale(path: Path) -> None:
    """Remove the socket of a guard that is gone (rule 3)."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise InputError(f"guard, listen: expected no file or a socket at {path}, got another file")
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(OSError):
                path.unlink()
            return
        except OSError:  # one that so many wait for that the system takes no more is there
            pass
    raise InputError(f"guard, listen: expected nobody at {path}, got a process that listens there")
