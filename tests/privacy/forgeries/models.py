"""Forged weights, cards and side outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from privacy import canonical, release_files
from tests.privacy.forgeries.scene import (
    MEASURED,
    Scene,
    refused_by,
    spoil,
)
from tests.privacy.forging import (
    Files,
    certified,
)
from tests.privacy.small_release import (
    SITES,
    card,
    measures,
    weights,
)

# The model


def model(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Other weights, whose digest the certificate states."""

    def forgery(scene: Scene) -> Files:
        return scene.certified({release_files.MODEL: weights(list(SITES), lambda tensors: void(change(tensors)))})

    forgery.__name__ = f"weights_{name}__by_coordinator"
    refused_by(13)(forgery)


def void(_: object) -> None:
    return None


model("with_nan", spoil("weights", [1.0, 2.0, np.nan]))
model("with_infinity", spoil("weights/North", [1.0, 2.0, np.inf]))
model("with_a_negative_variance", spoil("variances", [1.0, 2.0, -1.0]))
model("too_few", spoil("weights", [1.0, 2.0]))
model("in_another_shape", spoil("weights", [[1.0, 2.0, 3.0]]))
model("in_another_type", spoil("weights", np.ones(3, dtype=np.float32)))
model("with_a_basis_of_another_shape", spoil("basis", np.ones(3)))
model("with_another_tensor", spoil("site/Elsewhere", np.ones(3)))
model("with_a_site_in_a_look_alike_name", spoil("weights/N\N{CYRILLIC SMALL LETTER O}rth", np.ones(3)))
model("with_a_tensor_left_out", lambda tensors: tensors.pop("variances/North"))


@refused_by(13)
def weights_that_are_no_safetensors__by_coordinator(scene: Scene) -> Files:
    return scene.certified({release_files.MODEL: b"\x80\x04\x95" + b"." * 100})


@refused_by(13)
def weights_with_a_header_of_2_to_the_63_bytes__by_coordinator(scene: Scene) -> Files:
    return scene.certified({release_files.MODEL: b"\xff" * 7 + b"\x7f" + scene.files[release_files.MODEL][8:]})


def carded(name: str, document: object) -> None:
    """Another card, whose digest the certificate states."""

    def forgery(scene: Scene) -> Files:
        return scene.certified({release_files.CARD: canonical.to_bytes(document)})

    forgery.__name__ = f"card_{name}__by_coordinator"
    refused_by(13)(forgery)


carded("of_another_width", {**card(list(SITES)), "width": 4})
carded("of_fewer_sites", card(["North"]))
carded("of_sites_in_look_alike_names", card(["N\N{CYRILLIC SMALL LETTER O}rth", SITES[1]]))
carded("of_other_features", {**card(list(SITES)), "features": {"features": "of another"}})
carded("of_another_use", {**card(list(SITES)), "use_case": "dismissal"})
carded("that_is_a_list", [])
carded("without_anything", {"width": 3})


# Side outputs


@refused_by(17)
def a_side_output_undeclared__by_coordinator(scene: Scene) -> Files:
    return scene.certified(side_outputs=())


@refused_by(17)
def a_side_output_made_up__by_coordinator(scene: Scene) -> Files:
    return scene.certified(side_outputs=("head-count", "salaries"))


@refused_by(17)
def settings_tuned_on_data__by_coordinator(scene: Scene) -> Files:
    return scene.certified(tuning="20 runs, the best of them")


@refused_by(17)
def measures_left_out__by_coordinator(scene: Scene) -> Files:
    files = {name: data for name, data in scene.files.items() if name != release_files.MEASURES}
    return certified(scene.group, files)


@refused_by(17)
def measures_where_nothing_was_measured__by_coordinator(scene: Scene) -> Files:
    return certified(scene.group, {**scene.earlier, release_files.MEASURES: scene.files[release_files.MEASURES]})


@refused_by(17)
def measures_of_other_sums__by_coordinator(scene: Scene) -> Files:
    document = canonical.from_bytes(scene.files[release_files.MEASURES], "measures")
    document["sums"]["head-count"][0]["values"][0] += 1
    return scene.certified({release_files.MEASURES: canonical.to_bytes(document)})


@refused_by(17)
def measures_of_a_site_less__by_coordinator(scene: Scene) -> Files:
    return scene.certified({release_files.MEASURES: measures(MEASURED, SITES[:1])})
