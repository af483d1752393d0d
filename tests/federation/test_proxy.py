"""The front proxy before a real SuperLink: what an anonymous caller, a SuperNode and an operator get from it."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.fleet.control import control
from federation.fleet.layout import Fleet
from federation.fleet.lifecycle import _configure
from federation.fleet.parts import PROXY
from federation.fleet.proxy import CONTROL, FLEET
from privacy.errors import Refused
from privacy.tls_authority import CLIENTS, SERVERS, Authority, create_node_key, node_public
from tests.federation.fleet import front, needs_nginx, part, short_folder, tiny_fleet

pytestmark = needs_nginx

OPEN = "/v1/control/list-runs"
"""What an anonymous caller of a bare SuperLink gets an answer to."""
CODES = (b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 404", b"HTTP/1.1 405", b"HTTP/1.1 413")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with short_folder() as folder, front(tiny_fleet(folder)) as up:
        yield up


def ask(fleet: Fleet, raw: bytes, operator: Path | None = None, port: int | None = None) -> bytes:
    """What comes back for exactly these bytes over TLS."""
    context = ssl.create_default_context(cafile=fleet.coordinator / "tls" / "ca.crt")
    if operator is not None:
        context.load_cert_chain(operator / "operator.crt", operator / "operator.key")
    with (
        socket.create_connection(("127.0.0.1", port or fleet.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        channel.settimeout(10)
        channel.sendall(raw)
        parts = []
        while part := channel.recv(65536):
            parts.append(part)
        return b"".join(parts)


def request(path: str, method: str = "POST", body: bytes = b"", headers: tuple[str, ...] = ()) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Content-Type: application/protobuf",
        "Accept: application/protobuf",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refused(answer: bytes) -> bool:
    """Whether an answer is a refusal of the proxy's own, which has the same word for everybody."""
    body = answer.partition(b"\r\n\r\n")[2]
    return answer.startswith(CODES) and (body in (b"", b"refused\n") or body.startswith(b"<html>\r\n<head><title>400 "))


def test_the_superlink_itself_would_have_answered_anybody(fleet: Fleet) -> None:
    """Why there is a proxy; when this fails Flower has got better and the proxy is still right."""
    answer = ask(fleet, request(OPEN, headers=("flwr-package-version: 1.41.0",)), port=fleet.superlink)
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", [f"/v1/fleet/{name}" for name in (*FLEET, "register-node", "unregister-node")])
def test_an_anonymous_caller_gets_nothing_of_the_fleet_interface(fleet: Fleet, path: str) -> None:
    assert refused(ask(fleet, request(path)))


@pytest.mark.parametrize("path", [f"/v1/control/{name}" for name in (*CONTROL, "stream-logs", "list-federations")])
def test_an_anonymous_caller_gets_nothing_of_the_control_interface(fleet: Fleet, path: str) -> None:
    assert refused(ask(fleet, request(path)))


REST = (
    *("/", "/health", "/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc", "/v1", "/v1/fleet", "/v1/control/"),
    *("/v1/runtime/acquire-task", "/v1/runtime/push-messages", "/v1/runtime/get-nodes", "/v1/responses", "/metrics"),
    *("/v1/control/stop-run", "/v1/control/unregister-node", "/v1/control/stream-logs"),
    *("/../../etc/passwd", "/nginx_status", "/upstream.conf"),
)


@pytest.mark.parametrize("path", REST)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_gets_the_rest_not_even_an_operator(fleet: Fleet, path: str, method: str) -> None:
    operator = fleet.operators / "operator"
    assert refused(ask(fleet, request(path, method)))
    assert refused(ask(fleet, request(path, method), operator))


TRICKS = (
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/..%2fcontrol/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/%252e%252e/control/list-runs",
    "/v1/fleet/./../control/list-runs",
    "/v1/fleet/pull-messages/../../control/list-runs",
    "/v1/fleet/pull-messages%00/../../control/list-runs",
    "/v1/fleet\\..\\control\\list-runs",
    "/v1/fleet/..;/control/list-runs",
    "//v1/control/list-runs",
    "/v1//control/list-runs",
    "/v1/control//list-runs",
    "/V1/CONTROL/LIST-RUNS",
    "/v1/Control/list-runs",
    "/v1/%63ontrol/list-runs",
    "/%76%31/control/list-runs",
    "/v1/control/list-runs?x=/v1/fleet/pull-messages",
    "/v1/fleet/pull-messages?/../../control/list-runs",
    "/v1/fleet/pull-messages#/../../control/list-runs",
    "/v1/control/list-runs/",
    "/v1/control/list-runs%20",
    "/v1/control/list-runs.",
    "https://localhost/v1/control/list-runs",
    "http://127.0.0.1:8000/v1/control/list-runs",
    "https://localhost/v1/fleet/../control/list-runs",
    "localhost/v1/control/list-runs",
    "*",
)


@pytest.mark.parametrize("path", TRICKS)
def test_no_way_of_writing_a_path_opens_a_door_to_a_stranger(fleet: Fleet, path: str) -> None:
    known = base64.b64encode(node_public(fleet.coordinator / "nodes" / "north.pub")).decode()
    for headers in ((), (f"flwr-public-key: {known}",), ("X-Original-URL: /v1/control/list-runs",)):
        assert refused(ask(fleet, request(path, headers=headers))), headers


def test_a_path_that_needs_resolving_is_refused_to_an_operator_too(fleet: Fleet) -> None:
    operator = fleet.operators / "operator"
    assert ask(fleet, request(OPEN), operator).startswith(b"HTTP/1.1 200")
    for path in TRICKS:
        answer = ask(fleet, request(path), operator)
        if path != "https://localhost/v1/control/list-runs" and not path.startswith("http://127.0.0.1"):
            assert refused(answer), path  # the two are other writings of the same request line


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "POST:fleet"]
)
def test_only_post_is_a_method(fleet: Fleet, method: str) -> None:
    answer = ask(fleet, request(OPEN, method), fleet.operators / "operator")
    assert answer.startswith(CODES)


def test_two_requests_in_one_are_two(fleet: Fleet) -> None:
    """Neither way of hiding one request in another's body gets it past the proxy."""
    hidden = request(OPEN)
    for header in ("Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked"):
        raw = request("/v1/fleet/pull-messages", headers=(header,)) + b"0\r\n\r\n" + hidden
        assert b"HTTP/1.1 200" not in ask(fleet, raw)
    assert b"HTTP/1.1 200" not in ask(
        fleet, request("/v1/fleet/pull-messages").replace(b"close", b"keep-alive") + hidden
    )


def test_http2_is_not_spoken(fleet: Fleet) -> None:
    context = ssl.create_default_context(cafile=fleet.coordinator / "tls" / "ca.crt")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", fleet.port), 10) as plain,
        pytest.raises(ssl.SSLError, match="no application protocol"),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_old_tls_and_no_tls_are_not_spoken(fleet: Fleet) -> None:
    context = ssl.create_default_context(cafile=fleet.coordinator / "tls" / "ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", fleet.port), 10) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", fleet.port), 10) as plain:
        plain.sendall(request(OPEN))
        assert b"200" not in plain.recv(4096)


def test_a_registered_nodes_public_key_is_not_enough(fleet: Fleet) -> None:
    """The key is public. It brings a caller to the SuperLink, who wants a signature."""
    known = base64.b64encode(node_public(fleet.coordinator / "nodes" / "north.pub")).decode()
    for path in FLEET:
        answer = ask(fleet, request(f"/v1/fleet/{path}", headers=(f"flwr-public-key: {known}",)))
        assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), path


def test_a_strangers_node_key_does_not_reach_the_superlink(fleet: Fleet, tmp_path: Path) -> None:
    stranger = base64.b64encode(create_node_key(tmp_path, "node.key")).decode()
    assert refused(ask(fleet, request("/v1/fleet/activate-node", headers=(f"flwr-public-key: {stranger}",))))


def test_a_new_sites_key_is_let_through_without_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    public = create_node_key(tmp_path, "node.key")
    headers = (f"flwr-public-key: {base64.b64encode(public).decode()}",)
    raw = request("/v1/fleet/activate-node", headers=headers)
    assert refused(ask(fleet, raw))
    new = fleet.coordinator / "nodes" / "newcomer.pub"
    new.write_bytes((tmp_path / "node.key.pub").read_bytes())
    try:
        _configure(fleet, part(fleet, PROXY))
        ends = time.monotonic() + 20
        while refused(ask(fleet, raw)):
            assert time.monotonic() < ends
            time.sleep(0.1)
    finally:
        new.unlink()
        _configure(fleet, part(fleet, PROXY))


@pytest.mark.parametrize("who", [SERVERS, "another group's"])
def test_only_an_operators_certificate_of_this_group_controls(fleet: Fleet, who: str, tmp_path: Path) -> None:
    if who == SERVERS:
        for end in ("crt", "key"):
            (tmp_path / f"operator.{end}").write_bytes((fleet.coordinator / "tls" / f"server.{end}").read_bytes())
    else:
        other = Authority.create(tmp_path / "other", "group", CLIENTS, datetime.now(UTC))
        other.vouch(tmp_path, "operator", "operator", (), datetime.now(UTC))
    assert refused(ask(fleet, request(OPEN), tmp_path))


def test_an_operator_registers_and_lists_through_the_proxy(fleet: Fleet, tmp_path: Path) -> None:
    with control(f"127.0.0.1:{fleet.port}", fleet.operators / "operator") as asked:
        public = create_node_key(tmp_path, "node.key")
        asked.register("Elsewhere", public)
        assert [(node.name, node.status) for node in asked.nodes() if node.public == public] == [
            ("Elsewhere", "registered")
        ]
        with pytest.raises(Refused):
            asked.register("Elsewhere", b"no key")


def test_what_is_too_large_is_turned_away(fleet: Fleet) -> None:
    raw = request(OPEN).replace(b"Content-Length: 0", b"Content-Length: 99999999999")
    assert ask(fleet, raw, fleet.operators / "operator").startswith(b"HTTP/1.1 413")
    many = tuple(f"X-{n}: {'y' * 4000}" for n in range(20))
    assert ask(fleet, request(OPEN, headers=many), fleet.operators / "operator").startswith(b"HTTP/1.1 400")


def test_nothing_is_said_of_the_programs(fleet: Fleet) -> None:
    for answer in (ask(fleet, request("/")), ask(fleet, request(OPEN), fleet.operators / "operator")):
        assert b"uvicorn" not in answer.lower()
        assert b"nginx/" not in answer.lower()


def test_the_log_has_no_addresses_keys_or_paths(fleet: Fleet) -> None:
    ask(fleet, request("/v1/fleet/pull-messages?secret=1"))
    told = (fleet.root / "log" / "proxy.access.log").read_text(encoding="utf-8")
    assert told
    assert "secret" not in told
    assert "127.0.0.1" not in told
