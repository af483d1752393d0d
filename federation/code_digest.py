"""Which code ran, as one digest that receipts and certificates carry."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

PACKAGES: Final = ("federation", "models", "privacy", "records")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """sha256 (hex) over the names and bytes of all Python files of the packages that compute a contribution."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
