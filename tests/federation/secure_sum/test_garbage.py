"""What a site may send instead of what it should: it is bounded, and named."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.secure_sum.adverts import commitment, read_advert, sign_advert
from federation.secure_sum.at_coordinator import SumOfRun
from federation.secure_sum.shamir import SHARE_BYTES
from federation.wire import Unmasked
from privacy import canonical, fields
from privacy.errors import InputError, KithError, Refused, VerificationFailed
from tests.federation.secure_sum.scene import RUN, Scene, Sums, made, plan_of, summed, values_of

OF = ("gradient", 0)
WRONG = b"\1" * SHARE_BYTES


UNRESTORED = "its secret can not be restored: it dealt wrong shares, or others told them wrong"


def masked_by_all(scene: Scene, survived: tuple[str, ...] = ()) -> tuple[Sums, dict[str, np.ndarray]]:
    values = values_of(scene.plan, "gradient")
    return values, scene.masked(*OF, values, survived or scene.names)


def lying(reply: Unmasked, about: tuple[str, ...] = ()) -> Unmasked:
    """The reply with wrong shares, of these sites' secrets alone or of all."""
    return Unmasked(
        {name: WRONG if name in about or not about else share for name, share in reply.seeds.items()},
        {name: WRONG if name in about or not about else share for name, share in reply.keys.items()},
    )


# Wrong shares


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_wrong_shares_are_left_out_and_named(folder: Path, liars: int) -> None:
    """Of 13 sites 9 are enough: two wrong ones are found by decoding, up to four by trying."""
    scene = made(folder / f"{liars} liars", 13, colluding=3)
    values, masked = masked_by_all(scene)
    replies = scene.replies(*OF, scene.names)
    bad = scene.names[2 : 2 + liars]
    replies |= {name: lying(replies[name]) for name in bad}
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is not None
    assert (total == summed(values, scene.names)).all()
    assert faults == dict.fromkeys(bad, "its shares of 13 sites' secrets are wrong")


def test_wrong_shares_of_a_dropped_sites_key_are_left_out_and_named(folder: Path) -> None:
    scene = made(folder / "dropped", 13, colluding=3)
    survived = scene.names[:12]
    values, masked = masked_by_all(scene, survived)
    replies = scene.replies(*OF, survived)
    replies[scene.names[0]] = lying(replies[scene.names[0]])
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is not None
    assert (total == summed(values, survived)).all()
    assert set(faults) == {scene.names[0]}


def test_a_wrong_share_of_few_secrets_may_be_either_ones_and_is_said_so(folder: Path) -> None:
    """Who dealt it may have dealt it wrong: the coordinator can not tell."""
    scene = made(folder / "either", 5)
    values, masked = masked_by_all(scene)
    replies = scene.replies(*OF, scene.names)
    replies[scene.names[1]] = lying(replies[scene.names[1]], about=scene.names[3:4])
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is not None
    assert (total == summed(values, scene.names)).all()
    expected = f"its shares of 1 sites' secrets are wrong, unless they were dealt wrong by {scene.names[3]}"
    assert faults == {scene.names[1]: expected}


def test_with_nobody_to_spare_a_wrong_share_spoils_the_sum_and_it_is_said(folder: Path) -> None:
    scene = made(folder / "nobody to spare", 3)
    _, masked = masked_by_all(scene)
    replies = scene.replies(*OF, scene.names)
    replies[scene.names[1]] = lying(replies[scene.names[1]], about=scene.names[:1])
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is None
    assert faults == {scene.names[0]: UNRESTORED}


def test_a_replier_that_withholds_a_share_is_told_beside_the_site_that_it_would_frame(folder: Path) -> None:
    scene = made(folder / "framed", 5)
    _, masked = masked_by_all(scene)
    survived = scene.names[:4]
    masked, replies = {name: masked[name] for name in survived}, scene.replies(*OF, survived)
    one, framed = survived[0], survived[3]
    told = replies[one]
    replies[one] = Unmasked({name: share for name, share in told.seeds.items() if name != framed}, told.keys)
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is None
    assert faults == {framed: f"{UNRESTORED}; {one} told no share of it"}


def test_more_wrong_shares_than_can_be_mended_give_no_sum(folder: Path) -> None:
    scene = made(folder / "too many", 7, colluding=2)
    _, masked = masked_by_all(scene)
    replies = scene.replies(*OF, scene.names)
    replies |= {name: lying(replies[name]) for name in scene.names[:3]}
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is None
    assert set(faults) == set(scene.names)


@given(st.data())
def test_a_reply_of_another_form_counts_as_none_and_is_named(scene: Scene, data: st.DataObject) -> None:
    replies = {name: Unmasked(dict(one.seeds), dict(one.keys)) for name, one in scene.replies(*OF, scene.names).items()}
    masked = scene.masked(*OF, values_of(scene.plan, "gradient"), scene.names)
    bad = data.draw(st.sampled_from(scene.names))
    length = data.draw(st.integers(0, 100).filter(lambda n: n != SHARE_BYTES))
    other = data.draw(
        st.sampled_from(
            [
                Unmasked({bad: bytes(length)}, {}),
                Unmasked({"stranger": WRONG}, {}),
                Unmasked({}, {bad: WRONG}),
                Unmasked({}, {"stranger": WRONG}),
            ]
        )
    )
    total, faults = scene.coordinator.unmasked(*OF, masked, {**replies, bad: other, "stranger": other})
    assert total is not None
    assert list(faults) == [bad]
    fewer = {name: replies[name] for name in [name for name in scene.names if name != bad][:3]}
    with pytest.raises(Refused, match="shares of 4 sites"):
        scene.coordinator.unmasked(*OF, masked, {**fewer, bad: other})


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    made_up = made(folder / "five", 5)
    made_up.masked(*OF, values_of(made_up.plan, "gradient"), made_up.names)
    return made_up


# Wrong keys and shares from the beginning


def test_shares_that_do_not_open_stop_nobody(folder: Path) -> None:
    """One site seals rubbish for all others: its values are in the sum as long as it helps to unmask them."""
    scene = Scene(plan_of(5), folder / "rubbish")
    adverts = scene.coordinator.advertised({name: scene.sums[name].advert(RUN, scene.plan) for name in scene.names})
    shares = {name: dict(scene.sums[name].shares(RUN, scene.plan, adverts)) for name in scene.names}
    bad = scene.names[0]
    shares[bad] = {name: bag[:32] + bytes(len(bag) - 32) for name, bag in shares[bad].items()}
    scene.coordinator.shared(shares)
    assert scene.coordinator.roster == scene.names
    for name in scene.names:
        scene.ready(name)
    _, masked = masked_by_all(scene)
    replies = scene.replies(*OF, scene.names)
    assert [name for name, one in replies.items() if bad not in one.seeds] == list(scene.names[1:])
    total, faults = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is None
    others = ", ".join(scene.names[1:])
    assert faults == {bad: f"{UNRESTORED}; {others} told no share of it"}


def test_one_share_that_does_not_open_is_made_up_for(folder: Path) -> None:
    scene = Scene(plan_of(5), folder / "one")
    adverts = scene.coordinator.advertised({name: scene.sums[name].advert(RUN, scene.plan) for name in scene.names})
    shares = {name: dict(scene.sums[name].shares(RUN, scene.plan, adverts)) for name in scene.names}
    bag = shares[scene.names[0]][scene.names[1]]
    shares[scene.names[0]][scene.names[1]] = bag[:-1] + bytes([bag[-1] ^ 1])
    scene.coordinator.shared(shares)
    for name in scene.names:
        scene.ready(name)
    values, masked = masked_by_all(scene)
    total, _ = scene.coordinator.unmasked(*OF, masked, scene.replies(*OF, scene.names))
    assert total is not None
    assert (total == summed(values, scene.names)).all()


def test_sealed_shares_of_another_form_are_refused_by_their_sites_name(folder: Path) -> None:
    scene = Scene(plan_of(5, least=4), folder / "forms")
    adverts = scene.coordinator.advertised({name: scene.sums[name].advert(RUN, scene.plan) for name in scene.names})
    good = {name: scene.sums[name].shares(RUN, scene.plan, adverts) for name in scene.names}
    bad, someone = scene.names[0], scene.names[1]
    missing = {name: bag for name, bag in good[bad].items() if name != someone}
    for other in (
        missing,
        {**good[bad], bad: good[bad][someone]},
        {**good[bad], someone: good[bad][someone][:-1]},
        {**good[bad], someone: bytes(len(good[bad][someone]))},
    ):
        with pytest.raises(KithError, match=f"shares of '{bad}'"):
            scene.coordinator.check_shares(bad, other)
        with pytest.raises(KithError, match=f"shares of '{bad}'"):
            scene.coordinator.shared({**good, bad: other})
    with pytest.raises(InputError):
        scene.coordinator.check_shares("stranger", good[bad])


def test_unusable_keys_are_refused(folder: Path) -> None:
    scene = Scene(plan_of(5), folder / "keys")
    adverts = {name: scene.sums[name].advert(RUN, scene.plan) for name in scene.names}
    bad = scene.names[0]
    real = read_advert(adverts[bad], RUN, scene.plan, scene.keys)
    of_small_order = replace(real, masks=(bytes(32), *real.masks[1:]))
    too_few = replace(real, masks=real.masks[1:], commitments=real.commitments[1:])
    for other in (
        sign_advert(of_small_order, scene.signers[bad]),
        sign_advert(too_few, scene.signers[bad]),
        adverts[scene.names[1]],
        b"{}",
        adverts[bad][:-1],
    ):
        coordinator = SumOfRun(RUN, scene.plan, scene.keys)
        with pytest.raises(KithError):
            coordinator.check_advert(bad, other)
        with pytest.raises(KithError):
            coordinator.advertised({**adverts, bad: other})


def test_a_seed_that_was_not_committed_to_is_named(folder: Path) -> None:
    """A site that commits to another seed than it masks with and deals: nothing else shows it."""
    scene = Scene(plan_of(5), folder / "commitment")
    adverts = {name: scene.sums[name].advert(RUN, scene.plan) for name in scene.names}
    bad = scene.names[0]
    real = read_advert(adverts[bad], RUN, scene.plan, scene.keys)
    other = replace(real, commitments=tuple(commitment(bytes([n]) * 32) for n in range(len(real.commitments))))
    site = scene.sums[bad]._of(RUN)
    site.__dict__["_own"] = other
    shown = scene.coordinator.advertised({**adverts, bad: site.advert()})
    scene.coordinator.shared({name: scene.sums[name].shares(RUN, scene.plan, shown) for name in scene.names})
    for name in scene.names:
        scene.ready(name)
    _, masked = masked_by_all(scene)
    total, faults = scene.coordinator.unmasked(*OF, masked, scene.replies(*OF, scene.names))
    assert total is None
    assert faults == {bad: UNRESTORED}


# Wrong values


def test_values_of_another_form_or_of_a_stranger_are_refused(scene: Scene) -> None:
    masked = scene.masked(*OF, values_of(scene.plan, "gradient"), scene.names)
    replies = scene.replies(*OF, scene.names)
    one = scene.names[0]
    for bad in ({**masked, one: masked[one][:2]}, {**masked, one: masked[one].view(np.int64)}):
        with pytest.raises(InputError, match="expected 3 uint64 values"):
            scene.coordinator.unmasked(*OF, bad, replies)
    with pytest.raises(InputError, match="values of sites of the sum"):
        scene.coordinator.unmasked(*OF, {**masked, "stranger": masked[one]}, replies)


def test_a_wrong_mask_spoils_the_whole_sum_which_looks_random(scene: Scene) -> None:
    """Nobody can tell whose it was: a caller sees that the sum is out of every range."""
    masked = scene.masked(*OF, values_of(scene.plan, "gradient"), scene.names)
    masked[scene.names[0]] = masked[scene.names[0]] + np.uint64(2**63)
    total, faults = scene.coordinator.unmasked(*OF, masked, scene.replies(*OF, scene.names))
    assert total is not None
    assert (np.abs(total.astype(object)) > 2**62).all()
    assert faults == {}


# Signatures under lists


def test_a_signature_that_is_none_is_known_before_it_is_passed_on(scene: Scene, folder: Path) -> None:
    own = made(folder / "signatures", 5)
    own.masked(*OF, values_of(own.plan, "gradient"), own.names)
    survived = own.names[:4]
    signed = own.signatures(*OF, survived)
    for name, signature in signed.items():
        own.coordinator.check_agreed(name, *OF, survived, signature)
    for name, other in combinations(survived, 2):
        with pytest.raises(VerificationFailed):
            own.coordinator.check_agreed(name, *OF, survived, signed[other])
    with pytest.raises(VerificationFailed):
        own.coordinator.check_agreed(survived[0], "gradient", 1, survived, signed[survived[0]])


# Checkpoints


def test_a_coordinator_goes_on_from_its_checkpoint(folder: Path) -> None:
    scene = made(folder / "checkpoint", 5)
    document = scene.coordinator.to_document()
    again = SumOfRun.from_document(document, RUN, scene.plan, scene.keys)
    assert again.to_document() == document
    survived = scene.names[1:]
    values, masked = masked_by_all(scene, survived)
    total, faults = again.unmasked(*OF, masked, scene.replies(*OF, survived))
    assert total is not None
    assert (total == summed(values, survived)).all()
    assert faults == {}


def test_a_checkpoint_that_is_none_is_refused(scene: Scene) -> None:
    document = scene.coordinator.to_document()
    for other in (
        None,
        {},
        {**document, "roster": [*document["roster"], "stranger"]},
        {**document, "inboxes": {}},
        {**document, "inboxes": {"a": 1}},
        {**document, "adverts": {}},
        {**document, "adverts": {scene.names[0]: "!"}},
        {**document, "roster": 1},
    ):
        with pytest.raises(KithError):
            SumOfRun.from_document(other, RUN, scene.plan, scene.keys)


def test_no_secret_is_in_a_checkpoint(scene: Scene) -> None:
    written = canonical.to_bytes(scene.coordinator.to_document())
    for name in scene.names:
        secrets = scene.sums[name]._of(RUN)._secrets
        for secret in (secrets.root, secrets.seed(1), secrets._piece(4)):
            assert fields.to_base64(secret)[:40].encode() not in written
