"""What a SCIM client is told when a request fails (RFC 7644, section 3.12), without a word of what it sent.

The messages of scim2-models repeat what came: a filter's value, a path, a cell. None of them passes; what does is the
kind of error, an attribute's name where it is one of ours, and the messages of this package, which hold no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydantic import ValidationError
from scim2_models import (
    Error,
    InvalidFilterException,
    InvalidPathException,
    InvalidSyntaxException,
    InvalidValueException,
    MutabilityException,
    NoTargetException,
    SCIMException,
)

from records.connectors.scim_resources import CATALOGUE

_EXPECTED: Final[dict[str, str]] = {
    InvalidFilterException.scim_type: "filter: expected attributes of the schemas, compared as their types can be",
    InvalidPathException.scim_type: "path: expected an attribute of the schemas, got otherwise",
    InvalidSyntaxException.scim_type: "body: expected a message of the SCIM schema that the request takes",
    InvalidValueException.scim_type: "expected a value of the attribute's type, got otherwise",
    MutabilityException.scim_type: "expected no change of an attribute that is required or read-only",
    NoTargetException.scim_type: "path: expected one that leads to an attribute or to values, got otherwise",
}
_NAMES: Final = {part.lower(): part for path in CATALOGUE for part in path.rpartition(":")[2].split(".")}


@contextmanager
def value_free() -> Iterator[None]:
    """Turns what scim2-models and pydantic raise into the same kind of error in words of our own.

    Raises:
        SCIMException: whose detail holds nothing that came.
    """
    try:
        yield
    except ValidationError as error:
        raise _told(error) from None
    except SCIMException as error:
        cause = error.__cause__
        raise _told(cause) if isinstance(cause, ValidationError) else _again(type(error), error.scim_type) from None
    except (ValueError, TypeError, RecursionError):
        raise _again(InvalidSyntaxException, InvalidSyntaxException.scim_type) from None


def _told(error: ValidationError) -> SCIMException:
    first = error.errors(include_url=False, include_input=False)[0]
    kind = SCIMException.from_error(Error.from_validation_error(first))
    return _again(type(kind), kind.scim_type, _attribute(first["loc"]))


def _again(kind: type[SCIMException], scim_type: str, attribute: str | None = None) -> SCIMException:
    expected = _EXPECTED.get(scim_type, "expected another request")
    known = kind if kind is not SCIMException else InvalidValueException
    return known(detail=f"{attribute}: {expected}" if attribute else expected)


def _attribute(place: tuple[Any, ...]) -> str | None:
    """The attribute at a place in a message, if it is one of ours."""
    names = (_NAMES.get(part.lower()) for part in reversed(place) if isinstance(part, str))
    return next((name for name in names if name), None)
