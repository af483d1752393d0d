"""`policy.toml`: a site's policy as a file that its people write and read.

Rules:
    1. The file is the site's own: one that others than its owner may write is not read. It is read again for each
       request, so that what was tightened holds from then on.
    2. It is exactly a policy: a word that is not known is refused, as it may be a limit that was misspelt.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import fields as fields_of
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import tomli_w

from federation.opening_hours import Hours
from federation.policy import Approver, Policy, Review
from privacy import fields
from privacy.errors import InputError
from privacy.secret_files import write_new

POLICY_FILE: Final = "policy.toml"
MAX_BYTES: Final = 1 << 16
MAX_ITEMS: Final = 64
_COMMENTS: Final = {
    "use_cases": "Purposes that this site takes part in.",
    "coordinators": 'Who may start runs: "group" for the coordinator of the group\'s key list, or ids of its keys.',
    "trusts": '"local": all of the noise is added here. "secure-sum": sites share it, and only their sum is seen.',
    "measures": "What may leave beside training.",
    "float64": "Whether faster, inexact noise is served.",
    "largest_clip": "Limits of one plan: bound on one employee's gradient, and mu² for each employee.",
    "least_noise": "Of every single release: noise over what one employee can move (of the sum, under a secure sum).",
    "least_people": "With fewer no one's rows are used. Whoever asks can tell: 0 unless few people are the worse risk.",
    "least_replies": "Sites that make up a release at least, and sites that a secure sum must hold against at least.",
    "runs_per_week": 'How often, and when: e.g. hours = ["Mon-Fri 07:00-19:00"]; [] is always.',
    "approvals": 'People who see a plan first: needed = 0, 1 or 2 of them; of = "all", "new" plans, or those\n'
    '# "above" a share of largest_mu2. Each is a table [[approvers]] with a name and a public key in hex digits.',
}


def write_policy(path: Path, policy: Policy) -> None:
    """A new file with this policy, and with words for those who will change it.

    Raises:
        InputError: if `path` exists or can not be written.
    """
    values: dict[str, Any] = {
        one.name: getattr(policy, one.name) for one in fields_of(policy) if one.name not in ("review", "approvers")
    }
    values["hours"] = [str(one) for one in policy.hours]
    lines = [_COMMENTS.get(name, "") and f"# {_COMMENTS[name]}\n" for name in values]
    lines = [comment + tomli_w.dumps({name: values[name]}) for name, comment in zip(values, lines, strict=True)]
    review = {one.name: getattr(policy.review, one.name) for one in fields_of(Review)}
    lines.append(f"\n# {_COMMENTS['approvals']}\n" + tomli_w.dumps({"approvals": review}))
    lines += [f"\n[[approvers]]\n{tomli_w.dumps({'name': one.name, 'public': one.public})}" for one in policy.approvers]
    write_new(path, "".join(lines))


def load_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        InputError: if it is missing, others than its owner may write it (rule 1), or it is no policy (rule 2).
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: expected the site's policy, got {error.strerror}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):  # rule 1
        raise InputError(f"{path}: expected a file that only its owner may write, got mode {mode:o}")
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: expected at most {MAX_BYTES} bytes, got more")
    try:
        return _parsed(data)
    except (ValueError, RecursionError):
        raise InputError(f"{path}: expected TOML, got otherwise") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@lru_cache(maxsize=16)
def _parsed(data: bytes) -> Policy:
    """Bytes that were read before need no second reading: the file itself is read each time (rule 1)."""
    return read_policy(tomllib.loads(data.decode("utf-8")))


def read_policy(document: Mapping[str, Any]) -> Policy:
    """The policy that a TOML document says; what it leaves out is as in `Policy`.

    Raises:
        InputError: naming what was expected.
    """
    found = dict(document)
    approvals = found.pop("approvals", {})
    people = found.pop("approvers", [])
    _known(found, Policy, ("review", "approvers"), "policy")
    _known(approvals, Review, (), "policy, approvals")
    for name in ("use_cases", "coordinators", "trusts", "measures", "hours"):
        if name in found:
            found[name] = _texts(found[name], f"policy, {name}")
    if "use_cases" not in found:
        raise InputError("policy, use_cases: expected the purposes that the site takes part in, got none")
    if not isinstance(people, list) or len(people) > MAX_ITEMS:
        raise InputError(f"policy, approvers: expected at most {MAX_ITEMS} tables, got otherwise")
    return Policy(
        **{**found, "hours": tuple(map(Hours.from_text, found.get("hours", ())))},
        review=Review(**approvals),
        approvers=tuple(Approver(**fields.exactly(one, ("name", "public"), "policy, approvers")) for one in people),
    )


def _known(found: Any, kind: type, but: tuple[str, ...], where: str) -> None:
    names = [name for name in kind.__dataclass_fields__ if name not in but]  # type: ignore[attr-defined]
    if not isinstance(found, dict) or not set(found) <= set(names):
        raise InputError(f"{where}: expected only {', '.join(names)}, got otherwise")


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS or not all(isinstance(one, str) for one in value):
        raise InputError(f"{where}: expected a list of at most {MAX_ITEMS} texts, got otherwise")
    return tuple(value)
