"""`kith contract` and `kith records`: what may be learned, and the records that it is learned from."""

from __future__ import annotations

import typer

from records import contract_commands, intake_commands, person_commands, registry_commands, site_commands

app = typer.Typer()
app.add_typer(contract_commands.app, name="contract")

of_a_site = typer.Typer(
    help="A site's records: taken in, reported on, exported, corrected, erased.", no_args_is_help=True
)
for part in (intake_commands, person_commands, site_commands, registry_commands):
    of_a_site.add_typer(part.app)
app.add_typer(of_a_site, name="records")
