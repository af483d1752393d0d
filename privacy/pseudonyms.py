"""Pseudonyms: keyed digests that stand for people, things and texts where the store must not hold them.

HMAC-SHA256 (RFC 2104) under the site's key, cut to 128 bits. What is hashed names its domain and the site, each part
preceded by its length, so that no two meanings share a digest. Without the key a digest can be neither traced back
nor computed for a guess: the key lives outside the database.
"""

from __future__ import annotations

import hmac
import unicodedata
from typing import Final

from privacy.errors import InputError

KEY_BYTES: Final = 32
MAX_TEXT: Final = 10_000
_DOMAIN: Final = "kith.pseudonym.v1"
_HEX: Final = 32


class Pseudonyms:
    """The pseudonyms of one site: 32 lower-case hexadecimal digits each."""

    def __init__(self, key: bytes, site: str) -> None:
        """Bind a key to a site.

        Raises:
            InputError: if the key is not 32 bytes, or the site has no name.
        """
        if len(key) != KEY_BYTES:
            raise InputError(f"pseudonyms: expected a key of {KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self._site = _bytes(_text(site, "site"), "site")

    def person(self, number: str) -> str:
        """The subject of an employee number, white space around it left out.

        Raises:
            InputError: if there is no number.
        """
        return self._of("person", _text(number, "employee number"))

    def candidate(self, number: str) -> str:
        """The subject of a candidate's number; never that of an employee of the same number.

        Raises:
            InputError: if there is no number.
        """
        return self._of("candidate", _text(number, "candidate number"))

    def item(self, *parts: str) -> str:
        """What tells facts of one person apart, from the cells that do so in their source."""
        return self._of("item", *parts)

    def mark(self, subject: str) -> str:
        """What a tombstone keeps of an erased subject."""
        return self._of("mark", subject)

    def index(self, kind: str, text: str) -> str:
        """Under which a text of this kind is looked up without being held."""
        return self._of("index", kind, text)

    def digest(self, data: bytes) -> str:
        """By which a body is known again."""
        return self._digest([b"digest", data])

    def _of(self, domain: str, *parts: str) -> str:
        return self._digest([domain.encode(), *(_bytes(part, domain) for part in parts)])

    def _digest(self, parts: list[bytes]) -> str:
        message = b"".join(len(part).to_bytes(8, "big") + part for part in (_DOMAIN.encode(), self._site, *parts))
        return hmac.digest(self._key, message, "sha256").hex()[:_HEX]


def _text(text: str, what: str) -> str:
    """A name or number as it is compared: stripped, in Unicode's composed form."""
    if not isinstance(text, str) or len(text) > MAX_TEXT or not (stripped := text.strip()):
        raise InputError(f"pseudonyms: expected a {what} of at most {MAX_TEXT} characters, got otherwise")
    return unicodedata.normalize("NFC", stripped)


def _bytes(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise InputError(f"pseudonyms: expected text for a {what}, got {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"pseudonyms: expected Unicode text for a {what}, got a lone surrogate") from None
