"""A first contract for a table: what a look at the data suggests, for a person to read and confirm.

Whatever was taken from the data (bounds, values, head counts, the meaning of the label) carries `confirm = true`. Head
counts and bounds are rounded outward and values sorted, so that a draft tells less of the data than it was drawn
from; it still is a statement about people until a person has replaced what is not public anyway.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from privacy.errors import InputError
from records.contract import MAX_SITES, MAX_VALUE, parse_contract
from records.table import Table, as_numbers, is_shown

MOST_STEPS: Final = 15
"""A number of whole steps over at most this range is drafted with `step = 1`."""
MOST_CATEGORIES: Final = 60
MOST_LABELS: Final = 20
FEW_NUMBERS: Final = 10
LARGEST: Final = 1e15
ROWS_TO_KNOW_AN_IDENTIFIER: Final = 50
MISSING_SITE: Final = "(missing)"


def _set(words: str, between: str | None = None) -> frozenset[str]:
    return frozenset(words.split(between))


POSITIVE: Final = _set("1 1.0 yes y true t left leaver leave leaves quit resigned attrited churned positive promoted")
ORDERS: Final = tuple(
    tuple(order.split("<"))
    for order in (
        "none<very low<low<lower<medium low<medium<moderate<average<medium high<higher<high<very high",
        "extra small<very small<small<medium<large<very large<extra large<huge",
        "never<almost never<very rarely<rarely<seldom<occasionally<sometimes<often<frequently<usually<very often"
        "<always",
        "very poor<poor<fair<satisfactory<good<very good<excellent<outstanding",
        "strongly disagree<disagree<somewhat disagree<neutral<somewhat agree<agree<strongly agree",
        "very dissatisfied<dissatisfied<neutral<satisfied<very satisfied",
        "very difficult<difficult<somewhat difficult<neither easy nor difficult<somewhat easy<easy<very easy",
        "trainee<intern<entry<entry level<junior<associate<mid<mid level<middle<intermediate<skilled<senior<lead"
        "<principal<director<executive",
        "non travel<travel rarely<travel frequently",
        "no schooling<primary<primary school<secondary<secondary school<high school<hs grad<college<some college"
        "<associate degree<graduate<bachelor<bachelors<bachelor degree<master<masters<master degree<phd<doctorate",
        "daily<weekly<monthly<quarterly<yearly",
        "below expectations<meets expectations<exceeds expectations",
    )
)

# Words of a column's name, as they come out of `_words`. A stem ends in "*".
PROTECTED: Final = _set(
    "gender sex age ages birth birthday birthdate birthyear dob born race racial ethnic* religio* faith caste disab* "
    "handicap* marital marriage married spouse children child kids son daughter dependents dependants parenthood "
    "nationality citizen* native national pregnan* maternity paternity parental lgbt* sexual* union unions political "
    "politics health medical mental illness disorder diagnos* disease chronic smoker smoking drinker alcohol bmi "
    "weight height blood genetic* veteran military over18"
)
PROTECTED_NAMES: Final = _set(
    "body mass index,relationship,orientation,mother tongue,skin color,skin colour,family status,family history", ","
)
KEY_WORDS: Final = _set("id ids uuid guid email mail ssn")
LAST_KEY_WORDS: Final = _set("key hash")
NUMBERED_WORDS: Final = _set("number nr no num code name login user")
PERSON_WORDS: Final = _set("employee person staff worker personnel enrollee candidate user member")
UNITS: Final = _set("years months weeks days hours minutes percent rate share score index ratio count km miles kg cm")
_DATE: Final = re.compile(r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}(?:[ T].*)?")

_AMOUNT: Final = r"[$€£]?\s*([0-9]+(?:[.,][0-9]+)*)\s*(k|m)?\s*%?"
_STEP: Final = re.compile(
    rf"(?i)^(<=|>=|<|>|under|below|less than|up to|over|above|more than|at least)?\s*{_AMOUNT}"
    rf"(?:\s*(?:-|–|—|/|to)\s*{_AMOUNT})?\s*(\+|<=|plus|and more|or more)?\s*[a-z%]{{0,12}}$"
)
_LESS: Final = frozenset({"<", "under", "below", "less than"})
_MORE: Final = frozenset({">", "over", "above", "more than"})


@dataclass(frozen=True, slots=True)
class _Entry:
    """The lines of one column: `fields` in TOML, and what a reader should know."""

    kind: str
    fields: tuple[tuple[str, str], ...] = ()
    train: bool = False
    comment: str = ""


def draft_contract(
    table: Table,
    label: str,
    site: str,
    employee: str | None = None,
    drop: Sequence[str] = (),
    purpose: str = "retention",
) -> str:
    """A contract in TOML that fits the table, with `confirm = true` on everything taken from it.

    Args:
        table: the table to fit.
        label: the column to predict.
        site: the column that says where each row belongs.
        employee: the column that names the employee, if an employee may have several rows.
        drop: columns to leave out altogether.
        purpose: the use case.

    Raises:
        InputError: if a named column is missing or named twice, if there is only one site, class or row to learn from,
            or if no column is fit to learn from.
    """
    named = [name for name in (label, site, employee) if name is not None]
    for name in [*named, *drop]:
        table.column(name)
    if len(set(named)) < len(named) or set(named) & set(drop):
        raise InputError(f"{table.source}: expected different columns as label, site, employee and drop, got one twice")
    lines = [
        "# Drafted from a table. Every `confirm = true` marks what was taken from its rows: put in what is public,",
        "# or what you know, and take the mark away. Columns without an entry are never read.",
        f"purpose = {_quoted(purpose)}",
    ]
    if drop:
        lines.append(f"# dropped: {', '.join(_quoted(name) for name in drop)}")
    if employee is not None:
        lines.append(f"employee = {_quoted(employee)}")
    lines += ["", *_label_lines(table, label), "", *_site_lines(table, site, employee)]
    for name in table.frame.columns:
        if name not in named and name not in drop:
            lines += ["", *_column_lines(table, name)]
    text = "\n".join(lines) + "\n"
    parse_contract(text, f"draft for {table.source}")
    return text


def names_a_key(name: str) -> bool:
    """Whether a column's name says that it tells one person from another ("employee_key", "ID", "e-mail")."""
    words = _words(name)
    if KEY_WORDS & set(words) or (words and words[-1] in LAST_KEY_WORDS):
        return True
    return bool(PERSON_WORDS & set(words)) and bool(NUMBERED_WORDS & set(words))


def _label_lines(table: Table, name: str) -> list[str]:
    """Two sides, or a number."""
    cells = table.column(name).dropna()
    where = f"{table.source}, label {name!r:.80}"
    counts = cells.value_counts()
    if len(counts) < 2:
        raise InputError(f"{where}: expected at least two classes, got {'one' if len(counts) else 'empty cells only'}")
    numbers = as_numbers(cells)
    if numbers.not_finite.any() and not numbers.other.any():
        _refuse_not_finite(table, name)
    lines = ["[label]", f"column = {_quoted(name)}"]
    if len(counts) > FEW_NUMBERS and not numbers.other.any() and _has_bounds(numbers.values):
        low, high = _bounds(numbers.values)
        return [*lines, 'kind = "number"', f"low = {low}", f"high = {high}", 'unit = ""', "confirm = true"]
    if len(counts) > MOST_LABELS:
        raise InputError(f"{where}: expected two values, or numbers, got {len(counts)} different texts")
    _check_printable(counts.index, where)
    positive, comment = _positive(counts)
    negative = sorted(value for value in counts.index if value not in positive)
    return [
        *lines,
        f'kind = "binary"  # {comment}',
        f"positive = {_array(sorted(positive))}",
        f"negative = {_array(negative)}",
        "confirm = true",
    ]


def _positive(counts: pd.Series[int]) -> tuple[set[str], str]:
    """Which values mean yes. Writings that differ in case alone are one value."""
    folded = counts.groupby(counts.index.str.casefold()).sum()
    yes = [value for value in folded.index if value in POSITIVE]
    if len(folded) == 1:
        raise InputError("label: expected at least two classes, got one, in several writings")
    if len(folded) == 2 and len(yes) == 1:
        chosen, comment = yes[0], "the value that says yes is the positive one"
    else:
        chosen = sorted(folded.index, key=lambda value: (folded[value], value))[0]
        comment = "no value says yes: the rarest is taken as the positive one"
        if len(folded) > 2:
            comment += ", all others as negative"
    return {value for value in counts.index if value.casefold() == chosen}, comment


def _site_lines(table: Table, name: str, employee: str | None) -> list[str]:
    """The sites, each with its head count rounded up."""
    cells = table.column(name)
    people = table.column(employee) if employee is not None else pd.Series(np.arange(len(cells)), index=cells.index)
    where = f"{table.source}, site {name!r:.80}"
    if employee is not None and (cells.groupby(people).nunique(dropna=False) > 1).any():
        raise InputError(f"{where}: expected all rows of an employee at one site, got an employee at several")
    named = people.groupby(cells).nunique()
    counts = {str(site): int(count) for site, count in named.items()}
    lines = ["[site]", f"column = {_quoted(name)}"]
    if cells.isna().any():
        if MISSING_SITE in counts:
            raise InputError(f"{where}: expected no site of the name {MISSING_SITE!r} beside missing cells, got one")
        counts[MISSING_SITE] = max(1, int(people[cells.isna()].nunique()))
        lines.append(f"missing = {_quoted(MISSING_SITE)}  # the site of rows without one")
    if not 2 <= len(counts) <= MAX_SITES:
        raise InputError(f"{where}: expected 2 to {MAX_SITES} sites, got {len(counts)}")
    _check_printable(counts, where)
    lines += [
        "confirm = true",
        "[site.people_at_most]  # head counts rounded up; what counts is a bound that is public",
    ]
    return lines + [f"{_quoted(site)} = {_rounded_up(counts[site])}" for site in sorted(counts)]


def _check_printable(values: Iterable[str], where: str) -> None:
    """Refuses values that a contract can not hold, before an error of the contract could quote them."""
    if not all(len(value) <= MAX_VALUE and is_shown(value) for value in values):
        raise InputError(f"{where}: expected printable values of at most {MAX_VALUE} characters, got another")


def _column_lines(table: Table, name: str) -> list[str]:
    entry = _entry(table, name)
    protected = _is_protected(name)
    comment = "protected: never a feature" if protected else entry.comment
    lines = [f"[columns.{_quoted(name)}]" + (f"  # {comment}" if comment else ""), f"kind = {_quoted(entry.kind)}"]
    lines += [f"{key} = {value}" for key, value in entry.fields]
    lines.append(f"train = {'true' if entry.train and not protected else 'false'}")
    if protected:
        lines.append("protected = true")
    if entry.fields:
        lines.append("confirm = true")
    return lines


def _entry(table: Table, name: str) -> _Entry:
    """What a column seems to be."""
    cells = table.column(name).dropna()
    values = [str(value) for value in cells.unique()]
    if len(values) < 2:
        return _Entry("text", comment="one value only: nothing to learn" if values else "empty: nothing to learn")
    numbers = as_numbers(cells)
    numeric = not numbers.other.any()
    if numeric and numbers.not_finite.any():
        _refuse_not_finite(table, name)
    if reason := _identifier(name, len(cells), values, numbers.values if numeric else None):
        return _Entry("text", comment=reason)
    if numeric and len(values) > 2 and _has_bounds(numbers.values):
        low, high = _bounds(numbers.values)
        fields = [("low", low), ("high", high), ("unit", _quoted(_unit(name)))]
        if np.all(numbers.values == np.floor(numbers.values)) and float(high) - float(low) <= MOST_STEPS:
            fields.append(("step", "1"))
        return _Entry("number", tuple(fields), train=True)
    if sum(1 for value in values if _DATE.fullmatch(value)) > len(values) / 2:
        return _Entry("text", comment="dates: turn them into a number, such as months since")
    if len(values) > MOST_CATEGORIES or len(values) > max(2, len(cells) // 2):
        if numbers.other.mean() < 0.5 and not numeric:
            return _Entry(
                "text", comment=f"numbers, but for {int(numbers.other.sum())} cells of text: draft again without"
            )
        return _Entry("text", comment="too many different values to be a category")
    if any(len(value) > MAX_VALUE or not is_shown(value) for value in values):
        return _Entry("text", comment="values too long to be a category")
    order = _order(values)
    kind, listing = ("ordered", order) if order else ("category", sorted(values))
    return _Entry(kind, (("values", _array(listing)),), train=True)


def _identifier(name: str, rows: int, values: Sequence[str], numbers: npt.NDArray[np.float64] | None) -> str:
    """Why a column seems to name people rather than to describe them; "" if it does not."""
    keyed = names_a_key(name)
    distinct = len(values) > 0.95 * rows
    if rows > ROWS_TO_KNOW_AN_IDENTIFIER and distinct:
        if numbers is None:
            return "an identifier or free text: nearly every row has another value"
        whole = bool(np.all(numbers == np.floor(numbers)))
        if keyed or NUMBERED_WORDS & set(_words(name)) or (whole and len(values) == rows and _runs_on(numbers, values)):
            return "an identifier: nearly every row has another number"
    if keyed:
        return "by its name a key: if an employee has several rows, draft again with it as the employee key"
    if numbers is None and any("@" in value and "." in value for value in values):
        return "holds addresses"
    return ""


def _runs_on(numbers: npt.NDArray[np.float64], values: Sequence[str]) -> bool:
    """Whether distinct whole numbers look handed out: close to each other, or all of one great length."""
    lengths = {len(value) for value in values}
    return bool(np.ptp(numbers) < 10 * len(numbers)) or (len(lengths) == 1 and min(lengths) >= 6)


def _refuse_not_finite(table: Table, name: str) -> None:
    bad = as_numbers(table.column(name)).not_finite
    raise InputError(
        f"{table.source}, column {name!r:.80}: expected finite numbers or empty cells, "
        f"got {int(bad.sum())} cells of NaN or infinity, first in row {int(np.argmax(bad))}"
    )


def _order(values: Sequence[str]) -> list[str] | None:
    """The values from low to high if they say so themselves, else None."""
    if len(values) < 3:
        return None
    steps = [_step(value) for value in values]
    if all(step is not None for step in steps):
        ranked = sorted(zip(steps, values, strict=True))
        return [value for _, value in ranked] if len(set(steps)) == len(steps) else None
    plain = {" ".join(_words(value)): value for value in values}
    for order in ORDERS:
        if len(plain) == len(values) and plain.keys() <= set(order):
            return [plain[word] for word in order if word in plain]
    return None


def _step(value: str) -> tuple[float, int] | None:
    """Where a value such as "<10", "10-49", "50/99" or "10000+" stands: its number, and whether below or above it."""
    found = _STEP.match(value)
    if not found:
        return None
    prefix, low, low_unit, high, high_unit, suffix = found.groups()
    number = _amount(low, low_unit)
    if high is not None and _amount(high, high_unit) <= number and low_unit == high_unit:
        return None
    prefix = (prefix or "").lower()
    if prefix in _LESS or prefix in ("<=", "up to"):
        return number, -2 if prefix in _LESS else -1
    return number, 2 if prefix in _MORE else 1 if prefix or suffix or high else 0


def _amount(digits: str, unit: str | None) -> float:
    plain = re.sub(r",(?=[0-9]{3}(?:[^0-9]|$))", "", digits).replace(",", ".")
    whole, _, rest = plain.partition(".")
    return float(f"{whole}.{rest.replace('.', '') or '0'}") * {"k": 1e3, "m": 1e6}.get((unit or "").lower(), 1.0)


def _has_bounds(numbers: npt.NDArray[np.float64]) -> bool:
    """Whether the numbers are neither too large nor too close together for bounds that can be written."""
    largest, spread = float(np.abs(numbers).max()), float(np.ptp(numbers))
    return largest <= LARGEST and spread > 1e-9 * max(1.0, largest)


def _bounds(numbers: npt.NDArray[np.float64]) -> tuple[str, str]:
    """Round numbers around the data; around its middle 99 % where a few cells lie far out."""
    low, high = float(numbers.min()), float(numbers.max())
    inner_low, inner_high = (float(value) for value in np.quantile(numbers, (0.005, 0.995)))
    if inner_high > inner_low and high - low > 4 * (inner_high - inner_low):
        low, high = inner_low, inner_high
    step = _rounded_step((high - low) / 8)
    if np.all(numbers == np.floor(numbers)):
        step = max(step, 1.0)
    places = max(0, -math.floor(math.log10(step)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return f"{first * step:.{places}f}", f"{last * step:.{places}f}"


def _rounded_step(least: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def _rounded_up(count: int) -> int:
    """The next of 1, 1.5, 2, 3, 5, 7, 10 times a power of ten that is a whole number."""
    power = 1
    while True:
        for tenfold in (10, 15, 20, 30, 50, 70):
            if tenfold * power % 10 == 0 and tenfold * power // 10 >= count:
                return tenfold * power // 10
        power *= 10


def _words(name: str) -> list[str]:
    """The words of a name: "EmployeeNumber", "employee_number" and "Employee Number" are the same."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.split(r"[\W_]+", spaced) if word]


def _is_protected(name: str) -> bool:
    words = _words(name)
    if " ".join(words) in PROTECTED_NAMES:
        return True
    return any(
        word.startswith(stem[:-1]) if stem.endswith("*") else word == stem for word in words for stem in PROTECTED
    )


def _unit(name: str) -> str:
    """The unit that a name carries, else "" for a person to fill in."""
    return next((word for word in reversed(_words(name)) if word in UNITS), "")


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(values: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(value) for value in values) + "]"
