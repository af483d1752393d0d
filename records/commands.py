"""`kith contract` and `kith records`: what may be learned, and the records that it is learned from."""

from __future__ import annotations

import typer

from records import contract_commands, store_commands

app = typer.Typer()
app.add_typer(contract_commands.app, name="contract")
app.add_typer(store_commands.app, name="records")
