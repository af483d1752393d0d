"""Directories that are no release."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from privacy import release_files

Spoiling = Callable[[Path], object]
SPOILINGS: list[Spoiling] = []


def in_directory(spoiling: Spoiling) -> Spoiling:
    """A manipulation of the directory, refused by check 1."""
    SPOILINGS.append(spoiling)
    return spoiling


@in_directory
def an_extra_file(release: Path) -> None:
    (release / "notes.txt").touch()


@in_directory
def an_extra_file_in_a_look_alike_name(release: Path) -> None:
    (release / "\N{CYRILLIC SMALL LETTER ES}ard.json").write_bytes(b"{}")


@in_directory
def an_extra_hidden_file(release: Path) -> None:
    (release / ".keys.json").touch()


@in_directory
def an_extra_receipts_file(release: Path) -> None:
    (release / "receipts/2.jsonl").touch()


@in_directory
def a_receipts_file_with_a_leading_zero(release: Path) -> None:
    (release / "receipts/0.jsonl").rename(release / "receipts/00.jsonl")


@in_directory
def an_extra_directory(release: Path) -> None:
    (release / "receipts/more").mkdir()


@in_directory
def a_missing_card(release: Path) -> None:
    (release / "card.json").unlink()


@in_directory
def a_missing_excerpt(release: Path) -> None:
    (release / "ledger/1.json").unlink()


@in_directory
def a_missing_folder(release: Path) -> None:
    (release / "ledger").rename(release.with_name("elsewhere"))


@in_directory
def a_symbolic_link(release: Path) -> None:
    (release / "card.json").unlink()
    (release / "card.json").symlink_to("plan.json")


@in_directory
def a_symbolic_link_to_a_folder(release: Path) -> None:
    (release / "ledger").rename(release.with_name("elsewhere"))
    (release / "ledger").symlink_to(release.with_name("elsewhere"))


@in_directory
def a_fifo(release: Path) -> None:
    (release / "plan.json").unlink()
    os.mkfifo(release / "plan.json")


@in_directory
def a_directory_in_the_place_of_a_file(release: Path) -> None:
    (release / "keys.json").unlink()
    (release / "keys.json").mkdir()


@in_directory
def a_giant_file(release: Path) -> None:
    os.truncate(release / "model.safetensors", release_files.MAX_FILE_BYTES + 1)
