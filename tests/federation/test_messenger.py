"""The Flower app at a site: it carries bytes, imports nothing of ours, and says nothing of its own but fixed words."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from federation import messenger
from federation.messenger import NO_BODY, NO_GUARD, RECORD, SILENT, UNNAMED, body_of, carried

OURS = ("kith", "privacy", "records", "models", "federation", "serving")
HEAVY = ("torch", "opacus", "pandas", "scipy", "bentoml", "sqlalchemy", "opendp")


@pytest.fixture(autouse=True)
def _task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def sent(app: ClientApp, content: RecordDict, guard: object = "unix:/nowhere/guard.sock") -> Message:
    message = Message(content, 2, "query")
    message.metadata.__dict__["_message_id"] = message.object_id
    config = {} if guard is None else {"guard": guard}
    return app(message, Context(run_id=1, node_id=2, node_config=config, state=RecordDict(), run_config={}))  # type: ignore[arg-type]


def reason(reply: Message) -> str:
    assert reply.has_error()
    assert isinstance(reply.error, Error)
    assert reply.error.code == NO_GUARD
    return str(reply.error.reason)


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """A socket that sends these bytes to whoever connects, and what it was sent."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def once() -> None:
            channel, _ = server.accept()
            with channel:
                heard.append(channel.recv(1 << 20))
                channel.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        yield heard
        thread.join(10)


def test_it_carries_bytes_there_and_back_untouched() -> None:
    body = bytes(range(256))
    reply = sent(messenger.messenger(lambda _: lambda asked: asked[::-1]), carried(body))
    assert body_of(reply.content) == body[::-1]


def test_it_asks_the_guard_that_the_node_names(tmp_path: Path) -> None:
    with answering(tmp_path / "s", b"\0\0\0\3yes") as heard:
        reply = sent(messenger.app, carried(b"ask"), f"unix:{tmp_path / 's'}")
    assert body_of(reply.content) == b"yes"
    assert heard == [b"\0\0\0\3ask"]


def test_the_run_can_not_name_another_guard(tmp_path: Path) -> None:
    """Neither in its configuration nor in a message."""
    with answering(tmp_path / "s", b"\0\0\0\3yes"):
        place = f"unix:{tmp_path / 's'}"
        message = Message(RecordDict({RECORD: ConfigRecord({"body": b"x"})}), 2, "query")
        message.metadata.__dict__["_message_id"] = message.object_id
        run = {"guard": place}
        context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config=run)  # type: ignore[arg-type]
        assert reason(messenger.app(message, context)) == UNNAMED
        both = RecordDict({RECORD: ConfigRecord({"body": b"x", "guard": place})})
        assert reason(sent(messenger.app, both, None)) == NO_BODY
        sent(messenger.app, carried(b"x"), place)  # so that the socket's thread ends


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0", b"\0\0\0\0", b"\0\0\0\5four", b"\xff\xff\xff\xffx"],
    ids=["nothing", "half a length", "no body", "too short", "too long"],
)
def test_a_guard_that_breaks_off_or_talks_nonsense_is_silent(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "s", answer):
        assert reason(sent(messenger.app, carried(b"x"), f"unix:{tmp_path / 's'}")) == SILENT


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        (None, UNNAMED),
        (3, UNNAMED),
        ("", UNNAMED),
        ("unix:relative", UNNAMED),
        ("http://127.0.0.1", UNNAMED),
        ("tls:127.0.0.1:1", UNNAMED),
        ("tls:127.0.0.1:1,ca=/a,cert=/b", UNNAMED),
        ("tls:127.0.0.1:1,ca=/no,cert=/no,key=/no", SILENT),
        ("unix:/nowhere/guard.sock", SILENT),
        ("unix:/" + "x" * 300, SILENT),
    ],
)
def test_every_failure_has_fixed_words(guard: object, words: str) -> None:
    assert reason(sent(messenger.app, carried(b"x"), guard)) == words


def test_no_word_of_an_error_leaves() -> None:
    def fails(_: bytes) -> bytes:
        raise RuntimeError("Ana Canary earns 3")

    assert reason(sent(messenger.messenger(lambda _: fails), carried(b"x"))) == SILENT


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"other": ConfigRecord({"body": b"x"})}),
        RecordDict({RECORD: ConfigRecord({"body": "text"})}),
        RecordDict({RECORD: ConfigRecord({"body": [b"x"]})}),
        RecordDict({RECORD: ConfigRecord({})}),
        RecordDict({RECORD: ConfigRecord({"body": b"x"}), "more": ConfigRecord({"a": 1})}),
    ],
)
def test_what_is_no_message_of_ours_asks_nobody(content: RecordDict) -> None:
    def never(_: bytes) -> bytes:
        raise AssertionError

    assert reason(sent(messenger.messenger(lambda _: never), content)) == NO_BODY


@given(st.binary(max_size=500))
def test_a_body_is_what_was_carried(body: bytes) -> None:
    assert body_of(carried(body)) == body


def test_its_source_imports_flower_and_the_standard_library_alone() -> None:
    tree = ast.parse(Path(messenger.__file__).read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) == {"flwr"}


def test_copied_alone_into_an_app_it_runs_and_loads_nothing_of_ours(tmp_path: Path) -> None:
    """In a process of its own, outside of the repository, without Kith's packages on its path."""
    shutil.copy(messenger.__file__, tmp_path / "client.py")
    code = f"""
import json, sys
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
import client
message = Message(client.carried(b"ask"), 2, "query")
message.metadata.__dict__["_message_id"] = message.object_id
node = {{"guard": "unix:{tmp_path}/s"}}
reply = client.app(message, Context(run_id=1, node_id=2, node_config=node, state=RecordDict(), run_config={{}}))
loaded = {{name.split(".")[0] for name in sys.modules}}
print(json.dumps([client.body_of(reply.content).decode(), sorted(loaded & set({OURS + HEAVY}))]))
"""
    with answering(tmp_path / "s", b"\0\0\0\3yes"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0"},
            timeout=60,
        )
    assert json.loads(done.stdout) == ["yes", []]


@contextmanager
def full(path: Path) -> Iterator[socket.socket]:
    """A socket where as many wait to be let in as the system takes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, ExitStack() as waiting:
        server.bind(str(path))
        server.listen(1)
        with suppress(BlockingIOError):
            while True:
                one = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                one.setblocking(False)
                one.connect(str(path))
        yield server


def test_a_guard_at_whose_door_too_many_wait_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    with full(tmp_path / "s") as server:

        def answer() -> None:
            while True:  # those who waited first, and say nothing, hang up
                channel, _ = server.accept()
                with channel:
                    channel.setblocking(False)
                    with suppress(BlockingIOError):
                        channel.recv(100)
                        channel.sendall(b"\0\0\0\3yes")
                        return

        thread = threading.Thread(target=answer)

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                thread.start()
            time.sleep(seconds)

        monkeypatch.setattr(messenger, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        reply = sent(messenger.app, carried(b"ask"), f"unix:{tmp_path / 's'}")
        thread.join(10)
    assert body_of(reply.content) == b"yes"
    assert len(slept) >= 3


def test_a_guard_at_whose_door_too_many_wait_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messenger, "PATIENCE", 0.2)
    with full(tmp_path / "s"):
        assert reason(sent(messenger.app, carried(b"x"), f"unix:{tmp_path / 's'}")) == SILENT
