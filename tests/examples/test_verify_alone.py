"""The verifier in one file: what it accepts and refuses, held against `kith verify` and its table of forgeries."""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from federation.embedded import run_embedded
from privacy import canonical, dsse, release_files
from privacy.certificate import FAILED, GARBAGE, REFUSED, KeysUsed
from privacy.entries import Charged, Entry
from privacy.plan import GaussianSum
from privacy.signing import Signer
from privacy.verify import verify_release
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.forgeries.scene import FORGERIES, Scene, b64, made
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    excerpt_of,
    payload_of,
    rewritten,
    signed_statement,
    with_excerpt,
    with_receipt,
)
from tests.privacy.small_release import (
    ROOT,
    RUN,
    SITES,
    Group,
    absent,
    budget,
    plan,
    releases_of,
    write,
)
from tests.privacy.test_tampering import KINDS, name_of
from tests.small_group import settings, small_group

PROGRAM = Path(__file__).parents[2] / "examples" / "verify_alone.py"

# Forgeries of what it says that it does not check: all of these checks of `kith verify`, ...
UNCLAIMED_CHECKS = {
    11: "a second accountant",
    13: "the model's tensors",
    16: "who cosigned",
    17: "measures",
    18: "an audit",
    19: "whether ledgers follow an earlier release's",
    20: "the contract",
}
# ... and of the others, these.
UNCLAIMED = {
    "keys that follow an earlier list": """
        keys_of_another_group__by_coordinator
        keys_rolled_back_to_before_the_coordinator_s_key_was_revoked__by_coordinator
        keys_rolled_back_to_before_a_site_s_key_was_revoked__by_coordinator
        keys_forked_under_the_same_number__by_coordinator_and_root""",
    "fields of the certificate that the argument does not use": """
        a_field_added__by_coordinator no_environment__by_coordinator a_malformed_image__by_coordinator
        a_witness_named_twice__by_coordinator written_with_a_negative_number__by_coordinator
        written_with_2_to_the_53__by_coordinator written_with_10_to_the_400__by_coordinator
        written_with_true_for_a_number__by_coordinator written_with_a_string_for_a_number__by_coordinator
        written_with_deep_nesting__by_coordinator written_with_capital_hexadecimal_digits__by_coordinator""",
    "other writings of the same figure": """
        epsilon_with_a_trailing_zero__by_coordinator epsilon_with_a_leading_zero__by_coordinator
        epsilon_with_a_plus__by_coordinator epsilon_with_an_exponent__by_coordinator
        epsilon_with_a_space__by_coordinator epsilon_with_a_line_end__by_coordinator
        epsilon_with_full_width_digits__by_coordinator epsilon_with_an_underscore__by_coordinator
        mu2_with_trailing_zeros__by_coordinator a_number_of_people_with_a_leading_zero__by_coordinator""",
    "who decided a budget, for which purposes, and who is in a cohort": """
        log_rewritten_with_a_charge_on_another_cohort__by_everyone
        log_rewritten_with_a_reservation_under_another_group__by_everyone
        log_rewritten_with_a_reservation_for_another_use__by_everyone
        log_rewritten_with_a_reservation_of_less__by_everyone
        account_with_a_higher_cap_of_the_group__by_coordinator account_of_another_group__by_coordinator
        account_of_more_people_than_declared__by_coordinator decision_by_one_officer__by_everyone
        decision_by_strangers__by_everyone decision_by_an_officer_and_a_stranger__by_everyone
        decision_for_another_ledger__by_everyone""",
    "figures beside epsilon": """
        replace_one_understated__by_coordinator two_sites_understated__by_coordinator
        epsilon_at_another_delta_understated__by_coordinator epsilons_left_out__by_coordinator
        leavers_understated__by_coordinator leavers_left_out__by_coordinator many_releases_understated__by_coordinator
        many_releases_of_another_number__by_coordinator cumulative_understated__by_coordinator
        cumulative_cut_off__by_coordinator accountant_renamed__by_coordinator""",
}
NAMES = {name for names in UNCLAIMED.values() for name in names.split()}
CLAIMED = [
    (name_of(one), one) for check, one in FORGERIES if check not in UNCLAIMED_CHECKS and name_of(one) not in NAMES
]
NOT_CLAIMED = [(name_of(one), one) for _, one in FORGERIES if name_of(one) in NAMES]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    assert KINDS, "importing them fills FORGERIES"
    return made(tmp_path_factory.mktemp)


def void(_: object) -> None:
    """Change nothing."""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_alone", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


alone = load()


def accepted(files: Mapping[str, bytes], *roots: bytes) -> bool:
    """Whether the program accepts; whatever it raises, it refuses, as its last lines do."""
    try:
        alone.check(dict(files), *roots)
    except Exception:
        return False
    return True


def shown(scene: Scene, made: Mapping[str, bytes] | Shown) -> tuple[Mapping[str, bytes], bytes]:
    """The files, and the one root key that an officer would give it."""
    shown = made if isinstance(made, Shown) else Shown(made, scene.group.pinned)
    return shown.files, base64.b64decode(shown.pinned.roots[0])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True)


# What the file is


def test_it_is_short_and_needs_nothing_of_kith() -> None:
    source = PROGRAM.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 200
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


# Valid releases


def test_valid_releases_are_accepted(scene: Scene) -> None:
    first = (scene.group, scene.files), (scene.group, scene.earlier)
    for group, files in (*first, scene.crashed, scene.decided, scene.absent, scene.masked):
        assert accepted(files, group.root.public)
        assert accepted(files)


def test_a_release_without_a_site_and_one_with_every_reason_are_accepted(tmp_path: Path) -> None:
    group = Group(tmp_path)
    gone = absent(SITES[0], *releases_of(plan()), reason=GARBAGE)
    assert "1 sites" in alone.check(group.train(RUN, plan(), away=gone))
    gone = [
        *absent(SITES[0], ("second-moments", 0), reason=FAILED),
        *absent(SITES[0], ("gradient", 0), reason=REFUSED),
        *absent(SITES[1], ("gradient", 1)),
    ]
    assert "2 sites" in alone.check(group.train("run-2", plan(), away=gone, in_vain=True))


def test_it_says_what_it_shows(scene: Scene) -> None:
    cost = certificate_of(scene.group, scene.files).cost
    words = alone.check(scene.files)
    assert words == f"epsilon {cost.epsilon} at delta {cost.delta}, mu² {cost.mu2}, 2 sites"


def test_a_release_trained_by_federation_gets_the_same_verdict(tmp_path: Path) -> None:
    group = small_group(tmp_path)
    release = run_embedded(group.group, group.folders, settings(), tmp_path / "run")
    roots = json.loads((group.group / "roots.json").read_bytes())["roots"]
    assert verify_release(release, group.group / "roots.json").ok
    done = run(release, "--root", roots[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("accepted: epsilon ")
    ledger = release / release_files.ledger(0)
    ledger.write_bytes(ledger.read_bytes().replace(b'"index":', b'"index": ', 1))
    assert run(release, "--root", roots[0]).returncode == 1


@pytest.mark.parametrize(
    ("events", "mu2"),
    [
        pytest.param([(3, 2**20, 3 * 2**20)], "0.333333333333333336", id="a price that is rounded up each time"),
        pytest.param([(1, 1, 10**6), (2, 7, 10**5)], "0.000000009801", id="hardly a cost"),
        pytest.param([(4, 2**28, 2**28)], "4", id="a large epsilon"),
    ],
)
def test_prices_and_epsilons_of_other_plans_are_computed_alike(
    events: list[tuple[int, int, int]], mu2: str, tmp_path: Path
) -> None:
    sums = tuple(GaussianSum(f"event {n}", times, 2, 20, one, noise) for n, (times, one, noise) in enumerate(events))
    group = Group(tmp_path, budget=budget(Decimal(5)))
    files = group.train(RUN, plan(events=sums))
    assert f"mu² {mu2}, " in alone.check(files)


# Forgeries


@pytest.mark.parametrize(("name", "forgery"), CLAIMED, ids=[name for name, _ in CLAIMED])
def test_a_forgery_of_what_it_claims_to_check_is_refused(
    scene: Scene, name: str, forgery: Callable[..., object]
) -> None:
    files, root = shown(scene, forgery(scene))  # type: ignore[arg-type]
    assert not accepted(files, root)


def test_what_it_leaves_out_is_no_more_than_it_says(scene: Scene) -> None:
    assert {name for name, _ in NOT_CLAIMED} == NAMES
    refused = {name for name, forgery in NOT_CLAIMED if not accepted(*shown(scene, forgery(scene)))}
    assert not refused, "these need not be left out"


def test_without_a_root_a_stranger_s_release_of_one_piece_is_accepted_and_with_one_refused(tmp_path: Path) -> None:
    files = Group(tmp_path, coordinator=FixedSigner(50), root=FixedSigner(51)).train(RUN, plan())
    assert accepted(files)
    assert accepted(files, FixedSigner(51).public)
    assert not accepted(files, ROOT.public)


@pytest.mark.parametrize("name", sorted({*release_files.FIXED, release_files.ledger(0), release_files.receipts(1)}))
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"a":1,"a":1}', b"NaN", b"[" * 100_000, b"\xff"])
def test_any_other_content_of_a_file_is_refused(scene: Scene, name: str, content: bytes) -> None:
    assert not accepted({**scene.files, name: content})


def test_one_flipped_bit_in_any_file_is_refused(scene: Scene) -> None:
    for name, data in scene.files.items():
        for position in {0, len(data) // 3, len(data) // 2, len(data) - 1}:
            changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
            assert not accepted({**scene.files, name: changed}), (name, position)


# Forgeries that differ from a valid release in one thing only, so that one line of it stands against them


def with_keys(scene: Scene, change: Callable[[dict[str, Any]], object], signer: Signer = ROOT) -> Files:
    """The release under a key list of other content, signed in the root's name, which the coordinator certified."""
    document = json.loads(payload_of(scene.files[release_files.KEYS]))
    change(document["predicate"])
    (one,) = dsse.sign(canonical.to_bytes(document), signer).signatures
    signature = dsse.Signature(ROOT.keyid, one.signature)
    data = dsse.Envelope(dsse.PAYLOAD_TYPE, canonical.to_bytes(document), (signature,)).to_bytes()
    return scene.certified({release_files.KEYS: data}, keys=KeysUsed(0, release_files.sha256(data)))


def another_key(party: str, key: Signer) -> Callable[[dict[str, Any]], None]:
    def change(predicate: dict[str, Any]) -> None:
        added = {"party": party, "public": b64(key), "since": 0, "status": "active"}
        predicate["keys"] = sorted([*predicate["keys"], added], key=lambda one: (one["party"], one["public"]))

    return change


def the_root_twice(predicate: dict[str, Any]) -> None:
    """The same 32 bytes in two writings: their last two bits of base64 are of no use."""
    again = predicate["roots"][0][:-2] + chr(ord(predicate["roots"][0][-2]) + 1) + "="
    assert base64.b64decode(again) == ROOT.public
    predicate |= {"roots": [*predicate["roots"], again], "threshold": 2}


def two_needed(predicate: dict[str, Any]) -> None:
    predicate["threshold"] = 2


def a_key_of_small_order(predicate: dict[str, Any]) -> None:
    neutral = base64.b64encode((1).to_bytes(32, "little")).decode()
    added = {"party": "site/Third", "public": neutral, "since": 0, "status": "active"}
    predicate["keys"] = sorted([*predicate["keys"], added], key=lambda one: (one["party"], one["public"]))


def charges_in_another_order(scene: Scene) -> Files:
    shown = excerpt_of(scene.earlier, 0)
    first, second, third = shown.charges
    return with_excerpt(scene.group, scene.earlier, 0, replace(shown, charges=(first, third, second)))


def an_event_twice(scene: Scene) -> Files:
    document = plan().to_bytes().replace(b'"gradient"', b'"second-moments"')
    files = {**scene.earlier, release_files.PLAN: document}

    def change(statement: dict[str, Any]) -> None:
        ran = statement["predicate"]["mechanism"]
        ran |= {"events": json.loads(document)["events"], "plan": release_files.sha256(document)}
        for one in statement["subject"]:
            one["digest"] = {"sha256": release_files.sha256(files[one["name"]])}

    return signed_statement(scene.group, files, change)


def everywhere(scene: Scene, **changes: str) -> Files:
    """The earlier release after its first site changed the last gradient: in its log and in its receipt."""

    def change(_: int, entry: Entry) -> Entry:
        last = isinstance(entry, Charged) and (entry.event, entry.index) == ("gradient", 1)
        return replace(entry, **changes) if last else entry

    return with_receipt(scene.group, rewritten(scene.group, scene.earlier, change), 2, **changes)


@pytest.mark.parametrize(
    ("step", "forgery"),
    [
        pytest.param(1, lambda scene: scene.certified({"notes.txt": b""}), id="a certified file too many"),
        pytest.param(2, lambda scene: with_keys(scene, void, FixedSigner(99)), id="in a root's name"),
        pytest.param(2, lambda scene: with_keys(scene, two_needed), id="one root where two are needed"),
        pytest.param(2, lambda scene: with_keys(scene, the_root_twice), id="one root in two writings"),
        pytest.param(
            2, lambda scene: with_keys(scene, another_key("site/North", FixedSigner(60))), id="a site with two keys"
        ),
        pytest.param(
            2, lambda scene: with_keys(scene, another_key("site/Third", ROOT)), id="a root key that also signs"
        ),
        pytest.param(2, lambda scene: with_keys(scene, a_key_of_small_order), id="a key that signs everything"),
        pytest.param(5, an_event_twice, id="an event twice"),
        pytest.param(8, lambda scene: everywhere(scene, mu2="0.01"), id="a lower price, charged and signed"),
        pytest.param(8, lambda scene: everywhere(scene, state="0" * 64), id="another state, charged and signed"),
        pytest.param(8, charges_in_another_order, id="charges in another order"),
    ],
)
def test_the_step_that_is_there_for_it_refuses(scene: Scene, step: int, forgery: Callable[[Scene], Files]) -> None:
    files = forgery(scene)
    with pytest.raises(ValueError, match=f"^{step}\\. "):
        alone.check(files, ROOT.public)
    assert not Shown(files, scene.group.pinned).verdict().ok


def test_a_sampled_plan_is_beyond_it_and_it_says_so(tmp_path: Path) -> None:
    sampled = plan(events=tuple(replace(event, rate="0.5") for event in plan().events))
    with pytest.raises(ValueError, match=r"^5\. plan: .* sampled"):
        alone.check(Group(tmp_path).train(RUN, sampled))


# As a program


@pytest.fixture
def release(scene: Scene, tmp_path: Path) -> Path:
    return write(scene.files, tmp_path / "release")


@pytest.mark.parametrize("write_key", [bytes.hex, lambda key: base64.b64encode(key).decode()], ids=["hex", "base64"])
def test_a_root_key_is_given_in_hex_or_base64(release: Path, write_key: Callable[[bytes], str]) -> None:
    assert run(release, "--root", write_key(ROOT.public)).returncode == 0
    for others in ([FixedSigner(99)], [ROOT, FixedSigner(99)], [FixedSigner(99), ROOT]):
        done = run(release, *(word for other in others for word in ("--root", write_key(other.public))))
        assert (done.returncode, done.stderr) == (1, "refused: 2. keys: too few roots, or not yours\n")


def test_an_extra_or_missing_file_is_refused(release: Path) -> None:
    (release / "notes.txt").touch()
    assert run(release).stderr == "refused: 1. files: not those of a release\n"
    (release / "notes.txt").unlink()
    assert run(release).returncode == 0
    shutil.rmtree(release / "ledger")
    assert run(release).returncode == 1


def test_no_release_at_all_is_refused_without_a_traceback(tmp_path: Path) -> None:
    for arguments in ([tmp_path], [tmp_path / "nothing"], [tmp_path, "--root", "no key"]):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("refused: ")
        assert "Traceback" not in done.stderr
