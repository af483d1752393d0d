"""The record of processing activities (GDPR Art. 30(1)), made from the registry as JSON data and as Markdown.

What only the site knows (who the controller is, who its data protection officer) is given by the caller, and stands as
"to be stated by the site" where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from privacy.errors import InputError
from records.registry import Column, Purpose, Registry, stricter
from records.table import is_shown

UNSTATED: Final = "to be stated by the site"
MAX_STATED: Final = 500
RECIPIENTS_OUTSIDE: Final = (
    "The group's coordinator: sums over many people with noise under differential privacy, and certificates of their "
    "cost; no record of a person."
)
TRANSFERS: Final = "None by Kith itself: records stay in the site's own database."
SAFEGUARDS: Final = (
    "Pseudonymous keys (HMAC-SHA256) whose key is kept outside the database.",
    "Protected traits in a separate encrypted vault under other keys, which only an auditor can read.",
    "Purpose, basis, consent and objection checked at every read; an append-only log of consent events.",
    "Unregistered and prohibited columns are refused when data comes in.",
    "Deletion when the registered time is over, and erasure on request, both logged in a chain of digests.",
    "Training under differential privacy with a ledger of each person's cost.",
)


def processing_document(
    registry: Registry, controller: str | None = None, protection_officer: str | None = None
) -> dict[str, Any]:
    """The record of processing as JSON data: one activity per purpose that holds columns.

    Args:
        registry: what is registered.
        controller: name and contact details of the site (Art. 30(1)(a)).
        protection_officer: contact details of its data protection officer, if it has one.

    Raises:
        InputError: for a controller or officer that is not printable text of at most 500 characters.
    """
    return {
        "article": "GDPR Art. 30(1)",
        "registry": registry.digest,
        "controller": _stated(controller, "controller"),
        "data_protection_officer": _stated(protection_officer, "data protection officer"),
        "activities": [_activity(registry, purpose) for purpose in registry.purposes.values()],
        "recipients_outside_the_site": RECIPIENTS_OUTSIDE,
        "transfers_to_third_countries": TRANSFERS,
        "security_measures": list(SAFEGUARDS),
    }


def processing_markdown(
    registry: Registry, controller: str | None = None, protection_officer: str | None = None
) -> str:
    """The record of processing as Markdown: a section and a table of columns per purpose.

    Raises:
        InputError: as of `processing_document`.
    """
    record = processing_document(registry, controller, protection_officer)
    parts = [
        "# Record of processing activities",
        f"{record['article']}. Made from the registry of digest `{record['registry']}`.",
        f"Controller: {_escaped(record['controller'])}  \n"
        f"Data protection officer: {_escaped(record['data_protection_officer'])}",
        *(_section(activity) for activity in record["activities"]),
        f"## Recipients outside the site\n\n{record['recipients_outside_the_site']}",
        f"## Transfers to third countries\n\n{record['transfers_to_third_countries']}",
        "## Security measures (Art. 32(1))\n\n" + "\n".join(f"- {measure}" for measure in record["security_measures"]),
    ]
    return "\n\n".join(parts) + "\n"


def _stated(text: str | None, what: str) -> str:
    if text is None:
        return UNSTATED
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_STATED or not is_shown(text):
        raise InputError(f"record of processing: expected the {what} as printable text of 1 to {MAX_STATED} characters")
    return text


def _activity(registry: Registry, purpose: Purpose) -> dict[str, Any]:
    columns = registry.columns_for(purpose.name)
    return {
        "purpose": purpose.name,
        "title": purpose.title,
        "basis": purpose.basis.value,
        "balancing": purpose.balancing,
        "notice_version": purpose.notice_version,
        "data_subjects": _distinct(f"{column.subject}s" for column in columns),
        "recipients": _distinct(role for column in columns for role in column.visible_to if role != "self"),
        "sources": _distinct(source for column in columns for source in column.sources),
        "special_categories": any(column.special_category for column in columns),
        "ruled_out_uses": list(purpose.prohibited_for),
        "trained_from": [feature.name for feature in registry.features_for(purpose.name, "train")],
        "served_from": [feature.name for feature in registry.features_for(purpose.name, "serve")],
        "columns": [_column(registry, purpose, column) for column in columns],
    }


def _column(registry: Registry, purpose: Purpose, column: Column) -> dict[str, Any]:
    return {
        "column": column.name,
        "what": registry.notices[column.notice].text,
        "data_subject": column.subject,
        "basis": stricter(purpose.basis, column.basis).value,
        "sensitivity": column.sensitivity,
        "special_category": column.special_category,
        "sources": list(column.sources),
        "recipients": list(column.visible_to),
        "erased_after_months": column.retention_months,
        "counted_from": column.retention_from,
        "ruled_out_uses": list(column.prohibited_for),
    }


def _distinct(words: Any) -> list[str]:
    return list(dict.fromkeys(words))


def _section(activity: dict[str, Any]) -> str:
    facts = [
        ("Purpose", activity["purpose"]),
        ("Legal basis", _words(activity["basis"])),
        ("Why it holds", activity["balancing"]),
        ("Data subjects", ", ".join(activity["data_subjects"])),
        ("Recipients", _words(", ".join(activity["recipients"]))),
        ("Sources", ", ".join(activity["sources"])),
        ("Special categories", "yes" if activity["special_categories"] else "no"),
        ("Never used for", ", ".join(activity["ruled_out_uses"]) or "no further limit"),
        ("Models learn from", _words(", ".join(activity["trained_from"])) or "nothing"),
        ("Notice", f"version {activity['notice_version']}"),
    ]
    listed = "\n".join(f"- {name}: {_escaped(text)}" for name, text in facts)
    return f"## {_escaped(activity['title'])}\n\n{listed}\n\n{_table(activity['columns'])}"


def _table(columns: Sequence[dict[str, Any]]) -> str:
    head = ("Column", "What", "Of", "Basis", "Sensitivity", "From", "Seen by", "Erased after")
    rows = [
        (
            f"`{column['column']}`",
            _escaped(column["what"]),
            column["data_subject"],
            _words(column["basis"]),
            column["sensitivity"] + (" (special category)" if column["special_category"] else ""),
            ", ".join(column["sources"]),
            _words(", ".join(column["recipients"])),
            f"{column['erased_after_months']} months from {_words(column['counted_from'])}",
        )
        for column in columns
    ]
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _words(text: str) -> str:
    return text.replace("_", " ")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: no table cell, tag, link or emphasis begins in it."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|!&~" else character for character in text)
