"""What people have stated of a protected trait, as positions among its public values: for a fairness count alone.

Rules
1. It takes the auditor's private key: a site that has given it away, as it should, counts only while the auditor lends
   it. Nothing that is read here is written anywhere, and nothing but a count over all employees is made of it.
2. The trait is one of the registry, with the registry's values; the answer holds positions and no name of anybody.
3. Where sources differ, the person's own word counts before another's: the registry lists a trait's sources in that
   order.
4. Who is not in the vault, or there without this trait, counts as "not stated".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from privacy.errors import InputError, VerificationFailed
from records.registry import AUDIT, VAULT, Registry
from records.vault import Vault

NOT_STATED: Final = "not stated"


def stated(
    vault: Vault, registry: Registry, auditor_private: bytes, trait: str, subjects: Sequence[str]
) -> npt.NDArray[np.int64]:
    """(n,) positions of n subjects' values among the trait's, in their order.

    Args:
        vault: the site's.
        registry: which names the trait's values and sources.
        auditor_private: lent for this count (rule 1).
        trait: such as "sex".
        subjects: the store's pseudonyms.

    Raises:
        InputError: for a trait that is not registered with values, or a key that is none.
        VerificationFailed: if the key is not the auditor's, or the vault was changed or holds another value.
    """
    column = registry.columns.get(f"{VAULT}.{trait}")
    if column is None or column.purposes != (AUDIT,) or NOT_STATED not in column.values:  # rule 2
        raise InputError(f"trait: expected one of the vault with registered values, got {trait!r:.60}")
    frame = vault.read(auditor_private)
    known: dict[str, str] = {}
    for source in reversed(column.sources):  # rule 3
        here = frame[frame["source"] == source] if trait in frame.columns else frame[:0]
        cells = zip(here["audit_key"], here[trait], strict=True) if len(here) else ()
        known |= {key: value for key, value in cells if isinstance(value, str)}
    places = {value: place for place, value in enumerate(column.values)}
    if not set(known.values()) <= set(places):
        raise VerificationFailed(f"vault, {trait!r:.60}: expected one of the registered values, got another")
    missing = places[NOT_STATED]  # rule 4
    return np.array([places.get(known.get(vault.audit_key(subject), ""), missing) for subject in subjects], np.int64)
