"""What a certificate rests on that is there before the run. What can not be certified is not begun."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from federation.environment import image
from federation.group import Group
from privacy import canonical, release_files
from privacy.cost import Cost, certify_cost
from privacy.errors import InputError, VerificationFailed
from privacy.plan import Plan
from privacy.trust_roots import PinnedKeys
from privacy.verify import verify_files
from privacy.verify_audit import check_audit

MAX_AUDIT: Final = 2**20


@dataclass(frozen=True)
class Basis:
    """The facts of a certificate that do not come from the sites.

    Attributes:
        plan, cost: what runs, and what it costs.
        audit: the plan's audit.json.
        prior: sha256 (hex) of the prior release's certificate.
        image: digest of the container.
    """

    plan: Plan
    cost: Cost
    audit: bytes | None
    prior: str | None
    image: str | None

    @classmethod
    def of(cls, group: Group, plan: Plan, audit: Path | None, prior: Path | None) -> Basis:
        """The basis of a certificate for `plan`, with the audit in a file and the prior release in a directory, if any.

        Raises:
            KithError: for what could not be certified.
        """
        return cls(
            plan=plan,
            cost=certify_cost(plan),
            audit=_audit(audit, plan) if audit else None,
            prior=_prior(prior, group) if prior else None,
            image=image(),
        )


def _audit(path: Path, plan: Plan) -> bytes:
    """audit.json: the audit in its one writing, if it is of this plan and found nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_AUDIT + 1)
    except OSError as error:
        raise InputError(f"audit {path}: expected a readable file, got {error.strerror}") from None
    audit = canonical.to_bytes(canonical.from_bytes(data, f"audit {path}", MAX_AUDIT))
    check_audit(audit, plan)
    return audit


def _prior(path: Path, group: Group) -> str:
    """sha256 (hex) of the prior release's certificate, if that verifies against the group's keys."""
    if not path.is_dir():
        raise InputError(f"prior release {path}: expected a directory, got none")
    files = release_files.read(path)
    verdict = verify_files(files, replace(PinnedKeys.of(group.keys), known=group.keys))
    if verdict.failed is not None:
        failed = verdict.failed
        raise VerificationFailed(f"prior release {path} fails check {failed.number} ({failed.name}): {failed.detail}")
    return release_files.sha256(files[release_files.CERTIFICATE])
