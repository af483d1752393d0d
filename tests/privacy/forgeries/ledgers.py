"""Forged excerpts, logs made anew, and forged decisions of officers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from privacy import amounts, checkpoint, key_list, merkle, release_files
from privacy.budget import sign_decision
from privacy.entries import Charged, Decided, Entry, Opened, Reserved
from privacy.ledger_excerpt import LedgerExcerpt
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.forgeries.scene import (
    Scene,
    decided_budget,
    refused_by,
)
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    excerpt_of,
    replaced,
    rewritten,
    with_excerpt,
    with_receipt,
)
from tests.privacy.small_release import (
    NOW,
    OFFICERS,
    SITES,
    Group,
    budget,
    plan,
)


@refused_by(8)
def excerpt_of_the_earlier_run__by_coordinator(scene: Scene) -> Files:
    return with_excerpt(scene.group, scene.files, 0, excerpt_of(scene.earlier, 0))


@refused_by(8)
def excerpt_of_the_other_site__by_coordinator(scene: Scene) -> Files:
    return with_excerpt(scene.group, scene.files, 0, excerpt_of(scene.files, 1))


@refused_by(8)
def log_truncated_to_the_earlier_checkpoint__by_coordinator(scene: Scene) -> Files:
    earlier = excerpt_of(scene.earlier, 0)
    forged = replace(excerpt_of(scene.files, 0), checkpoint=earlier.checkpoint, size=earlier.size)
    first, second = certificate_of(scene.group, scene.files).accounts
    root = certificate_of(scene.group, scene.earlier).accounts[0].root
    accounts = (replace(first, size=earlier.size, root=root), second)
    return with_excerpt(scene.group, scene.files, 0, forged, accounts=accounts)


@refused_by(8)
def log_forked_at_the_same_size__by_coordinator(scene: Scene) -> Files:
    return with_body(scene, lambda size, root: (size, "A" * 43 + "="))


@refused_by(8)
def log_grown_without_the_site__by_coordinator(scene: Scene) -> Files:
    return with_body(scene, lambda size, root: (size + 1, root))


def with_body(scene: Scene, change: Callable[[int, str], tuple[int, str]]) -> Files:
    """The release with another size or root above the signatures of the first site's checkpoint."""
    excerpt = excerpt_of(scene.files, 0)
    origin, old_size, old_root, rest = excerpt.checkpoint.split("\n", 3)
    size, root = change(int(old_size), old_root)
    forged = replace(excerpt, checkpoint=f"{origin}\n{size}\n{root}\n{rest}", size=size)
    raw = key_list.fields.from_base64(root, "root").hex()
    first, second = certificate_of(scene.group, scene.files).accounts
    return with_excerpt(scene.group, scene.files, 0, forged, accounts=(replace(first, size=size, root=raw), second))


@refused_by(8)
def checkpoint_signed_by_another_site__by_coordinator(scene: Scene) -> Files:
    other = scene.group.sites[1].signer
    head = checkpoint.read_unverified(excerpt_of(scene.files, 0).checkpoint)
    forged = replace(excerpt_of(scene.files, 0), checkpoint=checkpoint.sign(head, other))
    return with_excerpt(scene.group, scene.files, 0, forged)


@refused_by(8)
def checkpoint_with_its_own_signature_removed__by_coordinator(scene: Scene) -> Files:
    excerpt = excerpt_of(scene.files, 0)
    body, _, signatures = excerpt.checkpoint.partition("\n\n")
    others = signatures.split("\n", 1)[1]
    return with_excerpt(scene.group, scene.files, 0, replace(excerpt, checkpoint=f"{body}\n\n{others}"))


def excerpt(name: str, change: Callable[[LedgerExcerpt, LedgerExcerpt], LedgerExcerpt]) -> None:
    """The first site's excerpt, from it and the earlier run's."""

    def forgery(scene: Scene) -> Files:
        return with_excerpt(
            scene.group, scene.files, 0, change(excerpt_of(scene.files, 0), excerpt_of(scene.earlier, 0))
        )

    forgery.__name__ = f"excerpt_{name}__by_coordinator"
    refused_by(8)(forgery)


excerpt("with_a_charge_left_out", lambda new, old: replace(new, charges=new.charges[:-1]))
excerpt("without_charges", lambda new, old: replace(new, charges=()))
excerpt("with_a_charge_doubled", lambda new, old: replace(new, charges=(*new.charges, new.charges[-1])))
excerpt("with_charges_in_another_order", lambda new, old: replace(new, charges=new.charges[::-1]))
excerpt("with_charges_of_the_earlier_run", lambda new, old: replace(new, charges=old.charges))
excerpt("with_the_reservation_of_the_earlier_run", lambda new, old: replace(new, reserve=old.reserve))
excerpt("with_a_charge_as_reservation", lambda new, old: replace(new, reserve=new.charges[0]))
excerpt("with_a_charge_as_opening", lambda new, old: replace(new, opened=new.charges[0]))
excerpt("with_a_charge_as_decision", lambda new, old: replace(new, budget=new.charges[0]))
excerpt("with_the_opening_as_decision", lambda new, old: replace(new, budget=new.opened))
excerpt("of_another_size", lambda new, old: replace(new, size=new.size + 1))
excerpt("with_a_proof_of_another_charge", lambda new, old: change_charge(new, path=new.charges[1].path))
excerpt("with_the_leaf_of_another_charge", lambda new, old: change_charge(new, leaf=new.charges[1].leaf))
excerpt("with_a_charge_at_another_position", lambda new, old: change_charge(new, position=new.charges[0].position + 1))
excerpt("with_an_empty_proof", lambda new, old: change_charge(new, path=()))
excerpt("with_an_endless_proof", lambda new, old: change_charge(new, path=new.charges[0].path * 20))
excerpt(
    "with_a_charge_cheaper_than_it_is",
    lambda new, old: change_charge(new, leaf=replaced(new.charges[0].leaf, '"mu2":"0.25"', '"mu2":"0.05"')),
)
excerpt(
    "with_a_higher_cap",
    lambda new, old: replace(new, opened=replace(new.opened, leaf=replaced(new.opened.leaf, '"cap":"2"', '"cap":"9"'))),
)
excerpt(
    "with_a_group_renamed",
    lambda new, old: replace(
        new, opened=replace(new.opened, leaf=replaced(new.opened.leaf, '"name":"all"', '"name":"any"'))
    ),
)


def change_charge(excerpt: LedgerExcerpt, **changes: Any) -> LedgerExcerpt:
    return replace(excerpt, charges=(replace(excerpt.charges[0], **changes), *excerpt.charges[1:]))


def excerpt_bytes(name: str, change: Callable[[bytes], bytes]) -> None:
    """ledger/0.json in other bytes, whose digest the certificate states."""

    def forgery(scene: Scene) -> Files:
        where = release_files.ledger(0)
        return scene.certified({where: change(scene.files[where])})

    forgery.__name__ = f"excerpt_{name}__by_coordinator"
    refused_by(8)(forgery)


excerpt_bytes("with_a_space", lambda data: data + b" ")
excerpt_bytes("with_a_byte_order_mark", lambda data: b"\xef\xbb\xbf" + data)
excerpt_bytes("with_a_key_twice", lambda data: b'{"budget":null,' + data[1:])
excerpt_bytes("with_a_fraction", lambda data: replaced(data, '"index":0', '"index":0.0'))
excerpt_bytes("with_10_to_the_400", lambda data: replaced(data, '"index":0', f'"index":{10**400}'))


def hidden(name: str, hides: Callable[[Charged], bool]) -> None:
    """Repeated charges left out of the excerpt; what they cost is moved to before the run."""

    def forgery(scene: Scene) -> Shown:
        group, files = scene.crashed
        whole = excerpt_of(files, 0)
        charges = whole.verified(SITES[0], group.roots.sites[SITES[0]]).charges
        kept = tuple(proof for proof in whole.charges if not hides(charges[proof.position]))
        forged = replace(whole, charges=kept)
        first, second = certificate_of(group, files).accounts
        charged = sum((Fraction(charges[proof.position].mu2) for proof in kept), Fraction(0))
        before = amounts.to_text(Fraction(first.total_after) - charged)
        account = replace(first, total_before=before, worst_before=before, group_before=before)
        return Shown(with_excerpt(group, files, 0, forged, accounts=(account, second)), group.pinned)

    forgery.__name__ = f"repeated_charges_hidden_{name}__by_coordinator"
    refused_by(8)(forgery)


hidden("all_first_attempts", lambda charge: charge.attempt == 0)
hidden("all_second_attempts", lambda charge: charge.attempt == 1)
hidden("the_first_of_all", lambda charge: (charge.event, charge.index, charge.attempt) == ("second-moments", 0, 0))
hidden("the_last_repeated", lambda charge: (charge.event, charge.index, charge.attempt) == ("gradient", 1, 0))
hidden("a_whole_release", lambda charge: (charge.event, charge.index) == ("gradient", 1))


@refused_by(8)
def a_receipt_moved_to_an_earlier_attempt__by_site(scene: Scene) -> Shown:
    group, files = scene.crashed
    earlier = excerpt_of(files, 0).charges[0]
    leaf = merkle.leaf_hash(earlier.leaf).hex()
    return Shown(with_receipt(group, files, 0, position=earlier.position, leaf=leaf), group.pinned)


def log(
    name: str,
    check: int,
    change: Callable[[int, Entry], Entry],
    of: Callable[[Scene], tuple[Group, Files]] = lambda scene: (scene.group, scene.files),
    **options: bool,
) -> None:
    """The first site's whole log made anew, consistently, with all signatures that this takes."""

    def forgery(scene: Scene) -> Shown:
        group, files = of(scene)
        return Shown(rewritten(group, files, change, **options), group.pinned)

    forgery.__name__ = f"log_rewritten_{name}__by_everyone"
    refused_by(check)(forgery)


def when(kind: type[Entry], **changes: Any) -> Callable[[int, Entry], Entry]:
    """Changes of every entry of a kind."""
    return lambda position, entry: replace(entry, **changes) if isinstance(entry, kind) else entry


def charge_of(event: str, index: int, /, **changes: Any) -> Callable[[int, Entry], Entry]:
    """Changes of the charges of one release."""

    def change(position: int, entry: Entry) -> Entry:
        mine = isinstance(entry, Charged) and (entry.event, entry.index) == (event, index)
        return replace(entry, **changes) if mine else entry

    return change


log("with_a_charge_of_another_plan", 8, charge_of("gradient", 1, plan=plan().digest), accounted=False)
log("with_a_charge_of_another_run", 8, charge_of("gradient", 1, run="run-0"), accounted=False)
log("with_a_charge_of_another_state", 8, charge_of("gradient", 1, state="0" * 64), accounted=False)
log("with_a_charge_of_an_unknown_event", 8, charge_of("gradient", 1, event="more"), accounted=False)
log("with_a_charge_below_the_plan", 8, charge_of("gradient", 1, mu2="0.01"), accounted=False)
log("with_a_charge_of_a_second_attempt", 8, charge_of("gradient", 1, attempt=1), accounted=False)
log("with_a_charge_on_another_cohort", 8, charge_of("gradient", 1, cohort="0" * 64), accounted=False)
log("with_a_reservation_of_another_run", 8, when(Reserved, run="run-0"), accounted=False)
log("with_a_reservation_under_another_group", 8, when(Reserved, group="other"), accounted=False)
log("with_a_reservation_under_another_budget", 8, when(Reserved, budget=1), accounted=False)
log("with_a_reservation_for_another_use", 15, when(Reserved, use_case="mentoring"))
log("with_a_reservation_of_less", 15, when(Reserved, mu2="0.01"))
log("opened_by_another_site", 8, when(Opened, site=SITES[1]), accounted=False)
log("with_a_cap_below_the_plan", 15, when(Opened, budget=budget(Decimal("0.1"))))
log("with_a_cap_below_its_repeated_charges", 15, when(Opened, budget=budget(Decimal("0.5"))), of=lambda s: s.crashed)
log("with_a_total_that_rises_too_little", 9, charge_of("gradient", 1, spent="0.7"))
log("with_a_total_that_rises_too_much", 9, charge_of("gradient", 1, spent="1.9", lifetime="1.9"))
log("with_less_for_the_group_than_charged", 9, charge_of("second-moments", 0, group_spent="0.1"))
log("with_more_for_the_group_than_in_all", 9, charge_of("gradient", 1, group_spent="1.9"))
log("with_a_lifetime_below_the_period", 9, charge_of("gradient", 1, lifetime="0.5"))
log("without_its_witnesses", 16, when(Ellipsis.__class__), witnessed=False, accounted=False)


def decision(name: str, check: int, *officers: FixedSigner, **changes: Any) -> None:
    """The officers' decision in the first site's log replaced by another, and the log made anew around it."""

    def forgery(scene: Scene) -> Shown:
        group, files = scene.decided
        ledger = changes.get("ledger", group.sites[0].ledger.id)
        facts = {name: value for name, value in changes.items() if name != "ledger"}
        made = sign_decision(replace(decided_budget(), **facts), ledger, *officers)
        entry = Decided(key_list.fields.to_base64(made), NOW)
        forged = rewritten(group, files, lambda _, old: entry if isinstance(old, Decided) else old, accounted=False)
        return Shown(forged, group.pinned)

    forgery.__name__ = f"decision_{name}__by_everyone"
    refused_by(check)(forgery)


decision("by_one_officer", 8, OFFICERS[0])
decision("by_strangers", 8, FixedSigner(7), FixedSigner(8))
decision("by_an_officer_and_a_stranger", 8, OFFICERS[0], FixedSigner(8))
decision("for_another_ledger", 8, *OFFICERS[:2], ledger="0" * 64)
decision("of_another_number", 8, *OFFICERS[:2], number=2)
decision("that_skips_a_period", 8, *OFFICERS[:2], period=2)
decision("with_a_higher_cap_than_certified", 15, *OFFICERS[:2], cap="9")
decision("with_another_label_than_certified", 15, *OFFICERS[:2], label="2028")


@refused_by(8)
def decision_left_out__by_coordinator(scene: Scene) -> Shown:
    group, files = scene.decided
    return Shown(with_excerpt(group, files, 0, replace(excerpt_of(files, 0), budget=None)), group.pinned)
