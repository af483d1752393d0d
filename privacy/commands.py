"""The commands of this package: each module's own, put together."""

from __future__ import annotations

import typer

from privacy import budget_commands, key_commands, ledger_commands, verify_command, witness_commands

app = typer.Typer()
for _module in (verify_command, budget_commands, ledger_commands, key_commands, witness_commands):
    app.add_typer(_module.app)
