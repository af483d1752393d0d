"""Valid releases of which some sites are absent, and valid secure sums; `forgeries.absences` has what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy import canonical, release_files
from privacy.certificate import REASONS
from privacy.verify import verify_files
from tests.privacy.forging import certificate_of, certified
from tests.privacy.small_release import MASKED_SITES, RUN, SITES, Group, absent, audit, masked_plan, plan, releases_of
from tests.privacy.test_verify import found

CERTIFICATE = release_files.CERTIFICATE


@pytest.mark.parametrize("reason", REASONS)
def test_a_site_may_be_absent_from_some_releases_and_is_named_with_the_reason(tmp_path: Path, reason: str) -> None:
    group = Group(tmp_path)
    gone = [*absent(SITES[0], ("gradient", 0), reason=reason), *absent(SITES[1], ("gradient", 1), reason=reason)]
    released = group.train(RUN, plan(), away=gone)
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    assert "but for 2 absences, of North, South & West" in found(verdict, "receipts")
    certificate = certificate_of(group, released)
    assert {one.reason for one in certificate.absences} == {reason}
    assert [one.total_after for one in certificate.accounts] == ["0.3125", "0.3125"]


def test_what_an_absent_site_was_charged_in_vain_counts(tmp_path: Path) -> None:
    group = Group(tmp_path)
    released = group.train(RUN, plan(), away=absent(SITES[1], ("gradient", 1)), in_vain=True)
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    assert "1 repeated or in vain" in found(verdict, "ledger")
    assert [one.total_after for one in certificate_of(group, released).accounts] == ["0.375", "0.375"]


def test_a_site_that_is_in_no_release_has_no_account(tmp_path: Path) -> None:
    group = Group(tmp_path)
    released = group.train(RUN, plan(), away=absent(SITES[0], *releases_of(plan())))
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    assert set(released) == set(release_files.names(1))
    assert [one.site for one in certificate_of(group, released).accounts] == [SITES[1]]
    assert found(verdict, "witnesses") == "every checkpoint is held by at least 1 other site"


def test_a_prior_release_may_have_been_without_a_site_and_this_one_with_it(tmp_path: Path) -> None:
    group = Group(tmp_path)
    first = group.train("first", plan(), away=absent(SITES[0], *releases_of(plan())))
    second = group.train("second", plan(), prior=first[CERTIFICATE])
    assert verify_files(second, group.pinned, prior=first[CERTIFICATE]).ok
    third = group.train("third", plan(), prior=second[CERTIFICATE], away=absent(SITES[0], *releases_of(plan())))
    assert verify_files(third, group.pinned, prior=second[CERTIFICATE]).ok


def test_a_secure_sum_is_verified_and_says_what_holds_against_whom(tmp_path: Path) -> None:
    group = Group(tmp_path, names=MASKED_SITES)
    gone = [
        *absent("West", ("second-moments", 0)),
        *absent("East", ("gradient", 1)),
        *absent("North", ("head-count", 0)),
    ]
    verdict = verify_files(group.train(RUN, masked_plan(), away=gone, in_vain=True), group.pinned)
    assert verdict.ok, verdict.rows()
    said = found(verdict, "trust")
    assert said.startswith("secure-sum: the coordinator and up to 1 colluding site see no other site's own sum")
    assert "1/2 of the noise's variance" in said
    assert "coordinator's word" in found(verdict, "side outputs")


def test_the_sums_of_a_secure_sum_s_measures_are_the_coordinator_s_word(tmp_path: Path) -> None:
    """What `privacy.verify` says that it does not show is indeed accepted."""
    group = Group(tmp_path, names=MASKED_SITES)
    files = group.train(RUN, masked_plan())
    document = canonical.from_bytes(files[release_files.MEASURES], "measures")
    document["sums"]["head-count"][0]["values"][0] += 1
    made_up = certified(group, {**files, release_files.MEASURES: canonical.to_bytes(document)})
    assert verify_files(made_up, group.pinned).ok


def test_an_audit_of_a_secure_sum_is_one_of_the_noise_that_honest_sites_add(tmp_path: Path) -> None:
    group = Group(tmp_path, names=MASKED_SITES)
    verdict = verify_files(group.train(RUN, masked_plan(), audit=audit(masked_plan())), group.pinned)
    assert verdict.ok, verdict.rows()
    assert "prove epsilon of at least" in found(verdict, "audit")
