"""`kith ledger`: proofs that hold without the ledger, and what a forger of one would have to try."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from privacy import canonical, key_list, ledger_proof
from privacy.commands import app
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.ledger_proof import ConsistencyProof, InclusionProof
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.officer_keys import key_file, key_uri
from tests.privacy.small_release import NOW, RUN, Group, marks, plan

SITE_KEY = FixedSigner(2)


def kith(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> str:
    result = kith(*arguments)
    assert result.exit_code == 0, result.exception
    return result.stdout


def failed(*arguments: str | Path) -> KithError:
    error = kith(*arguments).exception
    assert isinstance(error, KithError)
    assert "\n" not in str(error)
    return error


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """A group whose first site has charged one release of two."""
    group = Group(tmp_path)
    ledger = group.sites[0].ledger
    ledger.reserve(RUN, plan(), marks("North"))
    group.sites[0].contribute(RUN, plan(), "second-moments", 0)
    return group


@pytest.fixture
def ledger(group: Group) -> Path:
    return group.folder / "0.ledger"


@pytest.fixture
def keys(group: Group) -> Path:
    return written(group.folder / "keys.json", key_list.sign_key_list(group.key_list, group.root))


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


def proved(group: Group, *what: str) -> Path:
    """A proof out of the first site's ledger, in a file."""
    out = group.folder / f"proof{'-'.join(what)}.json"
    done("ledger", "prove", group.folder / "0.ledger", *what, "--key", key_uri(group.folder, SITE_KEY), "--out", out)
    return out


def test_an_entry_is_proved_to_somebody_who_has_the_keys_and_not_the_ledger(
    group: Group, ledger: Path, keys: Path
) -> None:
    proof = proved(group, "--entry", "2")
    ledger.rename(ledger.with_suffix(".gone"))
    shown = json.loads(done("ledger", "check", proof, "--keys", keys, "--json"))
    assert (shown["site"], shown["entry"]["kind"], shown["entry"]["position"]) == ("North", "charge", 2)
    assert shown["entry"]["run"] == RUN
    assert shown["signed_by"] == {"party": "site/North", "keyid": SITE_KEY.keyid, "status": "active"}
    assert "holds: entry 2" in done("ledger", "check", proof, "--keys", keys)


def test_every_entry_of_a_ledger_can_be_proved(group: Group, keys: Path) -> None:
    for position in range(group.sites[0].ledger.head().size):
        shown = json.loads(done("ledger", "check", proved(group, "--entry", str(position)), "--keys", keys, "--json"))
        assert shown["entry"]["position"] == position


def test_a_held_checkpoint_shows_that_nothing_was_taken_back(group: Group, ledger: Path, keys: Path) -> None:
    held = group.folder / "held"
    done("ledger", "checkpoint", ledger, "--key", key_uri(group.folder, SITE_KEY), "--out", held)
    size = group.sites[0].ledger.head().size
    group.sites[0].contribute(RUN, plan(), "gradient", 0)
    proof = proved(group, "--since", str(size))
    shown = json.loads(done("ledger", "check", proof, "--keys", keys, "--held", held, "--json"))
    assert (shown["held"]["size"], shown["size"]) == (size, size + 2)
    assert f"first {size} entries" in done("ledger", "check", proof, "--keys", keys, "--held", held)


def test_a_ledger_that_was_made_anew_does_not_extend_the_held_checkpoint(
    group: Group, keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held = written(group.folder / "held", group.sites[0].ledger.checkpoint(SITE_KEY))
    size = group.sites[0].ledger.head().size
    other = Group(tmp_path_factory.mktemp("other")).sites[0]  # the same site and key, another history
    for run in range(size):
        other.ledger.reserve(f"another {run}", replace(plan(), delta="0.0001"), marks("North"))
    note = other.ledger.checkpoint(SITE_KEY)
    for path in (other.ledger.consistency(size), group.sites[0].ledger.consistency(size, size)):
        proof = written(group.folder / "forked", ConsistencyProof(note, size, path).to_bytes())
        assert isinstance(failed("ledger", "check", proof, "--keys", keys, "--held", held), VerificationFailed)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda proof: replace(proof, entry=replace(proof.entry, position=1)), id="another position"),
        pytest.param(lambda proof: replace(proof, entry=replace(proof.entry, leaf=b"{}")), id="another entry"),
        pytest.param(
            lambda proof: replace(proof, entry=replace(proof.entry, path=proof.entry.path[::-1])), id="another path"
        ),
        pytest.param(lambda proof: replace(proof, entry=replace(proof.entry, path=())), id="no path"),
        pytest.param(
            lambda proof: replace(proof, checkpoint=proof.checkpoint.replace("kith/North", "kith/South")),
            id="another log",
        ),
        pytest.param(
            lambda proof: replace(proof, checkpoint=proof.checkpoint.replace("\n4\n", "\n5\n")), id="another size"
        ),
    ],
)
def test_a_changed_proof_is_refused(
    group: Group, keys: Path, change: Callable[[InclusionProof], InclusionProof]
) -> None:
    data = proved(group, "--entry", "2").read_bytes()
    proof = ledger_proof.read(data)
    assert isinstance(proof, InclusionProof)
    forged = change(proof)
    assert forged != proof
    place = written(group.folder / "forged", forged.to_bytes())
    assert isinstance(failed("ledger", "check", place, "--keys", keys), VerificationFailed)


def test_no_byte_of_a_proof_can_be_changed(group: Group) -> None:
    data = proved(group, "--entry", "2").read_bytes()
    listed = group.key_list
    ledger_proof.check(ledger_proof.read(data), listed)
    for position in range(0, len(data), 7):
        forged = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(KithError):
            ledger_proof.check(ledger_proof.read(forged), listed)


def test_another_key_of_the_group_is_not_the_site_s(group: Group, keys: Path) -> None:
    note = group.sites[0].ledger.checkpoint(FixedSigner(3))  # the other site's key
    proof = InclusionProof(note, group.sites[0].ledger.inclusion(1))
    place = written(group.folder / "forged", proof.to_bytes())
    assert isinstance(failed("ledger", "check", place, "--keys", keys), VerificationFailed)


def test_a_retired_key_s_note_still_counts_and_a_revoked_key_s_no_more(group: Group) -> None:
    proof = ledger_proof.read(proved(group, "--entry", "1").read_bytes())
    newer = key_list.rotated(group.key_list, "site/North", FixedSigner(9).public, NOW)
    assert ledger_proof.check(proof, newer).key.status == "retired"
    with pytest.raises(VerificationFailed):
        ledger_proof.check(proof, key_list.revoked(newer, SITE_KEY.keyid, NOW))


def test_a_proof_is_read_in_one_writing_only(group: Group) -> None:
    data = proved(group, "--entry", "1").read_bytes()
    loose = json.dumps(json.loads(data)).encode()
    for other in (loose, data + b" ", b"{}", b"[]", b"", b"\xff", canonical.to_bytes({"kind": "inclusion"})):
        with pytest.raises(InputError):
            ledger_proof.read(other)


def test_a_consistency_proof_needs_a_held_checkpoint_and_another_kind_wants_none(
    group: Group, ledger: Path, keys: Path
) -> None:
    held = written(group.folder / "held", group.sites[0].ledger.checkpoint(SITE_KEY))
    since, entry = proved(group, "--since", "2"), proved(group, "--entry", "2")
    assert isinstance(failed("ledger", "check", since, "--keys", keys), InputError)
    assert isinstance(failed("ledger", "check", entry, "--keys", keys, "--held", held), InputError)
    assert isinstance(failed("ledger", "check", since, "--keys", keys, "--held", held), VerificationFailed)  # of size 4


def test_verifying_recomputes_and_compares_with_what_was_held(group: Group, ledger: Path) -> None:
    held = written(group.folder / "held", group.sites[0].ledger.checkpoint(SITE_KEY))
    assert "entries hold" in done("ledger", "verify", ledger)
    group.sites[0].contribute(RUN, plan(), "gradient", 0)
    shown = json.loads(done("ledger", "verify", ledger, "--held", held, "--json"))
    assert (shown["site"], shown["size"], shown["held"]["size"]) == ("North", 6, 4)
    longer = written(group.folder / "longer", held.read_text().replace("\n4\n", "\n3\n"))
    assert isinstance(failed("ledger", "verify", ledger, "--held", longer), VerificationFailed)


def test_showing_tells_the_head_and_the_latest_entries(group: Group, ledger: Path) -> None:
    shown = json.loads(done("ledger", "show", ledger, "--last", "3", "--json"))
    assert (shown["site"], shown["size"]) == ("North", 4)
    assert [entry["kind"] for entry in shown["entries"]] == ["reserve", "charge", "settle"]
    assert shown["ledger"] == group.sites[0].ledger.id
    text = done("ledger", "show", ledger)
    assert "North: 4 entries" in text
    assert RUN in text


def test_a_site_s_folder_stands_for_its_ledger_and_its_key(group: Group, keys: Path, ledger: Path) -> None:
    folder = group.folder / "site"
    folder.mkdir()
    group.sites[0].ledger.close()
    ledger.rename(folder / "ledger.sqlite")
    key_file(group.folder, SITE_KEY).rename(folder / "key.pem")
    written(folder / "site.toml", 'name = "North"\n')
    proof = written(group.folder / "proof", done("ledger", "prove", folder, "--entry", "0").rstrip("\n"))
    assert json.loads(done("ledger", "check", proof, "--keys", keys, "--json"))["entry"]["kind"] == "open"


BAD: dict[str, tuple[str, ...]] = {
    "no such ledger": ("show", "{f}/nowhere"),
    "no ledger at all": ("verify", "{f}/text"),
    "a folder of no site": ("show", "{f}"),
    "no such entry": ("prove", "{l}", "--entry", "99", "--key", "{k}"),
    "a size beyond it": ("prove", "{l}", "--since", "99", "--key", "{k}"),
    "both kinds": ("prove", "{l}", "--entry", "1", "--since", "1", "--key", "{k}"),
    "neither kind": ("prove", "{l}", "--key", "{k}"),
    "no key": ("checkpoint", "{l}"),
    "an unknown kind of key": ("checkpoint", "{l}", "--key", "smoke:signal"),
    "a proof that is none": ("check", "{f}/text", "--keys", "{f}/keys.json"),
    "keys that are none": ("check", "{f}/text", "--keys", "{f}/text"),
    "a note that is none": ("verify", "{l}", "--held", "{f}/text"),
    "a password in the address": ("show", "postgresql://me:secret@nowhere/ledger"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_one_line_and_exit_2(group: Group, ledger: Path, keys: Path, name: str) -> None:
    written(group.folder / "text", "not what was expected\n")
    places: dict[str, Any] = {"f": group.folder, "l": ledger, "k": key_uri(group.folder, SITE_KEY)}
    error = failed("ledger", *(argument.format(**places) for argument in BAD[name]))
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert "secret" not in str(error)
