"""What an operator asks of the SuperLink's control interface, through the proxy, with a client certificate.

Flower's own command line can not show a certificate; its HTTP client can, and is used here.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import httpx
from flwr.app import UserConfig
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest, RegisterNodeRequest, StartRunRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from privacy.errors import InputError, Refused

TIMEOUT: Final = 20.0
ONLINE: Final = "online"
Told = TypeVar("Told")


@dataclass(frozen=True)
class Node:
    """A SuperNode as the SuperLink knows it.

    Attributes:
        name: of its site.
        public: its public key.
        status: "registered", "online", "offline" or "unregistered".
    """

    name: str
    public: bytes
    status: str


class Control:
    """An operator's connection."""

    def __init__(self, client: ControlHttpClient, where: str) -> None:
        """By Flower's client."""
        self._client, self._where = client, where

    def nodes(self) -> tuple[Node, ...]:
        """All SuperNodes.

        Raises:
            Refused: if the SuperLink can not be reached, or does not let this operator in.
        """
        told = self._asked(lambda: self._client.ListNodes(ListNodesRequest()))
        return tuple(Node(one.name, bytes(one.public_key), one.status) for one in told.nodes_info)

    def register(self, name: str, public: bytes) -> None:
        """Let the SuperNode with this key in.

        Raises:
            Refused: as `nodes` says.
        """
        self._asked(lambda: self._client.RegisterNode(RegisterNodeRequest(public_key=public, name=name)))

    def start(self, fab: bytes, config: UserConfig) -> int:
        """Start an app; the id that Flower gives the run.

        Raises:
            Refused: as `nodes` says, or if it does not start.
        """
        app = fab_to_proto(Fab(hashlib.sha256(fab).hexdigest(), fab, {}))
        request = StartRunRequest(fab=app, override_config=user_config_to_proto(config))
        started = self._asked(lambda: self._client.StartRun(request))
        if not started.HasField("run_id"):
            raise Refused(f"{self._where}: expected a run to start, got none")
        return int(started.run_id)

    def status(self, run: int) -> tuple[str, str]:
        """How a run stands ("running", "finished" …), and how it ended ("completed", "failed", "stopped" or "").

        Raises:
            Refused: as `nodes` says, or if there is no such run.
        """
        found = self._asked(lambda: self._client.ListRuns(ListRunsRequest(run_id=run))).run_dict
        if run not in found:
            raise Refused(f"{self._where}: expected run {run}, got none")
        return found[run].status.status, found[run].status.sub_status

    def _asked(self, ask: Callable[[], Told]) -> Told:
        try:
            return ask()
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            raise Refused(f"{self._where}: expected to be let in, got HTTP {code}") from None
        except httpx.HTTPError as error:
            raise Refused(f"{self._where}: expected an answer, got {type(error).__name__}") from None


@contextmanager
def control(address: str, operator: Path) -> Iterator[Control]:
    """A connection to the proxy at host:port, with the certificate in an operator's folder.

    Raises:
        InputError: if the folder has none.
    """
    try:
        context = ssl.create_default_context(cafile=operator / "ca.crt")
        context.load_cert_chain(operator / "operator.crt", operator / "operator.key")
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{operator}: expected ca.crt, operator.crt and operator.key, got {type(error).__name__}"
        ) from None
    client = ControlHttpClient(
        f"https://{address}",
        interceptors=(RuntimeVersionHttpInterceptor(component_name="kith"),),
        verify=context,
        timeout=TIMEOUT,
    )
    try:
        yield Control(client, f"control of {address}")
    finally:
        client.close()
