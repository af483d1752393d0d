"""`kith serve` and `kith token`: the service, and tokens for a trial."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.launch import DEFAULT_HOST, DEFAULT_PORT, DEFAULT_STATE

app = typer.Typer()


@app.command()
def serve(
    releases: Annotated[list[Path], typer.Argument(help="Release directories, one per use case.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = DEFAULT_PORT,
    keys: Annotated[Path | None, typer.Option(help="Keys that the releases must be signed with.")] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(help="A site's records folder, to read features from and take SCIM and xAPI into; repeat."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(envvar="KITH_DATABASE", help="SQLAlchemy URL; a SQLite file in the state folder if none."),
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder of the database and the token keys.")] = DEFAULT_STATE,
) -> None:
    """Verify the releases, then serve them; ends with status 1 and the failed check if one does not verify."""
    from privacy.verify import SELF_ASSERTED
    from serving import launch

    if keys is None:
        print(f"warning: {SELF_ASSERTED}", file=sys.stderr)
    launch.serve(releases, host, port, pinned=keys, records=records or (), database=database, state=state)


@app.command()
def token(
    role: Annotated[
        str, typer.Option(help="reviewer, hr_partner, application, auditor, provisioning, learning_system, …")
    ] = "",
    subject: Annotated[str, typer.Option(help="Whom the token is for.")] = "",
    site: Annotated[str, typer.Option(help="The site it reaches; * for auditors and privacy officers.")] = "",
    hours: Annotated[float, typer.Option(help="How long it is good for; 24 at most, 8784 for source systems.")] = 8.0,
    state: Annotated[Path, typer.Option(help="Folder of the token keys.")] = DEFAULT_STATE,
    revoke: Annotated[
        str | None,
        typer.Option(metavar="TOKEN-OR-ID", help="Take this token back instead; - reads it from standard input."),
    ] = None,
) -> None:
    """Print a token for a trial, and its id for --revoke; source systems may send it by HTTP Basic too.

    A running service refuses a token that was taken back from its next request on.
    """
    from serving import revocation
    from serving.identity import PUBLIC_KEYS, issue_token

    if revoke is None:
        made = issue_token(state, role, subject, site, hours)
        print(f"id: {revocation.token_id(made)}", file=sys.stderr)
        print(made)
        return
    text = sys.stdin.readline() if revoke == "-" else revoke
    print(f"revoked {revocation.revoke(state / PUBLIC_KEYS, text.strip())}")
