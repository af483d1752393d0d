"""`kith evaluate`, what federation would give on a table at a budget, and the other commands of this package."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models import audit_command, plan_command
from privacy.errors import InputError
from privacy.terminal import console

if TYPE_CHECKING:
    from models.evaluation import Evaluation

app = typer.Typer()
for _module in (audit_command, plan_command):
    app.add_typer(_module.app)


@app.command()
def evaluate(
    contract: Annotated[Path, typer.Option(help="The contract's TOML file.")],
    data: Annotated[Path, typer.Option(help="CSV (also .gz), TSV or Parquet.")],
    epsilon: Annotated[str, typer.Option(help="Budget of the run for each employee, at delta.")],
    delta: Annotated[str, typer.Option(help="Probability, well below one in the number of people.")],
    trust: Annotated[
        str, typer.Option(help="local: every site adds all of its noise; secure-sum: sites add up under masks.")
    ] = "local",
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How many splits, seeds 0 to N-1.")] = 3,
    min_site: Annotated[int, typer.Option(min=1, help="Leave out sites with fewer people.")] = 1,
    held_out: Annotated[float, typer.Option(help="Share of every site's people to measure on.")] = 0.25,
    predictions: Annotated[Path | None, typer.Option(help="Write one line per held-out row and seed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure federated, personal, local-only and pooled non-private models on held-out people of a table."""
    from rich.console import Console

    from privacy.accounting import mu_squared_for
    from privacy.plan import decimal

    amounts = decimal(epsilon, "--epsilon"), decimal(delta, "--delta")
    mu_squared_for(*amounts)  # an impossible budget is refused before anything is read
    if predictions is not None:
        _write(predictions, ())  # found out before minutes of work, not after
    notes = Console(stderr=True)
    with notes.status("reading"):
        from privacy.randomness import secure_source
        from records.contract import load_contract
        from records.minimize import check_comparable, minimized_rows
        from records.table import read_table

        agreed = load_contract(contract)
        rows = minimized_rows(read_table(data), agreed)
        check_comparable(rows, str(data))
    if agreed.unconfirmed:
        notes.print(
            f"[yellow]warning:[/] {len(agreed.unconfirmed)} places of the contract still carry `confirm = true`: bounds"
            " taken from the rows are not public, and the stated epsilon does not cover them"
        )
    with notes.status("starting") as status:
        from models.evaluation import evaluate as evaluated  # torch takes seconds

        result = evaluated(
            agreed, rows, *amounts, trust, range(seeds), secure_source(), min_site, status.update, held_out
        )
    if predictions is not None:
        _write(predictions, _prediction_lines(result))
    document = _document(result, amounts, agreed.unconfirmed)
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print_tables(document)


def _document(result: Evaluation, amounts: tuple[Decimal, Decimal], unconfirmed: tuple[str, ...]) -> dict[str, Any]:
    from models.evaluation import MODELS
    from privacy.accounting import epsilon
    from privacy.plan import written

    stated = epsilon(result.plan.mu_squared, amounts[1])

    def rounded(value: float) -> float | None:
        return None if value != value else round(value, 5)

    return {
        "metric": result.metric,
        "trust": result.plan.trust,
        "epsilon": format(stated, "f"),
        "delta": str(amounts[1]),
        "mu2": written(result.plan.mu_squared),
        "rounds": sum(event.times for event in result.plan.events),
        "seeds": [one.seed for one in result.predictions],
        "held_out": len(result.predictions[0].row),
        "models": {
            model: {
                "overall": rounded(result.mean(model)),
                "overall_sd": rounded(result.spread(model)),
                "within": rounded(result.mean(model, "within")),
                "within_sd": rounded(result.spread(model, "within")),
            }
            for model in MODELS
        },
        "sites": [
            {"site": name, "people": result.people[name]}
            | {model: rounded(result.site_mean(model, name)) for model in MODELS}
            for name in result.site_names
        ],
        "unconfirmed": list(unconfirmed),
        "note": "figures computed without noise on the rows themselves: for whoever may see the whole table",
    }


def _prediction_lines(result: Evaluation) -> Iterator[tuple[object, ...]]:
    for one in result.predictions:
        scores = [one.scores[model] for model in ("federated", "personal", "local_only")]
        for row, site, label, *values in zip(one.row, one.site, one.raw_label, *scores, strict=True):
            shown = int(label) if float(label).is_integer() else label
            yield (one.seed, int(row), result.all_names[site], shown, *(f"{value:.9g}" for value in values))


def _write(path: Path, lines: Iterable[tuple[object, ...]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("seed", "row", "site", "label", "federated", "personal", "local_only"))
            writer.writerows(lines)
    except OSError as error:
        raise InputError(f"--predictions {path}: expected a writable file, got {error.strerror}") from None


def _print_tables(document: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    metric = {"auc": "AUC, higher is better", "mse": "squared error, lower is better"}[document["metric"]]
    title = (
        f"{metric} · held-out people, {len(document['seeds'])} seeds (± sd) · epsilon = {document['epsilon']} at"
        f" delta = {document['delta']} per employee · trust {document['trust']}"
    )
    table = Table("model", "overall", "within sites", title=title)
    for model, figures in document["models"].items():
        name = "pooled, no privacy" if model == "pooled" else model.replace("_", " ")
        table.add_row(name, *(f"{_shown(figures[w])} ± {_shown(figures[w + '_sd'])}" for w in ("overall", "within")))
    out.print(table)
    sites = Table("site", "people", *(model.replace("_", " ") for model in document["models"]), title="by site")
    for site in document["sites"]:
        sites.add_row(site["site"], f"{site['people']:,}", *(_shown(site[model]) for model in document["models"]))
    out.print(sites)
    out.print(document["note"], style="dim")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
