"""What a coordinator may try. It carries everything, signs requests, and wants to see one site's values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.secure_sum.adverts import Advert, read_advert, sign_advert
from federation.secure_sum.sum_store import SumStore
from privacy import dsse
from privacy.dsse import Envelope
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.key_agreement import AgreementKey
from privacy.plan import LOCAL
from tests.federation.secure_sum.scene import RUN, Scene, made, plan_of, values_of
from tests.privacy.fixed_signer import FixedSigner

OF = ("gradient", 0)


@pytest.fixture
def five(tmp_path: Path) -> Scene:
    """Five sites, of whom four are enough, which have all masked the first two gradients."""
    scene = made(tmp_path, 5)
    for index in (0, 1):
        scene.masked("gradient", index, values_of(scene.plan, "gradient"), scene.names)
    return scene


def without(scene: Scene, *gone: int) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(scene.names) if place not in gone)


# About who dropped out


def test_told_of_two_lists_of_survivors_a_site_signs_one(five: Scene) -> None:
    site = five.sums[five.names[0]]
    first = site.agree(RUN, *OF, without(five, 4))
    assert site.agree(RUN, *OF, without(five, 4)) == first
    for other in (without(five, 3), five.names):
        with pytest.raises(Refused, match="expected the same as before"):
            site.agree(RUN, *OF, other)


def test_having_unmasked_one_list_a_site_unmasks_and_signs_no_other(five: Scene) -> None:
    """Else one half would tell a site's seed and the other half its key."""
    first, *_, last = five.names
    five.unmask(first, *OF, five.names, {})
    with pytest.raises(Refused, match="expected the same as before"):
        five.sums[first].agree(RUN, *OF, without(five, 4))
    signed = {name: five.sums[name].agree(RUN, *OF, without(five, 4)) for name in without(five, 0, 4)}
    signed |= {first: b"\0" * 64}
    with pytest.raises(Refused, match="expected 4 signatures of survivors, got 3"):
        five.unmask(five.names[1], *OF, without(five, 4), signed)
    assert last not in without(five, 4)


def test_a_list_that_is_not_of_everybody_is_not_unmasked_without_signatures(five: Scene) -> None:
    with pytest.raises(Refused, match="expected 4 signatures of survivors, got 0"):
        five.unmask(five.names[0], *OF, without(five, 4), {})


def test_signatures_of_another_list_release_run_or_site_do_not_count(five: Scene, tmp_path: Path) -> None:
    survived = without(five, 4)
    another_list = {name: five.sums[name].agree(RUN, "gradient", 1, without(five, 3)) for name in without(five, 3)}
    moments = values_of(five.plan, "second-moments")
    five.masked("second-moments", 0, moments, five.names)
    another_release = {name: five.sums[name].agree(RUN, "second-moments", 0, survived) for name in survived}
    other = Scene(five.plan, tmp_path / "other", seed=1)
    for name in other.names:
        other.sums[name].advert("other run", other.plan)
    one_signs_for_all = {name: five.signers[five.names[0]].sign(b"") for name in survived}
    swapped = dict(zip(survived, reversed(another_release.values()), strict=True))
    for signed in (another_list, another_release, one_signs_for_all, swapped):
        with pytest.raises(Refused, match="expected 4 signatures of survivors, got 0"):
            five.unmask(five.names[0], *OF, survived, signed)


def test_a_signature_given_twice_counts_once(five: Scene) -> None:
    survived = without(five, 4)
    signed = {name: five.sums[name].agree(RUN, *OF, survived) for name in survived[:3]}
    doubled = signed | {survived[3]: signed[survived[0]], "nobody": signed[survived[0]]}
    with pytest.raises(Refused, match="expected 4 signatures of survivors, got 3"):
        five.unmask(five.names[0], *OF, survived, doubled)


def test_a_signature_of_somebody_who_is_not_on_the_list_does_not_count(five: Scene) -> None:
    survived = without(five, 4)
    signed = {name: five.sums[name].agree(RUN, *OF, survived) for name in survived[:3]}
    with pytest.raises(Refused, match="expected this site among them"):
        five.sums[five.names[4]].agree(RUN, *OF, survived)
    with pytest.raises(Refused, match="got 3"):
        five.unmask(five.names[0], *OF, survived, signed | {five.names[4]: b"\0" * 64})


def test_a_site_said_to_have_dropped_out_helps_nobody_to_its_own_values(five: Scene) -> None:
    """Its values have arrived, its mask key is told by the others: its own mask still hides them."""
    survived = without(five, 4)
    with pytest.raises(Refused, match="expected this site among them"):
        five.unmask(five.names[4], *OF, survived, {})
    replies = five.replies(*OF, survived)
    assert all(set(one.keys) == {five.names[4]} and set(one.seeds) == set(survived) for one in replies.values())


def test_nobody_gives_seed_and_key_of_one_site(five: Scene) -> None:
    for name, reply in five.replies(*OF, without(five, 2)).items():
        assert not set(reply.seeds) & set(reply.keys), name
        assert set(reply.seeds) | set(reply.keys) == set(five.names)


def test_a_list_that_is_too_short_out_of_order_or_of_strangers_is_refused(five: Scene) -> None:
    site = five.sums[five.names[0]]
    with pytest.raises(Refused, match="expected 4 at least, got 3"):
        site.agree(RUN, *OF, without(five, 3, 4))
    for survived in (five.names[::-1], (*without(five, 4), "stranger"), (*five.names[:4], five.names[3])):
        with pytest.raises(InputError, match="expected sites of the sum in order"):
            site.agree(RUN, *OF, survived)


def test_a_site_that_has_masked_nothing_signs_and_unmasks_nothing(five: Scene) -> None:
    with pytest.raises(Refused, match="expected this site's values to have been masked"):
        five.sums[five.names[0]].agree(RUN, "second-moments", 0, five.names)
    with pytest.raises(Refused, match="expected this site's values to have been masked"):
        five.unmask(five.names[0], "second-moments", 0, five.names, {})


# About who takes part


def test_two_lists_of_participants_are_found_out_by_name(tmp_path: Path) -> None:
    scene = Scene(plan_of(5), tmp_path)
    adverts = [scene.sums[name].advert(RUN, scene.plan) for name in scene.names]
    odd, *others = scene.names
    shares = {name: scene.sums[name].shares(RUN, scene.plan, adverts) for name in others}
    shares[odd] = scene.sums[odd].shares(RUN, scene.plan, adverts[:4])
    inbox = {name: shares[name][odd] for name in others[:3]}
    with pytest.raises(VerificationFailed, match=f"shares of '{others[0]}': expected the same list of participants"):
        scene.sums[odd].ready(RUN, scene.plan, inbox)
    inbox = {name: shares[name][others[0]] for name in scene.names[:4] if name != others[0]}
    with pytest.raises(VerificationFailed, match=f"shares of '{odd}': expected the same list of participants"):
        scene.sums[others[0]].ready(RUN, scene.plan, inbox)


def test_shown_another_list_of_participants_a_site_shares_nothing_again(five: Scene) -> None:
    adverts = [five.sums[name].advert(RUN, five.plan) for name in five.names]
    with pytest.raises(Refused, match="participants: expected the same as before"):
        five.sums[five.names[0]].shares(RUN, five.plan, adverts[:4])


def test_two_lists_of_the_sites_of_the_sum_are_not_both_taken(five: Scene) -> None:
    first = five.names[0]
    inbox = dict(five.coordinator.inboxes[first])
    five.sums[first].ready(RUN, five.plan, inbox)
    five.sums[first].ready(RUN, five.plan, {})
    del inbox[five.names[4]]
    with pytest.raises(Refused, match="expected those of before"):
        five.sums[first].ready(RUN, five.plan, inbox)


def test_sites_told_of_different_sums_have_masks_that_do_not_cancel(tmp_path: Path) -> None:
    """The list of the sum's sites is in every mask: split in two, nothing comes of either part."""
    scene = Scene(plan_of(5), tmp_path)
    adverts = scene.coordinator.advertised({name: scene.sums[name].advert(RUN, scene.plan) for name in scene.names})
    scene.coordinator.shared({name: scene.sums[name].shares(RUN, scene.plan, adverts) for name in scene.names})
    for name in scene.names:
        inbox = dict(scene.coordinator.inboxes[name])
        if name == scene.names[0]:
            del inbox[scene.names[4]]
        scene.sums[name].ready(RUN, scene.plan, inbox)
    values = {name: np.zeros(3, dtype=np.int64) for name in scene.names}
    masked = scene.masked(*OF, values, scene.names)
    replies = {name: scene.unmask(name, *OF, scene.names, {}) for name in scene.names[1:]}
    total, _ = scene.coordinator.unmasked(*OF, masked, replies)
    assert total is not None
    assert (np.abs(total) > 2**40).all()
    with pytest.raises(InputError, match="expected sites of the sum"):
        scene.unmask(scene.names[0], *OF, scene.names, {})


def test_an_inbox_with_a_stranger_or_oneself_is_refused(five: Scene) -> None:
    first = five.names[0]
    inbox = five.coordinator.inboxes[first]
    for name in ("stranger", first):
        with pytest.raises(InputError, match="expected those of other participants"):
            five.sums[first].ready(RUN, five.plan, {**inbox, name: b""})


# With keys of its own


def test_a_key_put_in_place_of_a_sites_own_is_refused(tmp_path: Path) -> None:
    """The man in the middle: the coordinator would know every mask that is shared with that site."""
    scene = Scene(plan_of(3), tmp_path)
    adverts = [scene.sums[name].advert(RUN, scene.plan) for name in scene.names]
    real = read_advert(adverts[1], RUN, scene.plan, scene.keys)
    mine = tuple(AgreementKey(bytes([n] * 32)).public for n in range(len(real.masks)))
    forged = Advert(RUN, real.plan, real.site, AgreementKey(bytes([99] * 32)).public, mine, real.commitments)
    unsigned = Envelope(*_parts(adverts[1], payload=forged.to_bytes())).to_bytes()
    resigned = sign_advert(forged, FixedSigner(99))
    by_another_site = sign_advert(forged, scene.signers[scene.names[2]])
    for bad in (unsigned, resigned, by_another_site):
        with pytest.raises(VerificationFailed):
            scene.sums[scene.names[0]].shares(RUN, scene.plan, [adverts[0], bad, adverts[2]])


def test_an_advert_signed_as_something_else_is_refused(tmp_path: Path) -> None:
    scene = Scene(plan_of(3), tmp_path)
    advert = Envelope.from_bytes(scene.sums[scene.names[1]].advert(RUN, scene.plan))
    other = dsse.sign(advert.payload, scene.signers[scene.names[1]], payload_type="application/other").to_bytes()
    with pytest.raises(VerificationFailed, match="payload type"):
        read_advert(other, RUN, scene.plan, scene.keys)


def test_adverts_of_another_run_or_plan_are_refused(tmp_path: Path) -> None:
    scene, other = Scene(plan_of(3), tmp_path / "a"), Scene(plan_of(3, colluding=2), tmp_path / "b")
    mine = scene.sums[scene.names[0]].advert(RUN, scene.plan)
    later = [scene.sums[name].advert("later", scene.plan) for name in scene.names[1:]]
    dearer = [other.sums[name].advert(RUN, other.plan) for name in scene.names[1:]]
    for theirs in (later, dearer):
        with pytest.raises(VerificationFailed, match="expected keys for this run and plan"):
            scene.sums[scene.names[0]].shares(RUN, scene.plan, [mine, *theirs])


def test_a_site_shown_twice_or_not_shown_its_own_keys_shares_nothing(tmp_path: Path) -> None:
    scene = Scene(plan_of(4, least=3), tmp_path)
    adverts = [scene.sums[name].advert(RUN, scene.plan) for name in scene.names]
    first = scene.sums[scene.names[0]]
    with pytest.raises(InputError, match="two of one"):
        first.shares(RUN, scene.plan, [*adverts[:3], adverts[2]])
    with pytest.raises(InputError, match="at most 4, got 5"):
        first.shares(RUN, scene.plan, [*adverts, adverts[0]])
    with pytest.raises(VerificationFailed, match="expected this site's own keys"):
        first.shares(RUN, scene.plan, adverts[1:])


def test_a_site_that_is_not_of_the_plan_is_no_participant(tmp_path: Path) -> None:
    scene, larger = Scene(plan_of(3), tmp_path / "a"), Scene(plan_of(4), tmp_path / "b")
    stranger = larger.sums[larger.names[3]].advert(RUN, larger.plan)
    with pytest.raises(VerificationFailed, match="expected one of a site of the plan"):
        read_advert(stranger, RUN, scene.plan, larger.keys)
    with pytest.raises(Refused, match="among them"):
        larger.sums[larger.names[3]].advert(RUN, scene.plan)


# With what was said before


def test_a_release_asked_for_again_gets_the_same_bytes_and_other_values_none(five: Scene) -> None:
    """A mask used for two vectors would tell their difference."""
    values = values_of(five.plan, "gradient")
    site = five.sums[five.names[0]]
    again = site.mask(RUN, *OF, values[five.names[0]])
    assert (again == five.masked(*OF, values, five.names[:1])[five.names[0]]).all()
    with pytest.raises(Refused, match="mask 0 gradient: expected the same as before"):
        site.mask(RUN, *OF, values[five.names[0]] + 1)


def test_another_plan_under_the_same_run_is_refused(five: Scene) -> None:
    other = plan_of(5, colluding=2)
    for ask in (
        lambda: five.sums[five.names[0]].advert(RUN, other),
        lambda: five.sums[five.names[0]].shares(RUN, other, []),
        lambda: five.sums[five.names[0]].ready(RUN, other, {}),
    ):
        with pytest.raises(Refused, match="expected the plan of before"):
            ask()


def test_a_run_that_has_ended_is_never_begun_again(five: Scene) -> None:
    """New keys for an old run would be a second chance at every decision."""
    first = five.names[0]
    five.sums[first].forget(RUN)
    five.sums[first].forget(RUN)
    values = values_of(five.plan, "gradient")[first]
    for ask in (
        lambda: five.sums[first].advert(RUN, five.plan),
        lambda: five.sums[first].mask(RUN, *OF, values),
        lambda: five.sums[first].agree(RUN, *OF, five.names),
        lambda: five.unmask(first, *OF, five.names, {}),
    ):
        with pytest.raises(Refused):
            ask()
    five.open(first)
    with pytest.raises(Refused, match="has ended here"):
        five.sums[first].advert(RUN, five.plan)


def test_what_is_forgotten_is_in_the_file_no_more(tmp_path: Path) -> None:
    scene = made(tmp_path, 3)
    first = scene.names[0]
    store = SumStore(tmp_path / first / "sums.sqlite")
    root = store.read(RUN, "root")
    assert root is not None
    store.close()
    scene.sums[first].forget(RUN)
    kept = b"".join(path.read_bytes() for path in (tmp_path / first).iterdir())
    assert root not in kept
    assert root[-60:-5] not in kept


def test_a_run_that_never_began_is_answered_nothing(tmp_path: Path) -> None:
    scene = Scene(plan_of(3), tmp_path)
    first = scene.sums[scene.names[0]]
    with pytest.raises(Refused, match="expected one whose secure sum goes on here"):
        first.agree(RUN, *OF, scene.names)
    first.advert(RUN, scene.plan)
    with pytest.raises(Refused, match="shown the participants"):
        first.ready(RUN, scene.plan, {})
    with pytest.raises(Refused, match="given the others' shares"):
        first.mask(RUN, *OF, np.zeros(3, dtype=np.int64))


def test_a_plan_without_a_secure_sum_or_too_large_for_one_is_refused(tmp_path: Path) -> None:
    scene = Scene(plan_of(3), tmp_path)
    local = replace(scene.plan, trust=LOCAL, colluding=0)
    with pytest.raises(Refused, match="expected 'secure-sum'"):
        scene.sums[scene.names[0]].advert(RUN, local)
    with pytest.raises(Refused, match="at most 1000 sites"):
        scene.sums[scene.names[0]].advert(RUN, plan_of(1001))


@pytest.mark.parametrize(
    "values", [np.zeros(4, dtype=np.int64), np.zeros(3), np.zeros((3, 1), dtype=np.int64), np.zeros(3, dtype=np.int32)]
)
def test_values_that_are_not_the_plans_are_not_masked(five: Scene, values: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected 3 int64 values"):
        five.sums[five.names[0]].mask(RUN, *OF, values)


@pytest.mark.parametrize("of", [("gradient", 2), ("gradient", -1), ("other", 0)])
def test_a_release_that_is_not_of_the_plan_is_refused(five: Scene, of: tuple[str, int]) -> None:
    with pytest.raises(InputError, match="expected one of the plan"):
        five.sums[five.names[0]].agree(RUN, *of, five.names)
    with pytest.raises(InputError, match="expected one of the plan"):
        five.unmask(five.names[0], *of, five.names, {})


def _parts(envelope: bytes, payload: bytes) -> tuple[str, bytes, tuple[dsse.Signature, ...]]:
    read = Envelope.from_bytes(envelope)
    return read.payload_type, payload, read.signatures
