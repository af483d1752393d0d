"""Sites' records, where the service has them: what it recommends from, under the legal basis of the moment.

Rules
1. Features are read from the records when a request comes, and the legal basis is asked for then; a caller brings
   features only where there are no records. It is asked again before anything made from them is shown or decided on.
2. Why a person's records may not be used is not told, nor whether there are any: an objection is nobody else's
   business.
3. Beside a site's records only such models are served as read what the registry serves for their purpose.
4. One folder per site: whose records are read is never a matter of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from privacy.errors import InputError, Refused
from records.facts import Value
from records.registry import load_registry
from records.snapshot import features_of
from records.store import Store, open_store
from serving.problems import Problem
from serving.verified_model import VerifiedModel


def open_all(folders: Iterable[Path], models: Mapping[str, VerifiedModel]) -> dict[str, Store]:
    """The stores in records folders, by site.

    Raises:
        InputError: if one can not be opened, two are one site's (rule 4), or a model of one of the sites reads what the
            registry does not serve (rule 3).
    """
    stores: dict[str, Store] = {}
    for folder in folders:
        store = open_store(folder)
        if store.site in stores:
            raise InputError(f"records folders: expected one of each site, got a second of {store.site!r:.80}")
        stores[store.site] = store
    for model in models.values():
        if stores.keys() & model.release.scorers.keys():
            _check_served(model)
    return stores


def features_now(
    stores: Mapping[str, Store], model: VerifiedModel, site: str, employee: str, brought: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """What the model is to be asked about: from the site's records, or what the caller brought (rule 1).

    Raises:
        Problem: invalid-request for features that should be absent, or should not; consent-missing (rule 2).
    """
    store = stores.get(site)
    if store is None and brought is not None:
        return brought
    if store is None or brought is not None:
        expected = "missing" if store is None else "extra_forbidden"
        raise Problem(
            "invalid-request",
            "Expected features where the service has no records of the site, and none where it has.",
            errors=({"field": "features", "expected": expected},),
        )
    known = _known(store, model.use_case, employee)
    return {column: known[column] for column in _columns(model)}


def check_usable(stores: Mapping[str, Store], site: str, purpose: str, employee: str) -> None:
    """Refuse where the site's records are here and nothing could be recommended from them now (rule 1).

    Raises:
        Problem: consent-missing (rule 2).
    """
    if (store := stores.get(site)) is not None:
        _known(store, purpose, employee)


def _known(store: Store, purpose: str, employee: str) -> dict[str, Value]:
    try:
        return features_of(store, load_registry(), purpose, employee, datetime.now(UTC))
    except (Refused, InputError):  # the latter for a purpose that is not registered any more
        raise Problem("consent-missing", "No records of this person may be used for this purpose now.") from None


def _check_served(model: VerifiedModel) -> None:
    served = {feature.name for feature in load_registry().features_for(model.use_case, "serve")}
    if other := sorted(_columns(model) - served):
        raise InputError(
            f"release for {model.use_case!r}: expected columns that the registry serves for it, got {other[0]!r:.80}"
        )


def _columns(model: VerifiedModel) -> set[str]:
    return {feature.column for feature in model.release.space.features}
