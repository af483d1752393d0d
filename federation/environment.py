"""In which environment a release was computed: what its certificate tells of the software."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Final

from privacy.errors import InputError

LIBRARIES: Final = (
    "cryptography",
    "dp-accounting",
    "flwr",
    "numpy",
    "opacus",
    "opendp",
    "prv-accountant",
    "scipy",
    "torch",
)
"""What decides a contribution's value, its noise, its cost or its signature."""
IMAGE: Final = "KITH_IMAGE"
"""Environment variable in which a container says its digest: "sha256:" and 64 hexadecimal digits."""
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")


def versions() -> Mapping[str, str]:
    """The version of Python and of each library, by name."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def image() -> str | None:
    """The container's digest as it was told, or None outside one.

    Raises:
        InputError: if it is told otherwise than as a digest.
    """
    told = os.environ.get(IMAGE)
    if told and not _DIGEST.fullmatch(told):
        raise InputError(f"{IMAGE}: expected sha256: and 64 hexadecimal digits, got {told!r:.80}")
    return told or None
