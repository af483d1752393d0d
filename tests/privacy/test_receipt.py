from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest

from privacy import signing, statement
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.receipt import Receipt, open_receipt, sign_receipt
from privacy.statement import Statement, Subject
from tests.privacy.small_release import NOW, FixedSigner, plan, state_of

SIGNER = FixedSigner(2)
VERIFIER = signing.verifier(SIGNER.public)
RECEIPT = Receipt(
    site="North",
    run="run-1",
    plan=plan().digest,
    event="gradient",
    index=1,
    state=state_of("gradient", 1),
    mu2="0.0625",
    position=6,
    leaf=hashlib.sha256(b"leaf").hexdigest(),
    noise="os",
    code=hashlib.sha256(b"code").hexdigest(),
    issued_at=NOW,
    contribution=hashlib.sha256(b"values").hexdigest(),
)


def test_a_receipt_is_the_golden_one(golden: Callable[[str, bytes], None]) -> None:
    golden("receipt.dsse.json", sign_receipt(RECEIPT, SIGNER))


def test_a_signed_receipt_comes_back() -> None:
    assert open_receipt(sign_receipt(RECEIPT, SIGNER), VERIFIER) == RECEIPT


def test_another_sites_key_does_not_open_it() -> None:
    with pytest.raises(VerificationFailed, match="signatures of exactly"):
        open_receipt(sign_receipt(RECEIPT, FixedSigner(3)), VERIFIER)


def test_one_changed_byte_anywhere_is_refused() -> None:
    data = sign_receipt(RECEIPT, SIGNER)
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(KithError):
            open_receipt(changed, VERIFIER)


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"position": True},
        {"mu2": "0.06250"},
        {"mu2": "-1"},
        {"mu2": "NaN"},
        {"plan": "A" * 64},
        {"site": ""},
        {"noise": 1},
    ],
)
def test_facts_that_are_none_are_refused_however_well_signed(change: dict[str, object]) -> None:
    signed = sign_receipt(replace(RECEIPT, **change), SIGNER)
    with pytest.raises(InputError, match=next(iter(change))):
        open_receipt(signed, VERIFIER)


@pytest.mark.parametrize("name", ["site", "leaf", "extra"])
def test_a_missing_or_further_fact_is_refused(name: str) -> None:
    predicate = asdict(RECEIPT)
    subject = Subject("contribution", predicate.pop("contribution"))
    if predicate.pop(name, None) is None:
        predicate[name] = "x"
    signed = statement.seal(Statement((subject,), statement.RECEIPT, predicate), SIGNER)
    with pytest.raises(InputError, match="exactly"):
        open_receipt(signed, VERIFIER)
