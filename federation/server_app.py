"""The Flower ServerApp: a run from plan to certified release, over whatever grid it is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from flwr.app import Context, UserConfig
from flwr.serverapp import Grid, ServerApp

from federation.group import load_group
from federation.run_settings import DEADLINE, Settings
from federation.training_run import Progress, train
from privacy.errors import InputError
from privacy.plan import decimal

TEXTS: Final = ("group", "use-case", "epsilon", "delta", "trust", "out")
Setting = TypeVar("Setting", str, int, float, bool)


def server_app(progress: Progress) -> ServerApp:
    """A ServerApp that trains by the run's configuration and tells `progress` what has been done."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        settings, group, out = read_config(context)
        train(grid, load_group(group), settings, out, progress)

    return made


def config_of(settings: Settings, group: Path, out: Path) -> UserConfig:
    """Flower's run configuration that `read_config` reads back."""
    return {
        "group": str(group),
        "out": str(out),
        "run-id": settings.run,
        "use-case": settings.use_case,
        "epsilon": str(settings.epsilon),
        "delta": str(settings.delta),
        "trust": settings.trust,
        "rounds": settings.rounds,
        "measures": ",".join(settings.measures),
        "float64": settings.float64,
        "audit": str(settings.audit or ""),
        "prior": str(settings.prior or ""),
        "deadline": settings.deadline,
    }


def read_config(context: Context) -> tuple[Settings, Path, Path]:
    """The run's settings, the group's folder and the run's folder, from Flower's run configuration.

    Raises:
        InputError: naming a setting that is missing or of another type.
    """
    config = context.run_config
    texts = {name: _setting(config, name, str) for name in TEXTS}
    optional = {name: str(config.get(name) or "") for name in ("measures", "audit", "prior")}
    settings = Settings(
        run=str(config.get("run-id") or f"flower-{context.run_id}"),
        use_case=texts["use-case"],
        epsilon=decimal(texts["epsilon"], "run config 'epsilon'"),
        delta=decimal(texts["delta"], "run config 'delta'"),
        trust=texts["trust"],
        rounds=_setting(config, "rounds", int),
        measures=tuple(name for name in optional["measures"].split(",") if name),
        float64=_setting({"float64": False, **config}, "float64", bool),
        audit=Path(optional["audit"]) if optional["audit"] else None,
        prior=Path(optional["prior"]) if optional["prior"] else None,
        deadline=_setting({"deadline": DEADLINE, **config}, "deadline", float),
    )
    return settings, Path(texts["group"]), Path(texts["out"])


def _setting(config: Mapping[str, object], name: str, kind: type[Setting]) -> Setting:
    value = config.get(name)
    if type(value) is not kind or value == "":
        raise InputError(f"run config {name!r}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _report(what: str, done: int, steps: int) -> None:
    print(f"kith: {what}, {done} of {steps}", flush=True)


app = server_app(_report)
