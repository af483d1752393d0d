"""Whatever sequence of ingests, withdrawals, corrections, erasures and clocks: no withdrawn purpose's row reappears, no
protected trait leaves the vault, and nothing of an erased person survives anywhere in the store."""

import atexit
import shutil
from calendar import monthrange
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from privacy.errors import InputError, Refused
from records.access import correct, erase, everything_about, readmit
from records.consent import record
from records.facts import Fact, Fault, Trait
from records.ingest import ingest
from records.registry import Basis
from records.retention import expire
from records.snapshot import features_of, snapshot
from records.store import open_store
from records.vault import open_vault
from tests.records.made_up_store import NOW, REGISTRY, bytes_of, contract, everything, new_store, said

PEOPLE = ("ann", "bob", "carl")
NO = ("withdrawn", "objected")
PROTECTED = {"sex": "non-binary", "race_ethnicity": "Two or more races"}
STATES = ("informed", "given", "objection_withdrawn", *NO)
CONSENTED = {feature.name for feature in REGISTRY.features.values() if feature.basis is Basis.CONSENT}
who = st.sampled_from(PEOPLE)


def facts_of(store, source, name, day, **more):
    """What a source says of a person, with texts that no other person's records hold."""
    known = {"start_month": "2020-01", "org_unit": f"unit-of-{name}", "candidate_key": store.pseudonyms.candidate(name)}
    table, item, values = {
        "hris": ("person", "", {**known, **more}),
        "survey": ("pulse", "engagement", {"question": "engagement", "likert": 4.0}),
        "lms": ("learning_event", f"item-of-{name}", {"duration_hours": 8.0}),
        "ats": ("application", f"req-of-{name}", {"stage": "applied"}),
    }[source]
    subject = store.pseudonyms.candidate(name) if source == "ats" else store.pseudonyms.person(name)
    return [Fact(table, subject, item, day, values, 0)]


@cache
def beginning():
    """A store in which everybody is there and was told, to be copied."""
    folder = Path(mkdtemp(prefix="kith-records-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with new_store(folder / "records") as store:
        for source in ("hris", "survey", "lms", "ats"):
            facts = [fact for name in PEOPLE for fact in facts_of(store, source, name, "2026-09-01")]
            ingest(store, REGISTRY, source, "test", source, facts, NOW)
        for name in PEOPLE:
            record(store, REGISTRY, said(store.pseudonyms.person(name), "informed", NOW), NOW)
    return folder / "records"


def month_end(now):
    """The last day of the month, as which a contract may read features."""
    return now.date().replace(day=monthrange(now.year, now.month)[1])


class Records(RuleBasedStateMachine):
    """A site's records in the hands of everybody who may touch them, in any order.

    `said_no` are the people whose last word on retention was no, `agreed` those who ever agreed; `erased` are those
    about whom nothing may be stored.
    """

    def __init__(self):
        super().__init__()
        self.folder = Path(mkdtemp(prefix="kith-records-")) / "records"
        shutil.copytree(beginning(), self.folder)
        self.store = open_store(self.folder)
        self.now = NOW
        self.steps = 0
        self.said_no, self.agreed, self.erased = set(), set(), set()

    def teardown(self):
        shown = [everything_about(self.store, REGISTRY, self.subject(name), self.now).to_json() for name in PEOPLE]
        assert not [value for value in PROTECTED.values() if any(value in text for text in shown)]
        self.store.close()
        shutil.rmtree(self.folder.parent)

    def subject(self, name):
        return self.store.pseudonyms.person(name)

    def applicant(self, name):
        return self.store.pseudonyms.candidate(name)

    def day(self, ago):
        return (self.now.date() - timedelta(days=ago)).isoformat()

    def ingest(self, *incoming, source="hris"):
        self.steps += 1
        ingest(self.store, REGISTRY, source, "test", f"batch-{self.steps}", incoming, self.now)

    # What may happen

    @rule(name=who, manager=who, ago=st.integers(0, 900), ends=st.sampled_from([None, None, 1, 800]))
    def hris_says(self, name, manager, ago, ends):
        end = {"end_month": self.day(ends)[:7], "exit_type": "voluntary"} if ends else {}
        said_so = {"manager_key": self.subject(manager), **end}
        self.ingest(*facts_of(self.store, "hris", name, self.day(ago), **said_so))

    @rule(name=who, ago=st.integers(0, 900), source=st.sampled_from(["survey", "lms", "ats"]))
    def others_say(self, name, ago, source):
        self.ingest(*facts_of(self.store, source, name, self.day(ago)), source=source)

    @rule(name=who)
    def protected_traits_come(self, name):
        self.ingest(Trait(self.subject(name), PROTECTED, 0), Fault(1, "x", "expected a day", self.subject(name)))

    @rule(name=who, state=st.sampled_from(STATES), ago=st.integers(-40, 40))
    def a_source_reports_what_was_said(self, name, state, ago):
        at = self.now - timedelta(days=ago, seconds=self.steps)
        self.ingest(said(self.subject(name), state, at), source="employee")
        self.heard(name, state)

    @rule(name=who, no=st.sampled_from(NO), ago=st.integers(0, 40))
    def a_no_bears_an_older_time_than_the_yes_before_it(self, name, no, ago):
        self.a_source_reports_what_was_said(name, "given", 0)
        self.a_source_reports_what_was_said(name, no, ago)

    @rule(name=who, state=st.sampled_from(STATES))
    def speak(self, name, state):
        with suppress(Refused):
            record(self.store, REGISTRY, said(self.subject(name), state, self.now), self.now, unknown=True)
            self.heard(name, state)

    def heard(self, name, state):
        if name in self.erased or state == "informed":
            return
        (self.said_no.add if state in NO else self.said_no.discard)(name)
        if state == "given":
            self.agreed.add(name)
        elif state in NO:
            self.agreed.discard(name)

    @rule(name=who, level=st.sampled_from(["entry", "lead"]))
    def a_person_corrects(self, name, level):
        with suppress(InputError):
            correct(self.store, REGISTRY, self.subject(name), "person.level_band", "", None, level, self.now)

    @rule(name=who)
    def a_person_asks_to_be_erased(self, name):
        linked = self.applicant(name) in everything(self.store)["person"]
        erase(self.store, self.subject(name), self.now, unknown=True)
        assert not linked or self.applicant(name) not in str(everything(self.store))
        erase(self.store, self.applicant(name), self.now, unknown=True)
        self.erased.add(name)
        self.said_no.discard(name)
        self.agreed.discard(name)

    @precondition(lambda self: self.erased)
    @rule(data=st.data())
    def somebody_is_readmitted(self, data):
        name = data.draw(st.sampled_from(sorted(self.erased)))
        readmit(self.store, self.subject(name), self.now)
        readmit(self.store, self.applicant(name), self.now)
        self.erased.discard(name)

    @rule()
    def what_is_past_its_time_goes(self):
        expire(self.store, REGISTRY, self.now)

    @rule(days=st.integers(-500, 500))
    def the_clock_jumps(self, days):
        self.now += timedelta(days=days)

    # What must always hold

    @invariant()
    def a_no_keeps_the_row_out_and_consent_its_columns(self):
        frame = snapshot(self.store, REGISTRY, contract(month_end(self.now).isoformat()), self.now).table.frame
        rows = frame.set_index("employee_key")
        for name in PEOPLE:
            subject = self.subject(name)
            if name in self.said_no | self.erased:
                assert subject not in rows.index
                with suppress(Refused):
                    features_of(self.store, REGISTRY, "retention", subject, self.now)
                    raise AssertionError("served after a no")
            if name not in self.agreed and subject in rows.index:
                assert rows.loc[subject, sorted(CONSENTED)].isna().all()

    @invariant()
    def nothing_of_the_vault_or_of_an_erased_person_is_anywhere(self):
        cells = "\n".join(cell for table in everything(self.store).values() for cell in table)
        files = bytes_of(self.folder)
        for trace in (*PROTECTED.values(), *(trace for name in self.erased for trace in self.traces(name))):
            assert trace not in cells
            assert not [file for file, content in files.items() if trace.encode() in content]
        vault = open_vault(self.store)
        assert not [name for name in self.erased if vault.holds(self.subject(name))]
        vault.close()

    def traces(self, name):
        return self.subject(name), self.applicant(name), f"unit-of-{name}", f"item-of-{name}", f"req-of-{name}"

    @invariant()
    def the_log_holds(self):
        with self.store.reading() as connection:
            assert self.store.check_log(connection) >= 1


TestRecords = Records.TestCase
TestRecords.settings = settings(
    max_examples=30, stateful_step_count=15, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink]
)
