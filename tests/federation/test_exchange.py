"""One exchange with the sites, by what nodes, networks and strangers do to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, validate_object_content

from federation import exchange, wire
from federation.exchange import Replies
from federation.run_log import read_log
from federation.wire import Finish, Proofs, Prove, Refusal, Request
from privacy.certificate import FAILED, GARBAGE, REFUSED, SILENT
from privacy.dsse import Envelope
from privacy.errors import InputError, Refused
from privacy.signing import Signer, create_key
from tests.federation.tiny_fleet import Ask, TinyFleet, changed, exchanges_of, says
from tests.federation.tiny_group import NAMES, TinyGroup, tiny_group

ASKED = Prove("run-1", (), ())
TOLD = Proofs(b"told")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> TinyGroup:
    return tiny_group(tmp_path_factory.mktemp("exchange"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("POLL", 0.01), ("LOOK", 0.05), ("AGAIN", 0.1), ("PERSON", 0.1)):
        monkeypatch.setattr(exchange, name, seconds)


class Scene:
    """A coordinator's exchanges with three sites that say `TOLD`, until a test lets them do something else."""

    def __init__(self, group: TinyGroup, folder: Path, strangers: dict[str, Ask] | None = None) -> None:
        self.group, self.folder = group, folder
        self.fleet = TinyFleet(group, (strangers or {}).items())
        for site in group.sites:
            self.fleet.nodes[site.name].ask = says(site.signer, TOLD)
        self.exchanges, self.log = exchanges_of(self.fleet, group, folder / "run", deadline=1.0)

    def ask(
        self,
        asked: Request | dict[str, Request] = ASKED,
        least: int = 3,
        read: Callable[[str, wire.Message], wire.Message] = lambda _, told: told,
    ) -> Replies[wire.Message]:
        return self.exchanges.ask("closing", asked, read, least)

    def asked(self, name: str) -> int:
        return len(self.fleet.nodes[name].asked)


@pytest.fixture
def scene(group: TinyGroup, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(group, tmp_path)
    yield made
    made.log.close()


def key_of(scene: Scene, name: str) -> Signer:
    return next(site.signer for site in scene.group.sites if site.name == name)


def noted(sites: list[str]) -> Callable[[str, wire.Message], wire.Message]:
    """Reads replies and notes whose they were."""

    def read(site: str, told: wire.Message) -> wire.Message:
        sites.append(site)
        return told

    return read


def test_every_site_is_asked_once_and_counts_once(scene: Scene) -> None:
    replies = scene.ask()
    assert list(replies.found) == sorted(NAMES)
    assert set(replies.found.values()) == {TOLD}
    assert replies.absent == {}
    assert [scene.asked(name) for name in NAMES] == [1, 1, 1]
    said = [event.facts["site"] for event in read_log(scene.folder / "run") if event.what == "reply"]
    assert sorted(said) == sorted(NAMES)


def test_a_silent_site_is_named_and_the_others_count(scene: Scene) -> None:
    scene.fleet.nodes["West"].silent = True
    replies = scene.ask(least=2)
    assert list(replies.found) == ["North", "South"]
    assert replies.absent == {"West": SILENT}


def test_with_fewer_replies_than_are_needed_the_exchange_is_refused_naming_who_is_missing(scene: Scene) -> None:
    scene.fleet.nodes["West"].silent = True
    with pytest.raises(Refused, match=r"closing: expected replies of 3 sites, got 2, none of West: no reply in 1 s"):
        scene.ask(least=3)


def test_an_exchange_does_not_wait_when_everybody_has_answered(scene: Scene) -> None:
    began = time.monotonic()
    scene.fleet.nodes["West"].ask = says(key_of(scene, "West"), Refusal("no"))
    scene.ask(least=2)
    assert time.monotonic() - began < 0.9


def failing(times: int, then: Ask) -> Ask:
    left = [times]

    def ask(request: bytes) -> bytes:
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError("salary 103000 of employee 17")
        return then(request)

    return ask


def test_a_node_that_fails_is_asked_again_and_then_counts(scene: Scene) -> None:
    node = scene.fleet.nodes["South"]
    node.ask = failing(2, node.ask)
    replies = scene.ask()
    assert set(replies.found) == set(NAMES)
    assert scene.asked("South") == 3
    assert [scene.asked(name) for name in ("North", "West")] == [1, 1]


def test_a_request_is_repeated_in_the_same_bytes_and_counts_an_hour_longer_than_its_exchange(scene: Scene) -> None:
    """An hour, since sites' clocks differ; not for ever, since whoever carries it may keep it."""
    seen: list[bytes] = []
    answer = failing(2, scene.fleet.nodes["South"].ask)

    def ask(request: bytes) -> bytes:
        seen.append(request)
        return answer(request)

    scene.fleet.nodes["South"].ask = ask
    began = int(time.time())
    scene.ask()
    assert len(seen) == 3
    assert len(set(seen)) == 1
    until = json.loads(Envelope.from_bytes(seen[0]).payload)["not_after"]
    assert began + 3601 <= until <= time.time() + 3601


def test_a_site_whose_node_keeps_failing_has_failed_and_its_words_are_the_messengers(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.ask()  # by which the coordinator knows whose node it is
    scene.fleet.nodes["South"].ask = failing(1000, scene.fleet.nodes["South"].ask)
    replies = scene.ask(Finish("run-1"), least=2)
    assert replies.absent == {"South": FAILED}
    assert "closing: a node failed: site: its guard does not answer" in caplog.messages


def test_a_node_that_fails_before_anybody_knows_whose_it_is_leaves_its_site_silent(scene: Scene) -> None:
    scene.fleet.nodes["South"].ask = failing(1000, scene.fleet.nodes["South"].ask)
    with pytest.raises(Refused, match="none of South: a node failed"):
        scene.ask()
    assert scene.ask(Finish("run-1"), least=2).absent == {"South": SILENT}


def test_a_refusal_counts_at_once_and_is_told_in_the_sites_words(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.fleet.nodes["South"].ask = says(key_of(scene, "South"), Refusal("budget: spent"))
    replies = scene.ask(least=2)
    assert replies.absent == {"South": REFUSED}
    assert "closing: South: budget: spent" in caplog.messages
    assert scene.asked("South") == 1


def test_what_sites_and_nodes_say_commands_no_terminal(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.fleet.nodes["South"].ask = says(key_of(scene, "South"), Refusal("no\x1b[2J\nno"))
    scene.ask(least=2)
    assert caplog.messages == ["closing: South: no [2J no"]
    with pytest.raises(Refused, match=r"South: no \[2J no$"):
        scene.ask(Finish("run-1"))


def test_a_site_that_waits_for_a_person_is_asked_again_until_somebody_has_seen_the_plan(scene: Scene) -> None:
    waiting = [Refusal("plan: waits for approval", waiting=True)] * 3
    scene.fleet.nodes["South"].ask = says(key_of(scene, "South"), lambda _: waiting.pop() if waiting else TOLD)
    assert set(scene.ask().found) == set(NAMES)
    assert scene.asked("South") == 4
    told = [event.facts for event in read_log(scene.folder / "run") if event.what == "waiting"]
    assert told == [{"site": "South"}]


def test_a_site_where_nobody_sees_the_plan_in_time_has_refused(scene: Scene) -> None:
    scene.fleet.nodes["South"].ask = says(key_of(scene, "South"), Refusal("plan: waits", waiting=True))
    assert scene.ask(least=2).absent == {"South": REFUSED}
    with pytest.raises(Refused, match="South: plan: waits"):
        scene.ask(Finish("run-1"))


def test_what_is_not_as_it_must_be_is_the_sites_garbage_and_is_not_asked_for_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def read(site: str, told: wire.Message) -> wire.Message:
        if site == "South":
            raise InputError("contribution: expected 26 numbers, got another length")
        return told

    replies = scene.ask(least=2, read=read)
    assert replies.absent == {"South": GARBAGE}
    assert "closing: South: contribution: expected 26 numbers, got another length" in caplog.messages
    assert scene.asked("South") == 1


def test_a_node_that_answers_in_another_sites_name_is_not_that_site(scene: Scene) -> None:
    """It can only relay the other's own reply, which then counts once."""
    scene.fleet.nodes["South"].ask = scene.fleet.nodes["North"].ask
    read: list[str] = []
    replies = scene.ask(least=2, read=noted(read))
    assert sorted(read) == ["North", "West"]
    assert replies.absent == {"South": SILENT}


def test_a_reply_of_an_unknown_key_does_not_count(scene: Scene, tmp_path: Path) -> None:
    scene.fleet.nodes["South"].ask = says(create_key(tmp_path / "stranger.pem"), TOLD)
    with pytest.raises(Refused, match="known key"):
        scene.ask()


def test_a_reply_to_an_earlier_request_does_not_count(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    kept = {}

    def keep(request: bytes) -> bytes:
        return kept.setdefault("reply", says(key_of(scene, "South"), TOLD)(request))

    scene.fleet.nodes["South"].ask = keep
    scene.ask()
    replies = scene.ask(Finish("run-1"), least=2)
    assert replies.absent == {"South": FAILED}
    assert "this request" in caplog.messages[-1]


def test_an_altered_reply_does_not_count_until_it_comes_whole(scene: Scene) -> None:
    """A network that alters bytes is one that lost a message."""
    altered = []

    def network(replies: list[Message]) -> list[Message]:
        for reply in replies:
            if len(altered) < 3:
                altered.append(reply)
                changed(reply, lambda body: body[:100] + bytes([body[100] ^ 1]) + body[101:])
        return replies

    scene.fleet.network = network
    assert set(scene.ask().found) == set(NAMES)
    assert [scene.asked(name) for name in NAMES] == [2, 2, 2]


def no_content(reply: Message) -> Message:
    reply.content = RecordDict()
    return reply


def another_record(reply: Message) -> Message:
    reply.content = RecordDict({"other": ConfigRecord({"body": b"x"})})
    return reply


def no_bytes(reply: Message) -> Message:
    reply.content = RecordDict({"kith": ConfigRecord({"body": "text"})})
    return reply


def an_error(reply: Message) -> Message:
    error = Message(Error(code=0, reason="x" * 10_000), reply_to=reply)
    error.metadata.__dict__["_reply_to_message_id"] = reply.metadata.reply_to_message_id
    return error


def no_reason(reply: Message) -> Message:
    error = an_error(reply)
    error.error = Error(code=0)
    return error


@pytest.mark.parametrize("other", [no_content, another_record, no_bytes, an_error])
def test_content_that_is_no_sealed_bytes_is_a_failure_and_tells_little(
    scene: Scene, other: Callable[[Message], Message]
) -> None:
    scene.fleet.network = lambda replies: [other(reply) for reply in replies]
    with pytest.raises(Refused) as refusal:
        scene.ask()
    assert len(str(refusal.value)) < 1000


def test_a_reply_that_comes_twice_counts_once(scene: Scene) -> None:
    read: list[str] = []
    scene.fleet.network = lambda replies: [one for reply in replies for one in (reply, reply)]
    scene.ask(read=noted(read))
    assert sorted(read) == sorted(NAMES)


def test_a_reply_that_comes_after_the_deadline_is_ignored(scene: Scene) -> None:
    late: list[Message] = []

    def hold_back(replies: list[Message]) -> list[Message]:
        of_west = [reply for reply in replies if reply.metadata.src_node_id == scene.fleet.number("West")]
        late.extend(of_west)
        return [reply for reply in replies if reply not in of_west]

    scene.fleet.network = hold_back
    assert scene.ask(least=2).absent == {"West": SILENT}
    assert late
    for node in scene.fleet.nodes.values():
        node.silent = True
    scene.fleet.network = lambda replies: [*replies, *late]
    with pytest.raises(Refused, match="got 0"):
        scene.ask(Finish("run-1"))


# Who is on the fleet


def never(request: bytes) -> bytes:
    raise TimeoutError


def test_strangers_on_the_fleet_do_no_harm(group: TinyGroup, tmp_path: Path) -> None:
    """Nodes that fail, send noise, sign with keys of their own or say nothing, and a site that comes after them."""
    own = says(create_key(tmp_path / "stranger.pem"), TOLD)
    scene = Scene(group, tmp_path, {"fails": never, "noise": lambda _: b"noise", "own": own, "silent": own})
    scene.fleet.nodes["silent"].silent = True
    scene.fleet.nodes["West"].online = False
    replies = scene.ask(least=2)
    assert set(replies.found) == {"North", "South"}
    assert replies.absent == {"West": SILENT}
    scene.fleet.nodes["West"].online = True
    assert set(scene.ask(Finish("run-1")).found) == set(NAMES)
    scene.log.close()


@pytest.mark.parametrize("strangers", [0, 3])
def test_a_site_that_comes_online_late_is_asked_however_many_strangers_there_are(
    group: TinyGroup, tmp_path: Path, strangers: int
) -> None:
    scene = Scene(group, tmp_path, {f"stranger {n}": never for n in range(strangers)})
    for n in range(strangers):
        scene.fleet.nodes[f"stranger {n}"].silent = True
    scene.fleet.nodes["West"].online = False
    looks = []

    def network(replies: list[Message]) -> list[Message]:
        looks.append(replies)
        scene.fleet.nodes["West"].online = len(looks) > 10
        return replies

    scene.fleet.network = network
    assert set(scene.ask().found) == set(NAMES)
    assert [scene.asked(name) for name in NAMES] == [1, 1, 1]
    scene.log.close()


def test_a_site_whose_node_comes_back_under_another_number_is_asked_there(group: TinyGroup, tmp_path: Path) -> None:
    west = group.sites[2]
    scene = Scene(group, tmp_path, {"west again": says(west.signer, TOLD)})
    scene.fleet.nodes["west again"].online = False
    scene.ask()
    scene.fleet.nodes["West"].online, scene.fleet.nodes["west again"].online = False, True
    assert set(scene.ask(Finish("run-1")).found) == set(NAMES)
    scene.log.close()


def test_a_node_that_goes_offline_as_it_is_asked_is_asked_when_it_is_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    west, looks = scene.fleet.nodes["West"], []

    def get_node_ids(fleet: TinyFleet) -> list[int]:
        looks.append(west.online)
        west.online = len(looks) > 3
        return list(fleet._names)

    monkeypatch.setattr(TinyFleet, "get_node_ids", get_node_ids)
    assert set(scene.ask().found) == set(NAMES)
    assert scene.asked("West") == 1


def test_a_node_that_was_started_anew_and_never_saw_its_message_is_asked_again(scene: Scene) -> None:
    lost: list[Message] = []

    def network(replies: list[Message]) -> list[Message]:
        if not lost:
            lost.append(replies.pop())
        return replies

    scene.fleet.network = network
    assert set(scene.ask().found) == set(NAMES)
    assert sorted(scene.asked(name) for name in NAMES) == [1, 1, 2]


# Who is asked what


def test_each_site_gets_its_own_request_and_strangers_get_nothing(group: TinyGroup, tmp_path: Path) -> None:
    scene = Scene(group, tmp_path, {"stranger": never})
    scene.ask(Finish("run-0"))
    seen = scene.asked("stranger")
    asked = {name: Prove("run-1", (1,), (name,)) for name in NAMES}
    scene.ask(asked)
    for name in NAMES:
        assert scene.fleet.nodes[name].asked[1:] == [asked[name]]
    assert scene.asked("stranger") == seen
    scene.log.close()


def test_only_those_that_are_named_are_asked_and_waited_for(scene: Scene) -> None:
    scene.ask()
    replies = scene.ask(dict.fromkeys(("North", "West"), Finish("run-1")), least=2)
    assert set(replies.found) == {"North", "West"}
    assert replies.absent == {}
    assert scene.asked("South") == 1


def test_a_site_that_nobody_asked_does_not_count_and_is_not_asked_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """At first nobody knows whose a node is: all are sent the same."""
    scene.fleet.nodes["West"].ask = failing(1, scene.fleet.nodes["West"].ask)
    replies = scene.ask(dict.fromkeys(("North", "West"), Finish("run-1")), least=2)
    assert set(replies.found) == {"North", "West"}
    assert "closing: a node failed: site: its guard does not answer" in caplog.messages
    assert scene.asked("South") == 1


def test_a_node_whose_reply_flower_can_not_read_fails_alone(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that a SuperLink stores and that make no message: its grid raises, and drops what it pulled with them."""
    scene.ask()
    bad = b"Message  50\0" + b"\xff" * 50
    validate_object_content(bad)  # all that the store looks at

    def network(replies: list[Message]) -> list[Message]:
        for reply in replies:
            if reply.metadata.src_node_id == scene.fleet.number("West"):
                inflate_object_from_contents(get_object_id(bad), {get_object_id(bad): bad})
        return replies

    scene.fleet.network = network
    replies = scene.ask(Finish("run-1"), least=2)
    assert set(replies.found) == {"North", "South"}
    assert replies.absent == {"West": FAILED}
    assert any("can not be read: DecodeError" in one for one in caplog.messages)


def test_a_node_that_fails_without_a_reason_fails_alone(scene: Scene) -> None:
    scene.ask()

    def network(replies: list[Message]) -> list[Message]:
        west = scene.fleet.number("West")
        return [no_reason(reply) if reply.metadata.src_node_id == west else reply for reply in replies]

    scene.fleet.network = network
    assert scene.ask(Finish("run-1"), least=2).absent == {"West": FAILED}


def test_a_site_that_waits_for_a_person_for_ever_costs_the_deadline_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "GRACE", 0.0)
    scene.fleet.nodes["South"].ask = says(key_of(scene, "South"), Refusal("plan: waits", waiting=True))
    scene.ask(least=2)
    began = len(scene.fleet.nodes["South"].asked)
    assert scene.ask(Finish("run-1"), least=2).absent == {"South": REFUSED}
    assert len(scene.fleet.nodes["South"].asked) - began <= 2
