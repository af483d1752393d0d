"""Certificates and node keys: who vouches for what, and what is never written over."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from privacy.errors import InputError
from privacy.tls_authority import CLIENTS, SERVERS, Authority, create_node_key, days_left, node_public

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    servers = Authority.create(tmp_path / SERVERS, "group", SERVERS, NOW)
    clients = Authority.create(tmp_path / CLIENTS, "group", CLIENTS, NOW)
    servers.vouch(tmp_path, "server", "proxy", ("localhost", "127.0.0.1"), NOW)
    clients.vouch(tmp_path, "client", "operator", (), NOW)
    return tmp_path


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> bool:
    """Whether the two come together; the server has said so by sending a byte."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as channel:
                channel.sendall(b"x")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as channel:
            return channel.recv(1) == b"x"
    except OSError:
        return False
    finally:
        ours.close()
        thread.join()


def server_context(folder: Path, file: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{file}.crt", folder / f"{file}.key")
    context.load_verify_locations(folder / CLIENTS / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def client_context(folder: Path, file: str = "client", authority: str = SERVERS) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / authority / "ca.crt")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(folder / f"{file}.crt", folder / f"{file}.key")
    return context


def test_a_server_and_an_operator_come_together(folder: Path) -> None:
    assert handshake(server_context(folder), client_context(folder))
    assert handshake(server_context(folder), client_context(folder), "127.0.0.1")


def test_a_server_is_not_taken_for_another_host(folder: Path) -> None:
    assert not handshake(server_context(folder), client_context(folder), "example.org")


def test_a_servers_certificate_opens_no_operators_door(folder: Path) -> None:
    assert not handshake(server_context(folder), client_context(folder, "server"))


def test_an_operator_can_not_pose_as_the_server(folder: Path) -> None:
    assert not handshake(server_context(folder, "client"), client_context(folder))
    assert not handshake(server_context(folder, "client"), client_context(folder, authority=CLIENTS))


def test_another_groups_operator_is_a_stranger(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Authority.create(other / CLIENTS, "group", CLIENTS, NOW).vouch(folder, "stranger", "operator", (), NOW)
    assert not handshake(server_context(folder), client_context(folder, "stranger"))


def test_an_ended_certificate_is_none(folder: Path) -> None:
    long_ago = NOW - timedelta(days=400)
    Authority.create(folder / "old", "group", CLIENTS, long_ago).vouch(folder, "ended", "operator", (), long_ago)
    context = server_context(folder)
    context.load_verify_locations(folder / "old" / "ca.crt")
    assert not handshake(context, client_context(folder, "ended"))
    assert days_left(folder / "ended.crt", NOW) < 0 < days_left(folder / "client.crt", NOW) <= 90


def test_an_authority_is_read_again_and_vouches_on(folder: Path) -> None:
    Authority.read(folder / CLIENTS).vouch(folder, "second", "another operator", (), NOW)
    assert handshake(server_context(folder), client_context(folder, "second"))


def test_what_is_no_authority_is_not_read(folder: Path) -> None:
    (folder / CLIENTS / "ca.key").write_bytes((folder / SERVERS / "ca.key").read_bytes())
    with pytest.raises(InputError, match="expected an authority"):
        Authority.read(folder / CLIENTS)
    with pytest.raises(InputError):
        Authority.read(folder / "nowhere")


def test_private_halves_are_for_their_owner_alone(folder: Path) -> None:
    create_node_key(folder, "node.key")
    private = [folder / SERVERS / "ca.key", folder / "server.key", folder / "client.key", folder / "node.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_nothing_is_written_over(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for again in (
        lambda: Authority.create(folder / SERVERS, "group", SERVERS, NOW),
        lambda: Authority.read(folder / CLIENTS).vouch(folder, "client", "operator", (), NOW),
    ):
        with pytest.raises(InputError, match="expected a new file"):
            again()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("address", ["", "a b", "-", "exa\nmple", "x" * 300, "*"])
def test_what_is_no_address_gets_no_certificate(folder: Path, address: str) -> None:
    with pytest.raises(InputError):
        Authority.read(folder / SERVERS).vouch(folder, "odd", "odd", (address,), NOW)


def test_uses_are_not_mixed(folder: Path) -> None:
    with pytest.raises(InputError):
        Authority.read(folder / CLIENTS).vouch(folder, "odd", "odd", ("localhost",), NOW)
    with pytest.raises(InputError):
        Authority.read(folder / SERVERS).vouch(folder, "odd", "odd", (), NOW)


def test_a_node_key_is_what_flower_takes(tmp_path: Path) -> None:
    from flwr.supercore.primitives.asymmetric import bytes_to_public_key, uses_nist_ec_curve

    public = create_node_key(tmp_path, "node.key")
    assert public == node_public(tmp_path / "node.key.pub")
    assert uses_nist_ec_curve(bytes_to_public_key(public))
    told = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(tmp_path / "node.key")], capture_output=True, text=True, check=False
    )
    if told.returncode == 0:  # where OpenSSH is installed, it agrees
        assert told.stdout.split()[:2] == (tmp_path / "node.key.pub").read_text().split()[:2]


def test_another_kind_of_key_is_no_nodes(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPmO8ItrqsFO5G8eRh9UbKqPZFRJ3wz4vYMzbyv0sEqR x\n")
    with pytest.raises(InputError, match="node's public key"):
        node_public(path)
    path.write_text("nonsense")
    with pytest.raises(InputError, match="node's public key"):
        node_public(path)
