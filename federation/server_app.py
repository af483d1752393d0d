"""The Flower ServerApp: a run from plan to certified release, over whatever grid it is given."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation.group import load_group
from federation.training_run import Progress, Settings, train
from privacy.errors import InputError
from privacy.plan import decimal


def server_app(progress: Progress) -> ServerApp:
    """A ServerApp that trains by the run's configuration and tells `progress` what has been done."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        settings, group, out = read_config(context)
        train(grid, load_group(group), settings, out, progress)

    return made


def read_config(context: Context) -> tuple[Settings, Path, Path]:
    """The run's settings, the group's folder and the run's folder, from Flower's run configuration.

    Raises:
        InputError: naming a setting that is missing or of another type.
    """
    config = context.run_config
    texts = {}
    for name in ("group", "use-case", "epsilon", "delta", "trust", "out"):
        value = config.get(name)
        if not isinstance(value, str) or not value:
            raise InputError(f"run config {name!r}: expected text, got {type(value).__name__}")
        texts[name] = value
    rounds = config.get("rounds")
    if not isinstance(rounds, int):
        raise InputError(f"run config 'rounds': expected a whole number, got {type(rounds).__name__}")
    settings = Settings(
        run=str(config.get("run-id") or f"flower-{context.run_id}"),
        use_case=texts["use-case"],
        epsilon=decimal(texts["epsilon"], "run config 'epsilon'"),
        delta=decimal(texts["delta"], "run config 'delta'"),
        trust=texts["trust"],
        rounds=rounds,
    )
    return settings, Path(texts["group"]), Path(texts["out"])


def _report(what: str, done: int, steps: int) -> None:
    print(f"kith: {what}, {done} of {steps}", flush=True)


app = server_app(_report)
