"""What `kith train` and `kith fleet run` are to do: a new run, or the rest of one that was cut off."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import typer
from click.core import ParameterSource

from federation.run_folders import run_folder
from federation.run_settings import SETTINGS, Settings, begun
from privacy.errors import InputError

NOT_OF_A_RUN: Final = frozenset({"resume", "folder", "group", "site", "deadline", "runs", "detach", "as_json"})
"""Parameters of the commands that are not settings of a run: they may stand beside --resume."""


def new_run_id(use_case: str) -> str:
    """A fresh run id."""
    return f"{use_case}-{secrets.token_hex(4)}"


def settings_of(
    context: typer.Context, runs: Path, resume: str, deadline: float, new: Callable[[], Settings]
) -> Settings:
    """The settings of the run to go on with, or else new ones.

    Args:
        context: of the command.
        runs: where run folders are made.
        resume: id of the run to go on with; "" for none.
        deadline: seconds that one exchange with the sites may take.
        new: makes the settings that the command was asked for.

    Raises:
        InputError: for a run to go on with that there is not, or with settings given beside it, and for a new run whose
            folder is there.
    """
    if resume:
        given = (name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE)
        if others := sorted(set(given) - NOT_OF_A_RUN):
            raise InputError(f"--resume: expected no other settings than the run began with, got {', '.join(others)}")
        return begun(run_folder(runs, resume), deadline)
    settings = new()
    if (runs / settings.run / SETTINGS).exists():
        raise InputError(f"run {settings.run}: expected a new one, or --resume {settings.run}; got one that was begun")
    return settings
