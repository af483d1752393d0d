"""What a site says of its own log counts as its own word alone: by what else somebody may bring in its place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy import canonical, checkpoint, consistency, dsse, signing
from privacy.checkpoint import Checkpoint
from privacy.consistency import PAYLOAD_TYPE, Continuation, Statement, open_statement, sign_statement
from privacy.errors import InputError, VerificationFailed
from tests.privacy.fixed_signer import FixedSigner

SIGNER, OTHER = FixedSigner(2), FixedSigner(3)
VERIFIER = signing.verifier(SIGNER.public)
NORTH = checkpoint.origin_of("North")
HELD = Checkpoint(NORTH, 9, bytes(range(32)))
SAID = Statement("run-1", NORTH, (Continuation(12, HELD, (bytes(32), b"1" * 32)), Continuation(5, HELD, ())))


def signed(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return dsse.sign(payload, SIGNER, payload_type=payload_type).to_bytes()


def test_a_statement_is_read_back_as_it_was_signed() -> None:
    for said in (SAID, replace(SAID, continuations=())):
        assert open_statement(sign_statement(said, SIGNER), "run-1", NORTH, VERIFIER) == said


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sign_statement(SAID, OTHER), id="another key's"),
        pytest.param(sign_statement(replace(SAID, run="run-2"), SIGNER), id="another run's"),
        pytest.param(sign_statement(replace(SAID, log="kith/South"), SIGNER), id="another log's"),
        pytest.param(signed(SAID.to_bytes(), "application/vnd.kith.reply+json"), id="signed as something else"),
    ],
)
def test_what_is_not_the_sites_own_word_in_this_run_does_not_count(data: bytes) -> None:
    with pytest.raises(VerificationFailed, match=f"proofs of {NORTH}"):
        open_statement(data, "run-1", NORTH, VERIFIER)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(32),
        SAID.to_bytes(),
        signed(b"{}"),
        signed(SAID.to_bytes() + b"\n"),
        signed(SAID.to_bytes().replace(b'"now":12', b'"now":"12"')),
        signed(SAID.to_bytes().replace(b"\\n9\\n", b"\\n09\\n")),
    ],
    ids=[
        "nothing",
        "hashes",
        "unsigned",
        "another object",
        "another writing",
        "no number",
        "another writing of a head",
    ],
)
def test_what_is_no_statement_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        open_statement(data, "run-1", NORTH, VERIFIER)


@pytest.mark.parametrize("proof", [(bytes(31),), (bytes(33),), (bytes(32),) * 64], ids=["short", "long", "many"])
def test_a_proof_is_at_most_63_hashes(proof: tuple[bytes, ...]) -> None:
    with pytest.raises(InputError, match="63 hashes"):
        open_statement(signed(Statement("run-1", NORTH, (Continuation(1, HELD, proof),)).to_bytes()), "", "", VERIFIER)


def test_the_longest_statement_is_read_and_no_longer_one() -> None:
    one = Continuation(2**53 - 1, replace(HELD, size=2**53 - 1), (bytes(32),) * consistency.MAX_PROOF)
    most = replace(SAID, continuations=(one,) * consistency.MAX_CONTINUATIONS)
    assert open_statement(sign_statement(most, SIGNER), "run-1", NORTH, VERIFIER) == most
    more = canonical.from_bytes(most.to_bytes(), "statement")
    more["continuations"].append(more["continuations"][0])
    with pytest.raises(InputError, match="at most 1000"):
        open_statement(signed(canonical.to_bytes(more)), "run-1", NORTH, VERIFIER)
