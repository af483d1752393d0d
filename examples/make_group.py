"""Make the folders of a group: one per site (keys, ledger under a budget, site.toml) and the coordinator's.

    python examples/make_group.py OUT CONTRACT.toml EPSILON DELTA SITE=TABLE.csv [SITE=TABLE.csv ...]

EPSILON at DELTA is each employee's budget for good, kept as mu² (a budget that can be renewed names officers). Then:

    kith train --group OUT/group --site OUT/sites/0 --site OUT/sites/1 ... --epsilon E --delta D

On real premises each site makes its own folder and sends only its public key.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

from federation.group import create_group
from federation.site import create_site
from privacy.accounting import mu_squared_for
from privacy.budget import first_budget
from privacy.plan import written
from records.contract import load_contract


def main(out: Path, contract: Path, epsilon: Decimal, delta: Decimal, tables: dict[str, Path]) -> None:
    """Make all folders under `out`."""
    cap = Decimal(written(mu_squared_for(epsilon, delta)))
    budget = first_budget(cap, delta, (load_contract(contract).purpose,))
    sites = [
        create_site(out / "sites" / str(n), name, table.resolve(), contract.resolve(), budget)
        for n, (name, table) in enumerate(tables.items())
    ]
    create_group(out / "group", contract, sites)


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    folder, toml, asked, at, *pairs = sys.argv[1:]
    named = {name: Path(table) for name, _, table in (pair.partition("=") for pair in pairs)}
    main(Path(folder), Path(toml), Decimal(asked), Decimal(at), named)
