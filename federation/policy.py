"""What a site lets anybody ask of it, and when, and what its own people must see first.

Rules:
    1. A plan that breaks one limit is refused, naming that limit, before anything is read of anybody.
    2. A policy can only narrow what the budget, the contract and the key list allow.
    3. It is the site's alone (`federation.policy_file`): nothing in a run, a plan or a request changes what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from federation.opening_hours import Hours
from models.planning import EVALUATION, FAIRNESS, HEAD_COUNT, TRAINING
from privacy import amounts, fields, signing
from privacy.budget import Budget
from privacy.errors import InputError, Refused
from privacy.key_list import KeyList
from privacy.plan import FLOAT64, SECURE_SUM, TRUSTS, Plan, decimal
from privacy.signing import Verifier

GROUP: Final = "group"
"""In `coordinators`: the coordinator of the group's key list, whichever key that is."""
ALL, NEW, ABOVE = "all", "new", "above"
MEASURES: Final = (EVALUATION, HEAD_COUNT, FAIRNESS + "*")
WEEK: Final = timedelta(days=7)


@dataclass(frozen=True)
class Approver:
    """Somebody at the site who may approve plans: a name, and a raw Ed25519 public key in hexadecimal digits."""

    name: str
    public: str

    def __post_init__(self) -> None:
        """Refuse what is no key.

        Raises:
            InputError: naming the field.
        """
        fields.text(self.name, "policy, approvers, name", 200)
        fields.digest(self.public, f"policy, approvers, public key of {self.name!r}")
        signing.verifier(bytes.fromhex(self.public))

    @property
    def verifier(self) -> Verifier:
        """Of the key."""
        return signing.verifier(bytes.fromhex(self.public))


@dataclass(frozen=True)
class Review:
    """How many approvers must have seen a plan before a run of it starts.

    Attributes:
        needed: 0, 1, or 2 different ones.
        of: which plans: all runs, only plans that nobody here has approved before, or only plans whose mu² is above a
            share of the largest.
        above: that share.
    """

    needed: int = 0
    of: str = ALL
    above: str = "0"

    def __post_init__(self) -> None:
        """Refuse what is no such rule.

        Raises:
            InputError: naming the field.
        """
        if type(self.needed) is not int or self.needed not in (0, 1, 2):
            raise InputError(f"policy, approvals, needed: expected 0, 1 or 2, got {self.needed!r:.20}")
        _one_of(self.of, (ALL, NEW, ABOVE), "policy, approvals, of")
        if not 0 <= decimal(self.above, "policy, approvals, above") < 1:
            raise InputError(f"policy, approvals, above: expected from 0 to below 1, got {self.above}")


@dataclass(frozen=True)
class Policy:
    """A site's limits.

    Attributes:
        use_cases: purposes that the site takes part in.
        coordinators: who may start runs: "group", or ids of coordinators' keys of the key list.
        trusts: out of `privacy.plan.TRUSTS`.
        measures: which measures may leave; "fairness-*" stands for all that begin so.
        float64: whether plans with floating-point noise are served; certificates say where it was used.
        largest_clip: of a plan, a decimal.
        largest_mu2: of a plan, for each employee, a decimal.
        least_noise: of every single release, noise over sensitivity: of the sum under a secure sum, a decimal.
        least_people: fewest people whose records may be used; with fewer no run starts, and none goes on. Whoever asks
            then learns that the site does not take part, so 0, which tells nothing, is the default.
        least_replies: fewest sites that may make up a release.
        least_colluding: how many sites a secure sum must hold against at least.
        runs_per_week: how many runs may start in any seven days.
        hours: when contributions are made, by the clock of `time_zone`; always, if there are none.
        review, approvers: what people must see first, and who they are.
    """

    use_cases: tuple[str, ...]
    coordinators: tuple[str, ...] = (GROUP,)
    trusts: tuple[str, ...] = TRUSTS
    measures: tuple[str, ...] = MEASURES
    float64: bool = False
    largest_clip: str = "25"
    largest_mu2: str = "1"
    least_noise: str = "1"
    least_people: int = 0
    least_replies: int = 1
    least_colluding: int = 1
    runs_per_week: int = 100
    hours: tuple[Hours, ...] = ()
    time_zone: str = "UTC"
    review: Review = field(default_factory=Review)
    approvers: tuple[Approver, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no policy.

        Raises:
            InputError: naming the field.
        """
        for one in self.trusts:
            _one_of(one, TRUSTS, "policy, trusts")
        for one in self.coordinators:
            if one != GROUP:
                fields.digest(one, f"policy, coordinators (or {GROUP!r})")
        for name in ("largest_clip", "largest_mu2", "least_noise"):
            if decimal(getattr(self, name), f"policy, {name}") < 0:
                raise InputError(f"policy, {name}: expected 0 or more, got less")
        for name in ("least_people", "least_replies", "least_colluding", "runs_per_week"):
            fields.whole(getattr(self, name), f"policy, {name}")
        if type(self.float64) is not bool:
            raise InputError("policy, float64: expected true or false, got otherwise")
        try:
            ZoneInfo(fields.text(self.time_zone, "policy, time_zone"))
        except (OSError, ValueError, KeyError):
            raise InputError("policy, time_zone: expected one such as 'Europe/Zurich', got another") from None
        self._check_approvers()

    def _check_approvers(self) -> None:
        names, keys = {one.name for one in self.approvers}, {one.public for one in self.approvers}
        if not len(names) == len(keys) == len(self.approvers):
            raise InputError("policy, approvers: expected different names and different keys, got one twice")
        if self.review.needed > len(self.approvers):
            raise InputError(f"policy, approvers: expected at least {self.review.needed}, got {len(self.approvers)}")

    def coordinator_keys(self, keys: KeyList) -> Mapping[str, Verifier]:
        """The keys that may start runs here, by id: the list's coordinator, if the policy allows it (rule 2)."""
        key = keys.trusted().coordinator
        return {key.keyid: key} if {GROUP, key.keyid} & set(self.coordinators) else {}

    def check(self, plan: Plan, now: datetime, runs_started: Sequence[datetime]) -> None:
        """Return if a run of this plan may start now.

        Args:
            plan: what would run.
            now: aware.
            runs_started: when runs were started here before, aware; others than this one.

        Raises:
            Refused: naming the one limit, what was expected and what came (rule 1).
        """
        self.check_plan(plan)
        self.check_hours(now)
        recent = sum(1 for one in runs_started if one > now - WEEK)  # those after now too: a clock that was put back
        if recent >= self.runs_per_week:
            raise Refused(f"policy, runs_per_week: expected at most {self.runs_per_week} in seven days, got another")

    def check_plan(self, plan: Plan) -> None:
        """Return if the limits hold that do not depend on the hour; as `check`."""
        _among(plan.use_case, self.use_cases, "use_cases")
        _among(plan.trust, self.trusts, "trusts")
        if plan.mechanism == FLOAT64 and not self.float64:
            raise Refused("policy, float64: expected exact discrete noise, got float64 noise")
        for event in plan.events:
            if event.name not in TRAINING:
                _among(_family(event.name), self.measures, "measures", event.name)
            noise = Fraction(event.noise, event.sensitivity)
            if noise < Fraction(decimal(self.least_noise, "least_noise")):
                got = f"{float(noise):.4g} in {event.name!r:.60}"
                raise Refused(f"policy, least_noise: expected at least {self.least_noise} sensitivities, got {got}")
        if decimal(plan.clip, "plan clip") > decimal(self.largest_clip, "largest_clip"):
            raise Refused(f"policy, largest_clip: expected at most {self.largest_clip}, got {plan.clip}")
        asked = amounts.total(plan)
        if asked > Fraction(decimal(self.largest_mu2, "largest_mu2")):
            raise Refused(f"policy, largest_mu2: expected at most {self.largest_mu2}, got {amounts.to_text(asked)}")
        _at_least(plan.replies_at_least, self.least_replies, "least_replies")
        if plan.trust == SECURE_SUM:
            _at_least(plan.colluding, self.least_colluding, "least_colluding")

    def check_hours(self, now: datetime) -> None:
        """Return if contributions are made at this hour.

        Raises:
            Refused: if not.
        """
        local = now.astimezone(ZoneInfo(self.time_zone))
        if self.hours and not any(one.holds(local) for one in self.hours):
            expected = ", ".join(map(str, self.hours))
            raise Refused(f"policy, hours: expected {expected} ({self.time_zone}), got {local:%a %H:%M}")

    def check_people(self, people: int) -> None:
        """Return if so many people's records are enough. Its words are for the site's own log.

        Raises:
            Refused: if not.
        """
        _at_least(people, self.least_people, "least_people")

    def approvals_needed(self, plan: Plan, approved_before: bool) -> int:
        """How many approvers must see a run of this plan first."""
        share = Fraction(decimal(self.review.above, "above"))
        above = amounts.total(plan) > share * Fraction(decimal(self.largest_mu2, "largest_mu2"))
        spared = (self.review.of == NEW and approved_before) or (self.review.of == ABOVE and not above)
        return 0 if spared else self.review.needed


def default_policy(budget: Budget) -> Policy:
    """What a new site starts with: all that its budget allows, by the exact mechanism alone, unseen by anybody."""
    use_cases = tuple(case for group in budget.groups for case in group.use_cases)
    return Policy(use_cases=use_cases, largest_mu2=budget.cap)


def _one_of(value: str, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise InputError(f"{where}: expected one of {', '.join(known)}, got {value!r:.60}")


def _family(measure: str) -> str:
    return FAIRNESS + "*" if measure.startswith(FAIRNESS) else measure


def _among(value: str, allowed: Sequence[str], limit: str, exact: str | None = None) -> None:
    if value not in allowed and exact not in allowed:
        raise Refused(f"policy, {limit}: expected one of {', '.join(allowed) or 'none'}, got {exact or value!r:.60}")


def _at_least(value: int, least: int, limit: str) -> None:
    if value < least:
        raise Refused(f"policy, {limit}: expected at least {least}, got {value}")
