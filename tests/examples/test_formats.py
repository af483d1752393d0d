"""docs/formats.md held against the code: every field of every signed format, and its worked examples."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from privacy import amounts, checkpoint, consistency, dsse, entries, marks, merkle, signing
from privacy.budget import DECISION, Budget, PurposeGroup
from privacy.certificate import (
    MAX_ABSENCES,
    REASONS,
    Absence,
    AuditSummary,
    Certificate,
    KeysUsed,
    Mechanism,
    SiteAccount,
)
from privacy.checkpoint import COSIGNATURE_KEY, Checkpoint
from privacy.consistency import Continuation, Statement
from privacy.cost import DELTAS, LEAVERS, RELEASES, Cost
from privacy.entries import Charged, Decided, Ended, Opened, Reserved, Settled
from privacy.key_list import KEY_LIST, Key, KeyList
from privacy.measures_file import FORMAT
from privacy.plan import MECHANISMS, TRUSTS, GaussianSum, Plan, SiteBound
from privacy.receipt import Receipt
from privacy.statement import CERTIFICATE, RECEIPT
from tests.privacy.fixed_signer import FixedSigner

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
NOT_WRITTEN = {KeyList: {"envelope"}}
"""Fields that a class keeps for itself."""


@pytest.mark.parametrize(
    ("section", "cls"),
    [
        pytest.param(section, cls, id=cls.__name__)
        for section, classes in {
            "Key list": (Key, KeyList),
            "Plan": (GaussianSum, SiteBound, Plan),
            "Ledger entries": (Opened, Decided, Reserved, Charged, Settled, Ended),
            "Budget and decision": (Budget, PurposeGroup),
            "Statements on a log's growth": (Continuation, Statement),
            "Receipt": (Receipt,),
            "Certificate": (Certificate, Mechanism, SiteAccount, Absence, AuditSummary, KeysUsed, Cost),
        }.items()
        for cls in classes
    ],
)
def test_every_field_that_is_signed_is_on_the_page(section: str, cls: type) -> None:
    names = {field.name for field in dataclasses.fields(cls)} - NOT_WRITTEN.get(cls, set())
    missing = {name for name in names if not re.search(rf'["`]{name}["`]', SECTIONS[section])}
    assert not missing


def test_the_words_of_the_formats_are_on_the_page() -> None:
    words = {
        KEY_LIST,
        DECISION,
        RECEIPT,
        CERTIFICATE,
        *MECHANISMS,
        *TRUSTS,
        *REASONS,
        *DELTAS,
        *map(str, (*LEAVERS, *RELEASES)),
    }
    words |= {FORMAT} | {cls.kind for cls in (Opened, Decided, Reserved, Charged, Settled, Ended)}
    assert {word for word in words if f"`{word}`" not in PAGE} == set()
    assert dsse.PAYLOAD_TYPE in PAGE
    assert consistency.PAYLOAD_TYPE in PAGE


def test_bounds_on_the_page_are_those_of_the_code() -> None:
    for section, bound in (
        ("Certificate", MAX_ABSENCES),
        ("Ledger entries", entries.MAX_LEAF),
        ("The log and its checkpoint", checkpoint.MAX_BYTES),
        ("The log and its checkpoint", checkpoint.MAX_SIGNATURES),
        ("Statements on a log's growth", consistency.MAX_CONTINUATIONS),
        ("Statements on a log's growth", consistency.MAX_PROOF),
    ):
        assert f"{bound:,}" in SECTIONS[section]


def test_the_example_of_a_key_and_an_envelope() -> None:
    signer = FixedSigner(7)
    assert signer.public.hex() in PAGE
    assert f"`{signing.keyid(signer.public)}`" in PAGE
    assert dsse.pae(dsse.PAYLOAD_TYPE, b"{}").decode() in PAGE
    assert dsse.sign(b"{}", signer).to_bytes().decode() in PAGE


def test_the_examples_of_marks_and_a_cohort() -> None:
    key = marks.MarkKey(bytes(range(32)))
    people = {number: key.mark(number) for number in ("1001", "1002")}
    for number, mark in people.items():
        assert f"| `{number}` | `{mark.hex()}` |" in PAGE
    assert f"`{marks.cohort_digest(bytes(32), frozenset(people.values()))}`" in PAGE


def test_the_examples_of_a_leaf_a_price_and_a_cosigned_checkpoint() -> None:
    leaf = entries.to_leaf(Ended("run-1", 1_763_000_000))
    assert f"`{leaf.decode()}`" in PAGE
    assert f"`{merkle.leaf_hash(leaf).hex()}`" in PAGE
    assert f"`{amounts.to_text(amounts.once(GaussianSum('one', 1, 1, 0, 1, 3)))}`" in PAGE
    site, witness, other = FixedSigner(7), FixedSigner(8), checkpoint.origin_of("North")
    head = Checkpoint(checkpoint.origin_of("South & West"), 1, merkle.leaf_hash(leaf))
    note = checkpoint.cosign(checkpoint.sign(head, site), other, witness, 1_763_000_000)
    assert "\n".join(f"    {line}" if line else "" for line in note.splitlines()) in PAGE
    assert checkpoint.verifier_key(head.origin, site.public) in PAGE
    assert checkpoint.verifier_key(other, witness.public, COSIGNATURE_KEY) in PAGE
