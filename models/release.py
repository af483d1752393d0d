"""What a run leaves behind for serving: the model card and the weights. Writing here, reading here, trusting nowhere.

Reading does not verify: `serving.verified_model` runs the verifier's checks first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.features import FeatureSpace
from models.optimiser import Fit
from models.scorer import AdditiveScorer
from models.use_case import UseCase, load_use_case
from privacy import canonical
from privacy.errors import InputError

CARD: Final = "card.json"
WEIGHTS: Final = "model.safetensors"
SHARED: Final = ""
"""Key of the group's own scorer in `Release.scorers`."""
APART: Final = "additive over public bins; a site's own terms shrunk towards the group's"
TOGETHER: Final = "additive over public bins; of all sites together, none with terms of its own"


@dataclass(frozen=True)
class Release:
    """The model of a release.

    Attributes:
        scorers: by site name; the shared one under "".
    """

    use_case: UseCase
    space: FeatureSpace
    scorers: Mapping[str, AdditiveScorer]


def weights_bytes(fit: Fit) -> bytes:
    """Safetensors of a fit: "basis" (d, d), "typical" (d,), and weights and variances (d,) of group and sites."""
    tensors = {
        "basis": fit.shared.basis,
        "typical": fit.shared.typical,
        "weights": fit.shared.weights,
        "variances": fit.shared.variances,
    }
    for name, scorer in fit.personal.items():
        tensors[f"weights/{name}"] = scorer.weights
        tensors[f"variances/{name}"] = scorer.variances
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})


def card_document(fit: Fit, space: FeatureSpace, use_case: UseCase, sites: tuple[str, ...]) -> dict[str, Any]:
    """The model card: purpose, limits, feature space. Public figures only."""
    return {
        "use_case": use_case.name,
        "purpose": use_case.purpose,
        "legal_basis": use_case.legal_basis,
        "stakes": use_case.stakes,
        "visible_to": list(use_case.visible_to),
        "prohibited_for": list(use_case.prohibited_for),
        "not_seen": list(use_case.not_seen),
        "model": TOGETHER if _is_one(fit) else APART,
        "strength_of_personal_terms": f"{fit.strength:g}",
        "strength_of_personal_levels": f"{fit.level:g}",
        "sites": list(sites),
        "width": space.width,
        "features": space.to_document(),
    }


def _is_one(fit: Fit) -> bool:
    """Whether no site has terms of its own: they added up under masks."""
    return all(scorer is fit.shared for scorer in fit.personal.values())


def parse_release(card: bytes, weights: bytes) -> Release:
    """The model in the bytes of a release's card and weights, unverified.

    Raises:
        InputError: if either is malformed, or they do not belong together.
    """
    fields = canonical.from_bytes(card, CARD)
    try:
        tensors = load(weights)
        space = FeatureSpace.from_document(fields["features"])
        places = {SHARED: "", **{name: f"/{name}" for name in fields["sites"]}}
        scorers = {
            name: AdditiveScorer(
                space, tensors[f"weights{at}"], tensors[f"variances{at}"], tensors["basis"], tensors["typical"]
            )
            for name, at in places.items()
        }
        return Release(load_use_case(fields["use_case"]), space, scorers)
    except (SafetensorError, KeyError, TypeError, AttributeError):
        raise InputError(f"release: expected {CARD} and {WEIGHTS} of one model, got otherwise") from None


def read_release(path: Path) -> Release:
    """The model of the release in directory `path`, unverified.

    Raises:
        InputError: if card or weights are missing, malformed, or do not belong together.
    """
    try:
        card, weights = (path / CARD).read_bytes(), (path / WEIGHTS).read_bytes()
    except OSError as error:
        raise InputError(f"release: expected readable {CARD} and {WEIGHTS}, got {type(error).__name__}") from None
    return parse_release(card, weights)
