"""`kith keys` as the holders of root keys and a site's operator meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from privacy import key_folder, key_list, signing
from privacy.atomic_files import replace_file
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.fields import to_base64
from privacy.key_commands import app
from privacy.key_list import KeyList
from privacy.signing import Signer
from privacy.trust_roots import PinnedKeys
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.full_disk import full_disk

NOW = 1_763_000_000
NORTH, SPARE = FixedSigner(2), FixedSigner(4)


def kith(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, arguments)])


def said(*arguments: str | Path) -> Any:
    result = kith(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def refused(*arguments: str | Path) -> KithError:
    error = kith(*arguments).exception
    assert isinstance(error, KithError), error
    return error


@pytest.fixture
def roots(tmp_path: Path) -> list[Signer]:
    return [signing.create_key(tmp_path / f"root-{n}.pem") for n in range(3)]


@pytest.fixture
def folder(tmp_path: Path, roots: list[Signer]) -> Path:
    """A coordinator's folder; two of three roots must sign."""
    parties = {"coordinator": FixedSigner(1).public, "site/North": NORTH.public, "site/South": FixedSigner(3).public}
    listed = key_list.first_list("Group", [one.public for one in roots], 2, parties, NOW)
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "keys.json").write_bytes(key_list.sign_key_list(listed, *roots[:2]))
    return tmp_path / "group"


@pytest.fixture
def uri(tmp_path: Path) -> Callable[[int], str]:
    return lambda n: f"file:{tmp_path / f'root-{n}.pem'}"


def site_of(folder: Path) -> Path:
    """A site's folder that pins the group's roots and holds the list of now."""
    site = folder.parent / "site"
    site.mkdir()
    data = (folder / "keys.json").read_bytes()
    (site / "keys.json").write_bytes(data)
    (site / "roots.json").write_bytes(PinnedKeys.of(key_list.open_key_list(data)).to_bytes())
    return site


def in_force(folder: Path) -> KeyList:
    return key_folder.in_force(folder)


def test_the_list_is_shown_to_people_and_to_programs(folder: Path) -> None:
    words = kith("show", folder).stdout
    for word in ("list 0 of Group: 2 of 2 signatures", "site/North", "active", NORTH.keyid, "did not sign"):
        assert word in words
    document = said("show", folder / "keys.json")
    assert (document["number"], document["threshold"], document["signed"]) == (0, 2, True)
    assert [root["signed"] for root in document["roots"]].count(True) == 2
    assert {key["party"]: key["status"] for key in document["keys"]} == dict.fromkeys(
        ("coordinator", "site/North", "site/South"), "active"
    )
    north = next(key for key in document["keys"] if key["party"] == "site/North")
    assert north["ledger_key"].startswith("kith/North+")
    assert north["ledger_key"] != north["witness_key"]


def test_a_pin_says_whose_list_it_is(folder: Path, tmp_path: Path) -> None:
    site = site_of(folder)
    assert said("show", folder, "--pinned", site / "roots.json")["pinned"] is True
    strangers = [FixedSigner(n) for n in (111, 112)]
    forged = key_list.first_list("Group", [one.public for one in strangers], 2, {"coordinator": SPARE.public}, NOW)
    (tmp_path / "forged.json").write_bytes(key_list.sign_key_list(forged, *strangers))
    assert said("show", tmp_path / "forged.json")["pinned"] is False
    error = refused("show", tmp_path / "forged.json", "--pinned", site / "roots.json")
    assert isinstance(error, VerificationFailed)
    assert error.exit_code == 1


def test_a_new_key_is_its_owner_s_alone_and_only_its_public_half_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    shown = said("new", path)
    pem = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    signer = signing.signer_from_uri(f"file:{path}")
    assert shown == {"keyid": signer.keyid, "public": to_base64(signer.public)}
    assert not any(line in json.dumps(shown) for line in pem.splitlines()[1:-1])
    assert isinstance(refused("new", path), InputError)
    assert path.read_text() == pem
    words = kith("new", tmp_path / "other.pem").stdout
    assert to_base64(signing.signer_from_uri(f"file:{tmp_path / 'other.pem'}").public) in words


def test_two_roots_at_one_place_rotate_a_key_at_once(folder: Path, uri: Callable[[int], str]) -> None:
    arguments = ("--party", "site/North", "--public", to_base64(SPARE.public), "--root", uri(0), "--root", uri(2))
    done = said("rotate", folder, *arguments)
    assert (done["number"], done["in_force"], done["missing"]) == (1, True, {"own_roots": 0, "roots_before": 0})
    assert set(done["changes"]) == {
        f"site/North: key {NORTH.keyid} is retired, was active",
        f"site/North: key {SPARE.keyid} is active, was not in the list",
    }
    assert in_force(folder).trusted().sites["North"].public == SPARE.public
    assert sorted(path.name for path in folder.iterdir()) == ["keys-0.json", "keys.json"]


def test_officers_at_two_places_sign_one_proposal(folder: Path, uri: Callable[[int], str]) -> None:
    before = (folder / "keys.json").read_bytes()
    first = said("revoke", folder, "--key", NORTH.keyid[:8], "--root", uri(1))
    assert (first["in_force"], first["missing"]) == (False, {"own_roots": 1, "roots_before": 1})
    assert (folder / "keys.json").read_bytes() == before
    assert isinstance(refused("revoke", folder, "--key", NORTH.keyid, "--root", uri(0)), InputError)
    assert "has not signed" in str(refused("sign", folder, "--root", uri(1)))
    assert in_force(folder).number == 0
    last = said("sign", folder, "--root", uri(0))
    assert last["in_force"]
    assert last["changes"] == [f"site/North: key {NORTH.keyid} is revoked, was active"]
    assert in_force(folder).status(NORTH.keyid) == "revoked"
    assert (folder / "keys-0.json").read_bytes() == before
    assert not (folder / "keys.proposed.json").exists()


def test_words_say_what_is_signed_and_what_is_missing(folder: Path, uri: Callable[[int], str]) -> None:
    lines = kith("revoke", folder, "--key", NORTH.keyid, "--root", uri(0)).stdout.splitlines()
    assert lines[0].startswith("list 1 waits in ")
    assert lines[1] == f"site/North: key {NORTH.keyid} is revoked, was active"
    assert kith("sign", folder, "--root", uri(1)).stdout.splitlines()[0] == "list 1 is in force"


def test_a_key_that_is_no_root_signs_nothing(folder: Path, tmp_path: Path, uri: Callable[[int], str]) -> None:
    said("new", tmp_path / "stranger.pem")
    stranger = f"file:{tmp_path / 'stranger.pem'}"
    assert "root key" in str(refused("revoke", folder, "--key", NORTH.keyid, "--root", uri(0), "--root", stranger))
    assert not (folder / "keys.proposed.json").exists()
    said("revoke", folder, "--key", NORTH.keyid, "--root", uri(0))
    assert "root key" in str(refused("sign", folder, "--root", stranger))
    assert in_force(folder).number == 0


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("revoke", "--key", NORTH.keyid[:7]), id="too few digits"),
        pytest.param(("revoke", "--key", "f" * 64), id="no such key"),
        pytest.param(("rotate", "--party", "boss", "--public", to_base64(SPARE.public)), id="no party"),
        pytest.param(("rotate", "--party", "site/North", "--public", SPARE.public.hex()), id="a key in hexadecimal"),
        pytest.param(("rotate", "--party", "site/North", "--public", to_base64(NORTH.public)), id="the same key"),
        pytest.param(("rotate", "--party", "site/N\u043erth", "--public", to_base64(SPARE.public)), id="a look-alike"),
        pytest.param(("sign",), id="nothing to sign"),
        pytest.param(("roots", "--public", to_base64(SPARE.public), "--threshold", "2"), id="an unreachable threshold"),
    ],
)
def test_what_can_not_be_decided_changes_nothing(
    folder: Path, uri: Callable[[int], str], arguments: tuple[str, ...]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command, *rest = arguments
    error = refused(command, folder, *rest, "--root", uri(0), "--root", uri(1))
    assert error.exit_code == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_root_key_that_others_may_read_is_not_used(folder: Path, uri: Callable[[int], str]) -> None:
    Path(uri(0).removeprefix("file:")).chmod(0o640)
    assert "only its owner" in str(refused("revoke", folder, "--key", NORTH.keyid, "--root", uri(0)))


def test_no_command_prints_a_private_key(folder: Path, uri: Callable[[int], str]) -> None:
    secrets = "".join(Path(uri(n).removeprefix("file:")).read_text() for n in range(3)).splitlines()
    printed = [
        kith("revoke", folder, "--key", NORTH.keyid, "--root", uri(0), "--root", uri(0)),
        kith("revoke", folder, "--key", NORTH.keyid, "--root", uri(0)),
        kith("sign", folder, "--root", uri(1), "--json"),
        kith("show", folder),
        kith("show", folder, "--json"),
    ]
    told = "".join(result.output + str(result.exception) for result in printed)
    assert "list 1" in told
    assert not any(line in told for line in secrets if not line.startswith("-----"))


def test_a_proposal_that_somebody_changed_on_its_way_is_not_signed(folder: Path, uri: Callable[[int], str]) -> None:
    said("revoke", folder, "--key", NORTH.keyid, "--root", uri(0))
    path = folder / "keys.proposed.json"
    honest = key_list.proposed(path.read_bytes())
    swapped = key_list.rotated(in_force(folder), "coordinator", SPARE.public, NOW)
    for data in (
        path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1),
        key_list.sign_key_list(key_list.revoked(swapped, NORTH.keyid, NOW), SPARE),
        path.read_bytes()[:-10],
    ):
        path.write_bytes(data)
        assert isinstance(refused("sign", folder, "--root", uri(1)), KithError)
    path.write_bytes(honest.envelope)
    said("sign", folder, "--root", uri(1))


def test_a_site_takes_the_next_list_over_and_no_other(folder: Path, uri: Callable[[int], str]) -> None:
    site = site_of(folder)
    both = ("--root", uri(0), "--root", uri(1))
    said("rotate", folder, "--party", "site/North", "--public", to_base64(SPARE.public), *both)
    said("revoke", folder, "--key", NORTH.keyid, *both)
    assert "expected list 1" in str(refused("adopt", site, folder / "keys.json"))
    assert said("adopt", site, folder / "keys-1.json")["number"] == 1
    assert said("adopt", site, folder / "keys-1.json")["changes"] == []
    assert said("adopt", site, folder / "keys.json")["number"] == 2
    assert in_force(site).status(NORTH.keyid) == "revoked"
    assert "expected list 3" in str(refused("adopt", site, folder / "keys-1.json"))  # back to where the key counted
    assert in_force(site).number == 2


def test_a_site_does_not_take_over_a_list_that_its_roots_did_not_sign(folder: Path, tmp_path: Path) -> None:
    site = site_of(folder)
    strangers = [FixedSigner(n) for n in (111, 112)]
    listed = key_list.with_roots(in_force(folder), [one.public for one in strangers], 2, NOW)
    (tmp_path / "theirs.json").write_bytes(key_list.sign_key_list(listed, *strangers))
    assert "roots of list 0" in str(refused("adopt", site, tmp_path / "theirs.json"))
    assert in_force(site).number == 0


def test_new_roots_are_signed_in_by_old_and_new_and_the_pin_moves_with_them(
    folder: Path, tmp_path: Path, uri: Callable[[int], str]
) -> None:
    site = site_of(folder)
    publics = [said("new", tmp_path / f"root-{n}.pem")["public"] for n in (7, 8)]
    options = [option for public in publics for option in ("--public", public)]
    begun = said("roots", folder, *options, "--threshold", "2", "--root", uri(7), "--root", uri(8))
    assert (begun["in_force"], begun["missing"]) == (False, {"own_roots": 0, "roots_before": 2})
    assert not said("sign", folder, "--root", uri(0))["in_force"]
    assert said("sign", folder, "--root", uri(1))["in_force"]
    assert said("adopt", site, folder / "keys.json")["number"] == 1
    assert PinnedKeys.read(site / "roots.json").roots == tuple(sorted(publics))
    assert "root key" in str(refused("revoke", folder, "--key", NORTH.keyid, "--root", uri(0)))
    said("revoke", folder, "--key", NORTH.keyid, "--root", uri(7), "--root", uri(8))
    assert said("adopt", site, folder / "keys.json")["number"] == 2


def test_a_crash_before_the_pin_moved_leaves_a_list_that_the_pin_vouches_for(
    folder: Path, tmp_path: Path, uri: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: after the list that changes the roots, and after the one that only the new roots signed."""
    site = site_of(folder)
    public = said("new", tmp_path / "root-7.pem")["public"]
    said("roots", folder, "--public", public, "--threshold", "1", "--root", uri(0), "--root", uri(1), "--root", uri(7))
    said("revoke", folder, "--key", NORTH.keyid, "--root", uri(7))

    def crash_after_keys(path: Path, content: bytes) -> None:
        replace_file(path, content)
        if path.name == "keys.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(key_folder, "replace_file", crash_after_keys)
    for number, name in ((1, "keys-1.json"), (2, "keys.json")):
        with pytest.raises(KeyboardInterrupt):
            key_folder.adopt(site, (folder / name).read_bytes(), "list")
        assert in_force(site).number == number


def test_a_list_that_does_not_follow_is_not_even_proposed(folder: Path, roots: list[Signer]) -> None:
    second = key_list.rotated(in_force(folder), "site/North", SPARE.public, NOW)
    for listed in (key_list.revoked(second, NORTH.keyid, NOW), in_force(folder)):
        with pytest.raises(VerificationFailed, match="expected list 1"):
            key_folder.propose(folder, listed, roots[0])
    assert not (folder / "keys.proposed.json").exists()


def test_a_site_s_list_that_its_pinned_roots_do_not_vouch_for_is_not_in_force(folder: Path) -> None:
    site = site_of(folder)
    strangers = [FixedSigner(n) for n in (111, 112)]
    forged = key_list.first_list("Group", [one.public for one in strangers], 2, {"coordinator": SPARE.public}, NOW)
    (site / "keys.json").write_bytes(key_list.sign_key_list(forged, *strangers))
    assert "pinned roots" in str(refused("adopt", site, folder / "keys.json"))


def test_on_a_full_disk_the_list_in_force_stays(folder: Path, uri: Callable[[int], str]) -> None:
    before = (folder / "keys.json").read_bytes()
    with full_disk():
        error = kith("revoke", folder, "--key", NORTH.keyid, "--root", uri(0), "--root", uri(1)).exception
    assert isinstance(error, InputError)
    assert (folder / "keys.json").read_bytes() == before


def test_a_proposal_that_a_crash_left_behind_does_not_stop_the_next(folder: Path, uri: Callable[[int], str]) -> None:
    said("revoke", folder, "--key", NORTH.keyid, "--root", uri(0))
    left = (folder / "keys.proposed.json").read_bytes()
    said("sign", folder, "--root", uri(1))
    (folder / "keys.proposed.json").write_bytes(left)
    both = ("--root", uri(0), "--root", uri(1))
    assert said("rotate", folder, "--party", "site/North", "--public", to_base64(SPARE.public), *both)["number"] == 2
