"""Tables on the terminal, and the latest figures in benchmarks/results: latest.json, and latest.md made from it.

Every subject says when, where and on which code it was measured, because not all are run every time.
"""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Report
from federation.code_digest import code_digest

FOLDER: Final = Path(__file__).resolve().parent / "results"
LIBRARIES: Final = ("flwr", "numpy", "opacus", "opendp", "scikit-learn", "torch")


def show(console: Console, report: Report) -> None:
    """Print a subject's table."""
    table = Table(*report.columns, title=report.title)
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    for note in report.notes:
        console.print(note, style="dim")
    console.print()


def code() -> str:
    """What the code is now, as receipts name it; read anew, for it may be edited while it is measured."""
    return code_digest.__wrapped__()[:12]


def keep(name: str, report: Report, measured_code: str) -> None:
    """Put a subject's latest figures in place of earlier ones; `measured_code` is `code()` before the measuring."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "latest.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[name] = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": measured_code if code() == measured_code else f"{measured_code}, edited meanwhile",
        "machine": _machine(),
        "title": report.title,
        "columns": report.columns,
        "rows": report.rows,
        "notes": report.notes,
        "figures": report.figures,
    }
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (FOLDER / "latest.md").write_text(_markdown(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _markdown(kept: dict[str, Any]) -> str:
    lines = [
        "# Latest measurements",
        "",
        "Written by `python -m benchmarks`. Median (quartiles) over turns; ratios are taken within a turn.",
    ]
    for name, subject in kept.items():
        machine = subject["machine"]
        lines += ["", f"## {name}: {subject['title']}", "", _line(subject["columns"])]
        lines += ["|---" * len(subject["columns"]) + "|", *(_line(row) for row in subject["rows"]), ""]
        lines += [f"- {note}" for note in subject["notes"]]
        lines.append(
            f"- {subject['measured']}, code {subject['code']}, {machine['processor']}, {machine['cores']} cores,"
            f" load {machine['load']}, Python {machine['python']}, "
            + ", ".join(f"{library} {machine[library]}" for library in LIBRARIES)
        )
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
