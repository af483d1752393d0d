"""The table of packages: which may import which, and where third parties live."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "privacy": set(),
    "records": {"privacy"},
    "models": {"privacy", "records"},
    "federation": {"privacy", "records", "models"},
    "serving": {"privacy", "records", "models"},
}
HOMES = {
    "flwr": {"federation"},
    "bentoml": {"serving"},
    "torch": {"models"},
    "opacus": {"models"},
    "cryptography": {"privacy"},
}


def imports_of(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_the_design_lets_it(package: str) -> None:
    assert files_of(package)
    for path in files_of(package):
        ours = set(imports_of(path)) & {*MAY_IMPORT, "kith", "tests", "benchmarks"}
        assert ours <= MAY_IMPORT[package] | {package}, path


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_used_only_in_its_home(library: str) -> None:
    users = {package for package in MAY_IMPORT for path in files_of(package) if library in imports_of(path)}
    assert users == HOMES[library]


def test_nothing_is_pickled() -> None:
    for package in MAY_IMPORT:
        for path in files_of(package):
            assert not set(imports_of(path)) & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, path


def test_no_module_level_import_cycle() -> None:
    """Imports inside a function are for time, not for breaking cycles: even so there must be none at module level."""
    edges: dict[str, set[str]] = {}
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts) for package in MAY_IMPORT for p in files_of(package)}
    for package in MAY_IMPORT:
        for path in files_of(package):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            edges[name] = set()
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    edges[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & names
    order: list[str] = []
    while edges:
        free = sorted(name for name, needs in edges.items() if not needs & set(edges) - {name})
        assert free, f"cycle among {sorted(edges)}"
        order += free
        for name in free:
            del edges[name]
    assert len(order) == len(names)


def test_the_verifier_and_the_command_line_start_without_torch_pandas_or_flower() -> None:
    heavy = ("torch", "pandas", "flwr", "bentoml")
    code = f"import sys, kith, privacy.verify; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_tree_is_a_flower_app_and_a_bento() -> None:
    assert (
        '[tool.flwr.app.components]\nserverapp = "federation.server_app:app"' in (ROOT / "pyproject.toml").read_text()
    )
    assert "serving.service:Kith" in (ROOT / "bentofile.yaml").read_text()
