"""The checks of a release's model and side outputs. Their rules are in `privacy.verify`, by number."""

from __future__ import annotations

import math
from typing import Any

from privacy import canonical, fields, release_files
from privacy.certificate import NO_TUNING, side_outputs
from privacy.errors import VerificationFailed
from privacy.measures_file import Answer, check_measures
from privacy.plan import LOCAL
from privacy.verify_evidence import Evidence, equal


def model(evidence: Evidence) -> str:
    """Rule 13."""
    from safetensors.numpy import load  # numpy's alone: this must not bring torch

    card = canonical.from_bytes(evidence.files[release_files.CARD], release_files.CARD)
    if not isinstance(card, dict) or not isinstance(card.get("sites"), list | dict):
        raise VerificationFailed('card.json: expected an object with "width" and "sites", got otherwise')
    width = fields.whole(card.get("width"), "card.json, width")
    plan = evidence.plan
    equal("card.json, use_case", plan.use_case, card.get("use_case"))
    space = release_files.sha256(canonical.to_bytes(card.get("features")))
    equal("card.json, features (their digest)", plan.features, space)
    listed = [fields.text(site, "card.json, sites") for site in card["sites"]]
    equal("card.json, sites", evidence.sites, sorted(listed))
    try:
        tensors: dict[str, Any] = load(evidence.files[release_files.MODEL])
    except Exception as error:  # the library's own exception types differ between its versions
        raise VerificationFailed(f"{release_files.MODEL}: expected safetensors, got {type(error).__name__}") from None
    models = ["", *(f"/{site}" for site in evidence.sites)]
    vectors = {"typical", *(f"{kind}{model}" for kind in ("weights", "variances") for model in models)}
    shapes = {"basis": (width, width), **dict.fromkeys(vectors, (width,))}
    equal(f"{release_files.MODEL}, tensors", set(shapes), set(tensors))
    for name, tensor in tensors.items():
        equal(f"{release_files.MODEL}, {name}", ("float64", shapes[name]), (str(tensor.dtype), tensor.shape))
        finite = bool((abs(tensor) < math.inf).all())  # also false for NaN
        if not finite or (name.startswith("variances") and (tensor < 0).any()):
            raise VerificationFailed(f"{release_files.MODEL}, {name}: expected finite numbers, variances from 0 on")
    evidence.weights = tensors["weights"].astype("<f8").tobytes()
    return f"{len(tensors)} tensors over {width} coordinates, finite"


def side_outputs_declared(evidence: Evidence) -> str:
    """Rule 17."""
    declared, certificate = side_outputs(evidence.plan), evidence.certified
    equal("certificate, side_outputs", declared, certificate.side_outputs)
    equal("certificate, tuning", NO_TUNING, certificate.tuning)
    data = evidence.files.get(release_files.MEASURES)
    if not declared or data is None:
        equal("measures.json is there, as the plan's events say", bool(declared), data is not None)
        return "none, and no tuning on data"
    signed = {
        (one.site, one.event): Answer(one.state, one.contribution)
        for of_site in evidence.receipts
        for one in of_site
        if one.event in declared and not one.index
    }
    told = check_measures(data, evidence.plan, signed, evidence.weights)
    whose = "sums as the receipts have them" if evidence.plan.trust == LOCAL else "sums by the coordinator's word"
    return f"{', '.join(declared)}: {whose}; {len(told.figures)} figures read from them"
