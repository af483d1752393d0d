"""Canonical JSON against published vectors (RFC 8785; cyberphone/json-canonicalization) and against ECMAScript."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import InputError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "jcs.json").read_text(encoding="utf-8"))
DOCUMENTS = [pytest.param(one, id=one["name"]) for one in VECTORS["documents"]]
NUMBERS = [pytest.param(*one, id=one[0]) for one in VECTORS["numbers"]]
NODE = shutil.which("node")
# RFC 8785's own words: primitives as JSON.stringify has them, keys as sort() has them.
SCRIPT = """
const write = v => v === null || typeof v !== "object" ? JSON.stringify(v)
  : Array.isArray(v) ? "[" + v.map(write).join() + "]"
  : "{" + Object.keys(v).sort().map(k => JSON.stringify(k) + ":" + write(v[k])).join() + "}";
process.stdout.write(write(JSON.parse(require("fs").readFileSync(0, "utf8"))));
"""


def has_fraction(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(has_fraction, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


def expected(vector: dict[str, Any]) -> bytes:
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    return str(vector["output"]).encode("utf-8") if "output" in vector else b""


@pytest.mark.parametrize("vector", DOCUMENTS)
def test_published_documents_are_written_as_published_or_refused_for_their_fractions(vector: dict[str, Any]) -> None:
    value = json.loads(vector["input"])
    if "values" in vector:  # RFC 8785 3.2.3 gives the order of the members alone
        assert list(json.loads(canonical.to_bytes(value)).values()) == vector["values"]
        return
    assert rfc8785.dumps(value) == expected(vector)
    if has_fraction(value):
        with pytest.raises(InputError):
            canonical.to_bytes(value)
        with pytest.raises(InputError):
            canonical.from_bytes(vector["input"].encode("utf-8"), "vector")
    else:
        assert canonical.to_bytes(value) == expected(vector)
        read = canonical.from_bytes(vector["input"].encode("utf-8"), "vector")
        assert canonical.to_bytes(read) == expected(vector)


def test_both_kinds_of_documents_are_among_the_vectors() -> None:
    kinds = {has_fraction(json.loads(one["input"])) for one in VECTORS["documents"]}
    assert kinds == {True, False}


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_the_library_writes_numbers_as_rfc_8785_appendix_b_and_we_write_no_floats_at_all(
    bits: str, text: str | None
) -> None:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    if text is None:
        with pytest.raises(rfc8785.FloatDomainError):
            rfc8785.dumps(value)
    else:
        assert rfc8785.dumps(value) == text.encode("ascii")
    with pytest.raises(InputError):
        canonical.to_bytes(value)


@pytest.mark.parametrize("whole", [0, -1, 1, 295, 2**53 - 1, -(2**53) + 1])
def test_whole_numbers_are_written_as_the_same_float_would_be(whole: int) -> None:
    assert canonical.to_bytes(whole) == rfc8785.dumps(float(whole))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.none(), max_size=6))
def test_keys_are_sorted_by_utf_16_code_units(document: dict[str, None]) -> None:
    written = list(json.loads(canonical.to_bytes(document)))
    assert written == sorted(document, key=lambda key: key.encode("utf-16-be"))


@pytest.mark.skipif(NODE is None, reason="no node on this machine")
def test_an_ecmascript_engine_writes_the_same_bytes() -> None:
    texts = [chr(code) for code in (*range(0x20), 0x22, 0x5C, 0x7F, 0x80, 0x2028, 0xFB33, 0x1F600, 0x10FFFF)]
    document = {"integers": [0, -1, 2**53 - 1, 1 - 2**53], **{text: [text, {text: None, "": True}] for text in texts}}
    written = canonical.to_bytes(document)
    # JSON.parse puts whole-number keys first and must still come out sorted
    for data in (written, json.dumps(document).encode(), canonical.to_bytes({"10": 1, "9": 2, "1": {"b": 1, "a": 2}})):
        node = subprocess.run([str(NODE), "-e", SCRIPT], input=data, capture_output=True, check=True)
        assert node.stdout == canonical.to_bytes(canonical.from_bytes(data, "test"))
