"""What people are told, made from the registry: a notice per purpose, and the page that holds all of them.

A notice says what is kept, why, on which ground, from where, who sees it, for how long, what it is never used for, and
how to stop it (GDPR Art. 13 and 14). It can not leave out a column: it walks the registry's, and a registry whose
entries lack a text does not load. Who the controller is stands beside it, said by the site.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final

from privacy.errors import InputError
from records.prohibited import TOPICS
from records.registry import Basis, Column, Feature, Purpose, Registry, stricter

WIDTH: Final = 100
SUBJECTS: Final = ("employee", "candidate")

GROUNDS: Final = {
    Basis.CONSENT: "your consent (GDPR Art. 6(1)(a))",
    Basis.LEGITIMATE_INTEREST: "a legitimate interest, to which you may object (GDPR Art. 6(1)(f))",
    Basis.CONTRACT: "your contract, or steps that you asked for before one (GDPR Art. 6(1)(b))",
    Basis.LEGAL_OBLIGATION: "a legal obligation (GDPR Art. 6(1)(c))",
}
SOURCES: Final = {
    "hris": "the HR system",
    "ats": "the system for applications",
    "lms": "the learning system",
    "calendar": "your calendar",
    "survey": "surveys",
    "timekeeping": "time recording",
    "payroll": "payroll",
    "employee": "yourself",
    "kith": "Kith itself",
}
ROLES: Final = {
    "self": "you",
    "manager": "your manager",
    "reviewer": "the reviewers who decide",
    "hr_partner": "HR partners",
    "privacy_officer": "the privacy officer",
    "auditor": "the auditor",
    "application": "your employer's applications, where they are allowed to ask",
}
STARTS: Final = {
    "exit": "after employment ends",
    "valid_from": "after the day from which it holds",
    "recorded": "after it was recorded",
}
_STOP: Final = {
    Basis.CONSENT: "Nothing is read before you agree. You may withdraw at any time, as easily as you agreed and "
    "without any consequence: from the next read on your data is left out. A model that was trained before "
    "is not unlearned.",
    Basis.LEGITIMATE_INTEREST: "You may object at any time and need give no reason: from the next read on your data is "
    "left out, from training too. A model that was trained before is not unlearned. What is marked as needing your "
    "consent is read only if you gave it for this purpose.",
    Basis.CONTRACT: "This is necessary for your contract, so you can not object to it. You may have mistakes "
    "corrected.",
    Basis.LEGAL_OBLIGATION: "The law requires this, so you can not object to it; you may have mistakes corrected. What "
    "is stated voluntarily may be taken back.",
}
RIGHTS: Final = (
    "You may see, correct, export and erase what is held about you, restrict its use, have a decision explained and "
    "looked at by a person, and complain to a data protection authority (GDPR Art. 15 to 22 and 77)."
)
TRAINING: Final = (
    "Where training is mentioned, a model learns from many people's records inside your company's own systems. What "
    "leaves them is a sum over many people with noise added, which bounds what anyone can tell from it about you; your "
    "privacy balance shows that bound."
)


def notice_document(registry: Registry, purpose: str, subject: str | None = None) -> dict[str, Any]:
    """The notice of a purpose as JSON data.

    Args:
        registry: what is registered.
        purpose: one of its purposes.
        subject: "employee" or "candidate", for what concerns them alone; None for all.

    Raises:
        InputError: for an unknown purpose or subject.
    """
    if subject is not None and subject not in SUBJECTS:
        raise InputError(f"notice: expected one of {', '.join(SUBJECTS)}, got {subject!r:.40}")
    asked = registry.purpose(purpose)
    columns = [column for column in registry.columns_for(purpose) if subject in (None, column.subject)]
    return {
        "purpose": asked.name,
        "title": asked.title,
        "version": asked.notice_version,
        "changed": registry.notices[asked.notice].changed,
        "text": registry.notices[asked.notice].text,
        "basis": asked.basis.value,
        "basis_in_words": GROUNDS[asked.basis],
        "why": asked.balancing,
        "held": [_column(registry, asked, column) for column in columns],
        "derived": [_feature(registry, asked, feature) for feature in _derived(registry, asked, columns)],
        "estimated": _estimated(asked, columns),
        "never_used_for": list(asked.prohibited_for),
        "how_to_stop": _STOP[asked.basis],
        "rights": RIGHTS,
    }


def notice_text(registry: Registry, purpose: str, subject: str | None = None) -> str:
    """The notice of a purpose as plain text, for people.

    Raises:
        InputError: as of `notice_document`.
    """
    document = notice_document(registry, purpose, subject)
    head = f"{document['title']} (notice {document['purpose']}, version {document['version']}, {document['changed']})"
    parts = [
        head + "\n" + "=" * len(head),
        _filled(document["text"]),
        _filled(f"Ground: {document['basis_in_words']}. {document['why']}"),
        "What is kept for this:\n" + "\n".join(_held_lines(document["held"])),
    ]
    if document["derived"]:
        parts.append("What is worked out from it:\n" + "\n".join(_derived_lines(document["derived"])))
        parts.append(_filled(" ".join([document["estimated"] or "", TRAINING]).strip()))
    if document["never_used_for"]:
        parts.append(_filled(f"Never used for: {_listed(document['never_used_for'])}."))
    parts += [_filled(f"How to stop it: {document['how_to_stop']}"), _filled(RIGHTS)]
    return "\n\n".join(parts) + "\n"


def transparency_document(registry: Registry, subject: str = "employee") -> dict[str, Any]:
    """Everything a person of that kind is told, as JSON data: a notice per purpose, and what is never held.

    Raises:
        InputError: for an unknown subject.
    """
    notices = [notice_document(registry, name, subject) for name in registry.purposes]
    return {
        "subject": subject,
        "registry": registry.digest,
        "purposes": [notice for notice in notices if notice["held"]],
        "never_held": [{"what": topic.topic, "why": topic.reason, "source": topic.source} for topic in TOPICS],
        "rights": RIGHTS,
    }


def transparency_text(registry: Registry, subject: str = "employee") -> str:
    """Everything a person of that kind is told, as plain text.

    Raises:
        InputError: for an unknown subject.
    """
    document = transparency_document(registry, subject)
    notices = [notice_text(registry, notice["purpose"], subject) for notice in document["purposes"]]
    never = [_bullet(f"{topic['what']}: {topic['why']} ({topic['source']})") for topic in document["never_held"]]
    return "\n\n".join([*notices, "What Kith never holds:\n" + "\n".join(never)]) + "\n"


def _derived(registry: Registry, purpose: Purpose, columns: Sequence[Column]) -> list[Feature]:
    mine = (feature for feature in registry.features.values() if purpose.name in feature.purposes)
    return [feature for feature in mine if feature.column in columns]


def _estimated(purpose: Purpose, columns: Sequence[Column]) -> str | None:
    """What the purpose's models learn to estimate, where it concerns these columns."""
    rule = purpose.label
    if rule is None or rule.column not in columns:
        return None
    ends = _listed(rule.counted, "or")
    return f"What is learned is whether an employment ends ({rule.column.name}) as {ends} ({rule.reason.name})."


def _column(registry: Registry, purpose: Purpose, column: Column) -> dict[str, Any]:
    return {
        "column": column.name,
        "about": column.subject,
        "what": registry.notices[column.notice].text,
        "since_version": column.since,
        "basis": stricter(purpose.basis, column.basis).value,
        "special_category": column.special_category,
        "sources": list(column.sources),
        "visible_to": list(column.visible_to),
        "kept_months": column.retention_months,
        "kept_from": column.retention_from,
        "may_train": column.train,
        "may_serve": column.serve,
        "never_used_for": list(column.prohibited_for),
    }


def _feature(registry: Registry, purpose: Purpose, feature: Feature) -> dict[str, Any]:
    return {
        "feature": feature.name,
        "from": feature.column.name,
        "what": registry.notices[feature.notice].text,
        "since_version": feature.since,
        "basis": stricter(purpose.basis, feature.basis).value,
        "trains": feature.train,
        "serves": feature.serve,
    }


def _held_lines(held: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for item in held:
        mark = " Only with your consent." if item["basis"] == Basis.CONSENT else ""
        sources = _listed([SOURCES.get(source, source) for source in item["sources"]], "or")
        lines.append(_bullet(f"{item['what']}{mark} [{item['column']}]"))
        lines.append(
            _filled(
                f"From {sources}; seen by {_listed([ROLES[role] for role in item['visible_to']])}; kept for "
                f"{item['kept_months']} months {STARTS[item['kept_from']]}.",
                "    ",
            )
        )
    return lines


def _derived_lines(derived: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for item in derived:
        mark = " Only with your consent." if item["basis"] == Basis.CONSENT else ""
        uses = [use for use, does in (("training", item["trains"]), ("recommendations", item["serves"])) if does]
        lines.append(_bullet(f"{item['what']}{mark} For {_listed(uses or ['nothing yet'])}. [{item['feature']}]"))
    return lines


def _listed(words: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bullet(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  - ", subsequent_indent="    ", break_long_words=False)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
