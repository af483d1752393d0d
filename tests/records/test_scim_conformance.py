"""The running SCIM endpoint, checked by scim2-tester: what it discovers there, it creates, changes and deletes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from scim2_client import BaseSyncSCIMClient
from scim2_tester import Status, check_server
from starlette.applications import Starlette
from starlette.routing import Mount

from records.connectors.scim import application
from records.store import Store
from tests.records.store_folder import store_of_kind

FINE = {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}


class Client(BaseSyncSCIMClient):
    """scim2-client over httpx."""

    def __init__(self, http: httpx.Client) -> None:
        super().__init__()
        self.http = http

    def request(self, method: str, url: str, **arguments: object) -> httpx.Response:
        return self.http.request(method, url, **arguments)


@contextmanager
def served(store: Store) -> Iterator[str]:
    """The address of a real server of the store's users, stopped afterwards."""
    app = Starlette(routes=[Mount("/scim/v2", app=application(lambda scope: store))])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/scim/v2"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_scim2_tester_finds_nothing_to_complain_of(tmp_path, kind):
    with (
        store_of_kind(kind, tmp_path / "records") as store,
        served(store) as address,
        httpx.Client(base_url=address, timeout=20) as http,
    ):
        results = check_server(Client(http))
        left = http.get("/Users").json()["totalResults"]
    assert not [result for result in results if result.status not in FINE]
    titles = Counter(result.title for result in results)
    assert {
        *("object_creation", "object_query", "object_query_without_id", "object_query_with_attributes"),
        *("object_list_with_attributes", "search_with_attributes", "object_replacement", "object_deletion"),
        *("check_add_attribute", "check_remove_attribute", "check_replace_attribute", "random_url"),
        *("query_all_schemas", "access_invalid_schema", "resource_types_schema_validation"),
    } <= set(titles)
    assert min(titles[f"check_{name}_attribute"] for name in ("add", "remove", "replace")) >= 15
    assert left == 0
