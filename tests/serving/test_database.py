"""The database keeps the rules of `serving.database` itself, against raw SQL, on SQLite and on PostgreSQL."""

import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from privacy.errors import InputError
from records.databases import MIGRATIONS
from serving.database import SCHEMA, Base, Decision, Recommendation, Store, migrate
from tests.serving.conftest import row

REASON = "Twenty characters of reason at least."


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def sql(url):
    """Raw SQL on a connection that knows nothing of our code; a statement that breaks a rule leaves no trace."""
    engine = sa.create_engine(url)

    def run(statement, **values):
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return result.scalars().all() if result.returns_rows else None

    yield run
    engine.dispose()


@pytest.fixture
def put(url):
    store = Store(url)

    def add(*rows):
        with store.writing() as session:
            session.add_all(rows)

    yield add
    store.close()


DECIDE = (
    "INSERT INTO decisions (recommendation_id, decided_by, outcome, reason_code, reason, decided_at)"
    " VALUES (:id, :by, :outcome, 'other', :reason, 'now')"
)


def decide(sql, id="r1", by="ann", outcome="approve", reason=REASON):
    sql(DECIDE, id=id, by=by, outcome=outcome, reason=reason)


def set_status(sql, status, id="r1"):
    sql("UPDATE recommendations SET status = :status WHERE id = :id", status=status, id=id)


def status_of(sql, id="r1"):
    return sql("SELECT status FROM recommendations WHERE id = :id", id=id)[0]


def broken(rule):
    return pytest.raises(DBAPIError, match=rule)


@pytest.mark.parametrize("status", ["approved", "declined", "ready", "abstained"])
def test_nothing_leaves_proposed_without_a_decision(put, sql, status):
    put(row())
    with broken("rule_2"):
        set_status(sql, status)
    assert status_of(sql) == "proposed"


def test_one_decision_is_enough_at_medium_stakes(put, sql):
    put(row())
    decide(sql)
    set_status(sql, "approved")
    assert status_of(sql) == "approved"


def test_high_stakes_stay_proposed_after_one_decision(put, sql):
    put(row(stakes="high"))
    decide(sql, by="ann")
    with broken("rule_2"):
        set_status(sql, "approved")
    decide(sql, by="bob")
    set_status(sql, "approved")


@pytest.mark.parametrize(("outcome", "status"), [("approve", "declined"), ("decline", "approved")])
def test_the_status_is_what_was_decided(put, sql, outcome, status):
    put(row())
    decide(sql, outcome=outcome)
    with broken("rule_2"):
        set_status(sql, status)


def test_approved_means_that_all_approved(put, sql):
    put(row(stakes="high"))
    decide(sql, by="ann", outcome="approve")
    decide(sql, by="bob", outcome="decline")
    with broken("rule_2"):
        set_status(sql, "approved")
    set_status(sql, "declined")


@pytest.mark.parametrize("status", ["proposed", "declined", "ready"])
def test_what_was_decided_stays_decided(put, sql, status):
    put(row())
    decide(sql)
    set_status(sql, "approved")
    with broken("rule_2"):
        set_status(sql, status)


@pytest.mark.parametrize(
    ("stakes", "status"), [("medium", "approved"), ("medium", "ready"), ("high", "declined"), ("low", "proposed")]
)
def test_nothing_comes_into_being_decided_or_ready_at_stakes(put, stakes, status):
    with broken("rule_1"):
        put(row(stakes=stakes, status=status))


@pytest.mark.parametrize(
    "column", ["stakes", "decisions_needed", "inputs", "explanation", "requested_by", "employee", "site", "id"]
)
def test_what_a_recommendation_was_made_from_stays(put, sql, column):
    put(row())
    with broken("rule_3"):
        sql(f"UPDATE recommendations SET {column} = {column}")


@pytest.mark.parametrize("statement", ["UPDATE decisions SET reason = reason", "DELETE FROM decisions"])
def test_decisions_are_never_changed_or_deleted(put, sql, statement):
    put(row())
    decide(sql)
    with broken("rule_3"):
        sql(statement)


def test_decisions_are_not_emptied_at_once(postgresql_url):
    engine = sa.create_engine(postgresql_url)
    with broken("rule_3"), engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE decisions"))
    engine.dispose()


@pytest.mark.parametrize("by", ["portal", "p-1"])
def test_nobody_decides_on_their_own_request_or_on_themselves(put, sql, by):
    put(row())
    with broken("rule_4"):
        decide(sql, by=by)


def test_nobody_decides_twice(put, sql):
    put(row(stakes="high"))
    decide(sql)
    with broken("rule_4"):
        decide(sql)


def test_nobody_decides_after_the_end_or_on_what_does_not_exist(put, sql):
    put(row())
    decide(sql)
    set_status(sql, "approved")
    for id in ("r1", "r2"):
        with broken("rule_4"):
            decide(sql, id=id, by="bob")


def test_a_decision_has_a_reason(put, sql):
    put(row())
    with pytest.raises(DBAPIError):
        decide(sql, reason="too short")


def test_replacing_a_row_does_not_go_around_the_rules(sqlite_url):
    store = Store(sqlite_url)
    with store.writing() as session:
        session.add(row(stakes="high"))
        session.flush()
        session.add(Decision(recommendation_id="r1", decided_by="ann", outcome="decline", reason_code="other",
                             reason=REASON, decided_at="now"))  # fmt: skip
    engine = sa.create_engine(sqlite_url)
    with broken("rule_4"), engine.begin() as connection:
        connection.execute(
            sa.text(DECIDE.replace("INSERT", "INSERT OR REPLACE")),
            {"id": "r1", "by": "ann", "outcome": "approve", "reason": REASON},
        )
    with broken("rule_1"), engine.begin() as connection:
        columns = ", ".join(column.name for column in Recommendation.__table__.columns)
        connection.execute(
            sa.text(f"INSERT OR REPLACE INTO recommendations ({columns}) SELECT {columns} FROM recommendations")
        )


def test_the_models_are_the_migrated_schema(url):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_programs_schema():
    versions = [str(SCHEMA.versions)]
    assert ScriptDirectory(str(MIGRATIONS), version_locations=versions).get_current_head() == SCHEMA.revision


def test_migrating_again_changes_nothing(url, put, sql):
    put(row())
    migrate(url)
    assert status_of(sql) == "proposed"
    assert Store(url).is_current()


def test_a_database_without_the_schema_is_not_current(tmp_path):
    assert not Store(f"sqlite:///{tmp_path / 'empty.db'}").is_current()


def test_the_sqlite_file_is_its_owners_alone(sqlite_url):
    folder = Path(sa.make_url(sqlite_url).database).parent
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_failed_transaction_leaves_no_trace(url, put, sql):
    store = Store(url)

    def fail_half_way():
        with store.writing() as session:
            session.add(row())
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert sql("SELECT count(*) FROM recommendations") == [0]


def test_writers_wait_for_each_other(url, sql):
    store = Store(url)
    errors = []

    def write(n):
        try:
            for k in range(10):
                with store.writing() as session:
                    session.add(row(f"r{n}-{k}"))
        except SQLAlchemyError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sql("SELECT count(*) FROM recommendations") == [40]


def test_errors_do_not_repeat_what_was_written(url, put):
    put(row())
    with pytest.raises(SQLAlchemyError) as caught:
        put(row(employee="canary-4711"))
    assert "canary-4711" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense", "nosuchdb://x", "sqlite:////proc/nowhere/kith.db"])
def test_an_unusable_url_is_told_in_one_line(url):
    with pytest.raises(InputError) as refused:
        migrate(url)
    assert "\n" not in str(refused.value)
