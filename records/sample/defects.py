"""The defects of real exports, planted on purpose and counted, so that a test can see that each was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from records.sample.files import Cell, Sheet

SHARE: Final = 0.0015
"""Of a file's rows, per kind of defect; at least one."""


class Spoiler:
    """Plants defects in one site's exports, at most one per person.

    Attributes:
        spoiled: numbers of the people whose records can not come out as they were.
    """

    def __init__(self, random: np.random.Generator) -> None:
        """Draws whom it strikes from `random`."""
        self._random = random
        self._struck: set[str] = set()
        self.spoiled: set[str] = set()
        self._quarantined: Counter[str] = Counter()
        self._repaired: Counter[str] = Counter()

    def taken(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The counts since the last call, by kind: rows that end in quarantine, rows that are repaired."""
        counts = dict(self._quarantined), dict(self._repaired)
        self._quarantined, self._repaired = Counter(), Counter()
        return counts

    def note(self, kind: str, rows: int, repaired: bool = False) -> None:
        """Counts rows whose defect was planted elsewhere."""
        (self._repaired if repaired else self._quarantined)[kind] += rows

    def spare(self, *numbers: str) -> None:
        """Plants nothing on people whose records got a defect elsewhere."""
        self._struck.update(numbers)

    def spoil(self, sheet: Sheet, kind: str, column: str, value: Cell) -> None:
        """Overwrites a cell so that its row ends in quarantine and its person lacks what the row said."""
        for row in self._rows(sheet):
            sheet.rows[row][sheet.place(column)] = value
            self.spoiled.add(sheet.owners[row])
            self.note(kind, 1)

    def soil(self, sheet: Sheet, kind: str, column: str, change: Callable[[str], Cell], empty: bool = False) -> None:
        """Writes a cell (`empty`: one that is) in another way, which the mapping reads as the same."""
        place = sheet.place(column)
        for row in self._rows(sheet, place if empty else None):
            sheet.rows[row][place] = change(str(sheet.rows[row][place] or ""))
            self.note(kind, 1, repaired=True)

    def repeat(self, sheet: Sheet, kind: str, changes: Mapping[str, Cell]) -> None:
        """Adds a copy of a row with these cells changed: in quarantine, or, if nothing is changed, without effect."""
        for row in self._rows(sheet):
            cells = list(sheet.rows[row])
            for column, value in changes.items():
                cells[sheet.place(column)] = value
            sheet.add(sheet.owners[row], *cells)
            self.note(kind, 1, repaired=not changes)

    def _rows(self, sheet: Sheet, empty: int | None = None) -> list[int]:
        """Rows of people who were not struck yet, if asked for with nothing in the cell at `empty`."""
        wanted = max(1, round(SHARE * len(sheet.rows)))
        found: list[int] = []
        for row in self._random.permutation(len(sheet.rows)):
            fits = empty is None or sheet.rows[row][empty] in ("", None)
            if fits and sheet.owners[row] not in self._struck and len(found) < wanted:
                self._struck.add(sheet.owners[row])
                found.append(int(row))
        return found
