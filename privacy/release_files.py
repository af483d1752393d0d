"""The files of a release: their names, and reading all of them once, strictly.

certificate.dsse.json · plan.json · card.json · model.safetensors · keys.json · receipts/<n>.jsonl · ledger/<n>.json,
with n the 0-based place of the site among the certificate's accounts, in decimal; and, where there is something to
say, audit.json (an empirical audit of the plan) and measures.json (what the plan's side outputs tell).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from privacy.errors import VerificationFailed
from privacy.plan import MAX_SITES
from privacy.statement import Subject

CERTIFICATE: Final = "certificate.dsse.json"
PLAN: Final = "plan.json"
CARD: Final = "card.json"
MODEL: Final = "model.safetensors"
KEYS: Final = "keys.json"
AUDIT: Final = "audit.json"
MEASURES: Final = "measures.json"
FIXED: Final = (CERTIFICATE, PLAN, CARD, MODEL, KEYS)
OPTIONAL: Final = frozenset({AUDIT, MEASURES})
MAX_FILE_BYTES: Final = 2**30
MAX_TOTAL_BYTES: Final = 2 * 2**30


def receipts(n: int) -> str:
    """Name of the file of the receipts of account number `n`."""
    return f"receipts/{n}.jsonl"


def ledger(n: int) -> str:
    """Name of the file of the ledger excerpt of account number `n`."""
    return f"ledger/{n}.json"


def names(sites: int) -> tuple[str, ...]:
    """Names of the files that every release of that many accounts has."""
    return (*FIXED, *(receipts(n) for n in range(sites)), *(ledger(n) for n in range(sites)))


def sha256(data: bytes) -> str:
    """sha256 (hex) of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def subjects(files: Mapping[str, bytes]) -> tuple[Subject, ...]:
    """What a certificate signs: every file but the certificate, in order of name."""
    return tuple(Subject(name, sha256(files[name])) for name in sorted(files) if name != CERTIFICATE)


def read(path: Path) -> dict[str, bytes]:
    """Every file of the release at `path`, by name: exactly those of a release, regular files, of bounded size.

    Each file is read once, without following links: what is verified is what was read.

    Raises:
        VerificationFailed: naming a file that is missing, too many, too large or not a regular file.
    """
    found = set(_listed(path))
    sites = sum(name.startswith("receipts/") for name in found)
    expected = set(names(sites)) | found & OPTIONAL
    if not sites or found != expected:
        extra, missing = sorted(found - expected), sorted(expected - found) or ["receipts/0.jsonl"]
        wrong = f"{extra[0][:80]!r} too many" if extra else f"{missing[0]!r} missing"
        raise VerificationFailed(f"release: expected exactly the files of a release, got {wrong}")
    files: dict[str, bytes] = {}
    total = 0
    for name in sorted(found):
        files[name] = _read_regular(path / name, name)
        total += len(files[name])
        if total > MAX_TOTAL_BYTES:
            raise VerificationFailed(f"release: expected at most {MAX_TOTAL_BYTES} bytes in all, got more")
    return files


def _listed(path: Path) -> Iterator[str]:
    for directory in ("", "receipts", "ledger"):
        place = path / directory
        if directory and (place.is_symlink() or not place.is_dir()):
            raise VerificationFailed(f"release: expected a directory {directory}, got none")
        with os.scandir(place) as listing:
            for count, item in enumerate(listing):
                if count > MAX_SITES:
                    raise VerificationFailed(f"release: expected at most {MAX_SITES} files in a directory, got more")
                name = f"{directory}/{item.name}" if directory else item.name
                if name not in ("receipts", "ledger"):
                    yield name


def _read_regular(path: Path, name: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise VerificationFailed(f"{name}: expected a regular file, got {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        os.close(descriptor)
        raise VerificationFailed(f"{name}: expected a regular file of at most {MAX_FILE_BYTES} bytes, got otherwise")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(status.st_size + 1)
