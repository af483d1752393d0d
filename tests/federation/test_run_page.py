"""docs/watching.md held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from federation.approvals import Approvals
from federation.guard_metrics import GuardMetrics, SiteCollector
from federation.run_events import PHASES, SHAPES
from federation.run_metrics import RunsCollector
from federation.run_state import STATUSES
from federation.sealed import Answered
from federation.wire import Refusal
from privacy.certificate import REASONS
from tests.federation.test_run_metrics import now
from tests.federation.tiny_group import tiny_group
from tests.federation.told_run import told_run, write

PAGE = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")


def code(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def rows(heading: str) -> list[list[str]]:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]


def test_every_event_is_there_with_its_facts() -> None:
    found = {}
    for what, facts, _ in rows("The log"):
        optional = set(re.findall(r"`([a-z_]+)`\?", facts))
        found[what.strip(" `")] = code(facts) - optional, optional
    assert found == {what: (set(required), set(optional)) for what, (required, optional) in SHAPES.items()}


def test_every_word_of_a_log_is_there() -> None:
    for word in (*PHASES, *REASONS, *STATUSES):
        assert f"`{word}`" in PAGE


def test_every_metric_is_there_with_its_labels(tmp_path: Path) -> None:
    write(tmp_path / "one", now(told_run(2, absent_from=1)))
    registry = CollectorRegistry()
    registry.register(RunsCollector(tmp_path))
    expected: dict[str, set[str]] = {}
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        expected[name] = set().union(*(sample.labels for sample in family.samples)) - {"le"}
    found = {name: code(labels) for metrics, labels in rows("Prometheus") for name in code(metrics)}
    assert found == expected


def test_every_metric_of_a_guard_is_there_with_its_labels(tmp_path: Path) -> None:
    site, metrics = tiny_group(tmp_path).sites[0], GuardMetrics()
    metrics.answered("user 0", 2, Answered(None, Refusal("no"), b""), 0.1)
    metrics.turned_away("busy")
    metrics.registry.register(SiteCollector(site, site.open_ledger(), Approvals(site.folder, site.name)))
    expected: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        expected[name] = set().union(*(sample.labels for sample in family.samples)) - {"le"}
    found = {name: code(labels) for shown, labels in rows("Prometheus at a guard") for name in code(shown)}
    assert found == expected
