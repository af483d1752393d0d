"""Files that are made from templates, where a missing value is a fault and nothing is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - these are configurations; `federation.fleet.layout` lets plain values in alone
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def rendered(template: str, **values: Any) -> str:
    """A template's text with these values."""
    return _ENVIRONMENT.get_template(template).render(**values)
