from __future__ import annotations

import json

import pytest

from privacy import canonical, signing, statement
from privacy.errors import InputError, VerificationFailed
from privacy.statement import Statement, Subject
from tests.privacy.small_release import FixedSigner

STATEMENT = Statement((Subject("file", "0" * 64),), statement.RECEIPT, {"a": 1})


def test_a_statement_comes_back_as_it_was() -> None:
    assert Statement.from_bytes(STATEMENT.to_bytes()) == STATEMENT


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicate": []},
        {"predicateType": 1},
        {"subject": []},
        {"subject": [{"name": "file", "digest": {"sha256": "0" * 64}}] * 2},
        {"subject": [{"name": "file", "digest": {"sha256": "A" * 64}}]},
        {"subject": [{"name": "file", "digest": {"sha1": "0" * 40}}]},
        {"subject": [{"name": "file", "digest": {"sha256": "0" * 64}, "uri": "x"}]},
        {"extra": 1},
    ],
)
def test_other_documents_are_refused(change: dict[str, object]) -> None:
    document = json.loads(STATEMENT.to_bytes()) | change
    with pytest.raises(InputError):
        Statement.from_bytes(canonical.to_bytes(document))


def test_another_writing_is_refused() -> None:
    with pytest.raises(InputError, match="canonical"):
        Statement.from_bytes(STATEMENT.to_bytes() + b" ")


def test_a_receipt_does_not_pass_for_a_certificate() -> None:
    signer = FixedSigner(7)
    sealed = statement.seal(STATEMENT, signer)
    with pytest.raises(VerificationFailed, match="certificate"):
        statement.unseal(sealed, signing.verifier(signer.public), statement.CERTIFICATE, "certificate")
