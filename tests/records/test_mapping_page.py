"""What docs/mappings.md shows is a mapping that loads."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from privacy.pseudonyms import Pseudonyms
from records.facts import Fact, Trait
from records.mapping import parse_mapping
from records.registry import load_registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mappings.md"


def test_the_page_s_example_reads_a_row_as_it_says() -> None:
    text = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1)
    mapping = parse_mapping(text.encode(), load_registry())
    row = {name: None for name in mapping.cells} | {
        "Employee No": "42",
        "Effective date": "01/09/2025",
        "Status": "active",
        "Hire date": "13/04/2019",
        "Where": "home",
        "Department": "prod.",
        "Compa": "1,04",
        "Gender": "F",
    }
    pseudonyms = Pseudonyms(bytes(32), "Norrvik Logistics")
    found = mapping.incoming(row, 7, pseudonyms, date(2025, 10, 31))
    subject = pseudonyms.person("000042")
    person = {"start_month": "2019-04", "manager_key": None, "work_mode": "remote", "job_family": "production"}
    assert found == [
        Fact("person", subject, "", "2025-09-01", person, 7),
        Fact("comp_band", subject, "", "2025-09-01", {"compa_ratio": 104.0}, 7),
        Trait(subject, {"sex": "female"}, 7),
    ]
