"""What forgers do to a release, with and without keys: the tools of the tampering tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from privacy import canonical, checkpoint, dsse, entries, merkle, release_files
from privacy.certificate import Certificate, open_certificate
from privacy.checkpoint import Checkpoint
from privacy.entries import Entry
from privacy.ledger_excerpt import LedgerExcerpt, Proof
from privacy.plan import Plan
from privacy.receipt import Receipt, open_receipt, sign_receipt
from privacy.signing import Signer
from privacy.trust_roots import PinnedKeys
from privacy.verdict import Verdict
from privacy.verify import verify_files
from tests.privacy.small_release import Group

Files = dict[str, bytes]


@dataclass(frozen=True)
class Shown:
    """What an officer is shown, and what the officer holds against it."""

    files: Mapping[str, bytes]
    pinned: PinnedKeys
    prior: bytes | None = None
    contract: bytes | None = None

    def verdict(self) -> Verdict:
        return verify_files(self.files, self.pinned, self.prior, self.contract)


def certificate_of(group: Group, files: Mapping[str, bytes]) -> Certificate:
    return open_certificate(files[release_files.CERTIFICATE], group.roots.coordinator)[0]


def certified(group: Group, files: Mapping[str, bytes], **changes: Any) -> Files:
    """The files under a certificate that the coordinator has changed and signed again."""
    return group.certified(files, replace(certificate_of(group, files), **changes))


def payload_of(envelope: bytes) -> bytes:
    return dsse.Envelope.from_bytes(envelope).payload


def signed_payload(group: Group, files: Mapping[str, bytes], change: Callable[[bytes], bytes]) -> Files:
    """The files under a payload of other bytes, which the coordinator signed."""
    payload = change(payload_of(files[release_files.CERTIFICATE]))
    return {**files, release_files.CERTIFICATE: dsse.sign(payload, group.coordinator).to_bytes()}


def signed_statement(group: Group, files: Mapping[str, bytes], change: Callable[[dict[str, Any]], object]) -> Files:
    """The files under a changed statement, canonical, which the coordinator signed."""

    def changed(payload: bytes) -> bytes:
        document = json.loads(payload)
        change(document)
        return canonical.to_bytes(document)

    return signed_payload(group, files, changed)


def replaced(data: bytes, old: str, new: str) -> bytes:
    """`data` with one occurrence of `old` replaced; the test is void if there is none."""
    assert old.encode() in data, old
    return data.replace(old.encode(), new.encode(), 1)


def lines_of(files: Mapping[str, bytes], n: int) -> list[bytes]:
    return files[release_files.receipts(n)].splitlines(keepends=True)


def with_lines(group: Group, files: Mapping[str, bytes], n: int, lines: Iterable[bytes]) -> Files:
    """The files with other receipts of site `n`, under the coordinator's new signature."""
    return certified(group, {**files, release_files.receipts(n): b"".join(lines)})


def receipt_of(group: Group, files: Mapping[str, bytes], n: int, line: int) -> Receipt:
    return open_receipt(lines_of(files, n)[line][:-1], group.roots.sites[group.sites[n].name])


def with_receipt(
    group: Group, files: Mapping[str, bytes], line: int, n: int = 0, signer: Signer | None = None, **changes: Any
) -> Files:
    """The files after site `n` (or another signer) signed one receipt anew, and the coordinator all of it."""
    lines, receipt = lines_of(files, n), receipt_of(group, files, n, line)
    lines[line] = sign_receipt(replace(receipt, **changes), signer or group.sites[n].signer) + b"\n"
    return with_lines(group, files, n, lines)


def excerpt_of(files: Mapping[str, bytes], n: int) -> LedgerExcerpt:
    return LedgerExcerpt.from_bytes(files[release_files.ledger(n)], f"ledger/{n}.json")


def with_excerpt(group: Group, files: Mapping[str, bytes], n: int, excerpt: LedgerExcerpt, **changes: Any) -> Files:
    """The files with another excerpt of site `n`, under the coordinator's new signature."""
    return certified(group, {**files, release_files.ledger(n): excerpt.to_bytes()}, **changes)


def rewritten(
    group: Group,
    files: Mapping[str, bytes],
    change: Callable[[int, Entry], Entry],
    n: int = 0,
    witnessed: bool = True,
    accounted: bool = True,
) -> Files:
    """The files after site `n` made its whole log anew, signed it and its receipts, and everybody went along.

    Args:
        group: whose keys are used.
        files: a release.
        change: what becomes of each entry that is shown, by position.
        n: the site.
        witnessed: whether the other sites cosign the new checkpoint.
        accounted: whether the certificate states the new log's figures, or only its size and root.
    """
    excerpt, site = excerpt_of(files, n), group.sites[n]
    proofs = [excerpt.opened, *([excerpt.budget] if excerpt.budget else []), excerpt.reserve, *excerpt.charges]
    shown = {p.position: entries.to_leaf(change(p.position, entries.from_leaf(p.leaf, "entry"))) for p in proofs}
    leaves = [shown.get(position, b"another's entry") for position in range(excerpt.size)]
    tree = merkle.Tree.of([merkle.leaf_hash(leaf) for leaf in leaves])

    def proof(old: Proof) -> Proof:
        return Proof(leaves[old.position], old.position, tree.inclusion(old.position))

    head = Checkpoint(checkpoint.origin_of(site.name), tree.size, tree.root())
    forged = replace(
        excerpt,
        checkpoint=checkpoint.sign(head, site.signer),
        opened=proof(excerpt.opened),
        budget=proof(excerpt.budget) if excerpt.budget else None,
        reserve=proof(excerpt.reserve),
        charges=tuple(map(proof, excerpt.charges)),
    )
    forged = group.witnessed(forged) if witnessed else forged
    result = {**files, release_files.ledger(n): forged.to_bytes()}
    for line in range(len(lines_of(files, n))):
        position = receipt_of(group, result, n, line).position
        result = with_receipt(group, result, line, n, leaf=merkle.leaf_hash(leaves[position]).hex())
    accounts = list(certificate_of(group, files).accounts)
    accounts[n] = replace(accounts[n], size=head.size, root=head.root.hex())
    if accounted:
        accounts = list(group.accounts(Plan.from_bytes(files[release_files.PLAN]), result))
    return certified(group, result, accounts=tuple(accounts))
