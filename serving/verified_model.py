"""No valid certificate, no serving: the verifier's own checks stand between a release directory and its weights.

Rules
1. Nothing of a release is read as a model before every check of `privacy.verify` has passed.
2. The bytes that were verified are the bytes that are loaded: every file is read once.
3. Pinned roots or a pinned key list must vouch for the release's keys; the model remembers whether any did.
4. One release per use case: which model answers is never a matter of order.
5. A refusal names the number and the name of the first check that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.release import Release, parse_release
from privacy import canonical, dsse, release_files
from privacy.errors import InputError, VerificationFailed
from privacy.trust_roots import PinnedKeys
from privacy.verdict import Verdict
from privacy.verify import verify_files, verify_release


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A release that passed, ready to answer.

    Attributes:
        release: use case, feature space and scorers.
        verdict: the numbered checks that passed.
        keys: "pinned" if the release was held against pinned keys (rule 3), else "self-asserted".
        statement: what the certificate states, as it was signed.
        model_digest: sha256 (hex) of the weights' file.
        certificate_digest: sha256 (hex) of the certificate's file.
    """

    release: Release
    verdict: Verdict
    keys: Literal["pinned", "self-asserted"]
    statement: Mapping[str, Any]
    model_digest: str
    certificate_digest: str

    @property
    def use_case(self) -> str:
        """The purpose it serves."""
        return self.release.use_case.name


def load_verified(path: Path, pinned: Path | None = None) -> VerifiedModel:
    """The model in release directory `path`, if every check passes.

    Args:
        path: a release directory.
        pinned: file of roots or of a key list (rule 3); None trusts the release's own keys.

    Raises:
        VerificationFailed: naming the first failed check (rule 5).
        InputError: if there is no release at `path`, or `pinned` holds no keys.
    """
    roots = PinnedKeys.read(pinned) if pinned else None
    try:
        files = release_files.read(path)
    except (VerificationFailed, OSError):
        _refuse(path, verify_release(path, pinned))
        raise VerificationFailed(f"release {path}: expected files that stay as they are, got changing ones") from None
    verdict = verify_files(files, roots)
    if not verdict.ok:
        _refuse(path, verdict)
    certificate = files[release_files.CERTIFICATE]
    return VerifiedModel(
        release=parse_release(files[release_files.CARD], files[release_files.MODEL]),  # rule 2
        verdict=verdict,
        keys="pinned" if roots else "self-asserted",
        statement=canonical.from_bytes(dsse.Envelope.from_bytes(certificate).payload, "certificate")["predicate"],
        model_digest=release_files.sha256(files[release_files.MODEL]),
        certificate_digest=release_files.sha256(certificate),
    )


def load_all(paths: Sequence[Path], pinned: Path | None = None) -> dict[str, VerifiedModel]:
    """The models of several releases, by use case (rule 4).

    Raises:
        VerificationFailed: as `load_verified`.
        InputError: also for no release at all, or two of one use case.
    """
    if not paths:
        raise InputError("releases: expected at least one release directory, got none")
    models: dict[str, VerifiedModel] = {}
    for path in paths:
        model = load_verified(path, pinned)
        if model.use_case in models:
            raise InputError(f"releases: expected one per use case, got a second for {model.use_case!r} at {path}")
        models[model.use_case] = model
    return models


def _refuse(path: Path, verdict: Verdict) -> None:
    """Rule 5."""
    if (failed := verdict.failed) is not None:
        raise VerificationFailed(f"release {path} fails check {failed.number} ({failed.name}): {failed.detail}")
