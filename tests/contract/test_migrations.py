"""Bringing databases up to date, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from longvideo.errors import FailedPrecondition
from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import migrations
from orchestrator.db import Engine, sqlite_url
from orchestrator.store import Database
from orchestrator.store.calls import Place, Purpose
from orchestrator.tables import Base, CallRow, EpisodeRow, JobRow

NEWEST = migrations.revisions()[-1]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, in a directory with a percent sign in its name or on a server."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("empty_postgres_url"))
    (tmp_path / "100 %").mkdir()
    return sqlite_url(tmp_path / "100 %" / "longvideo.db")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An engine on the database."""
    opened = Engine(url)
    yield opened
    opened.close()


def write(engine: Engine, *statements: str) -> None:
    """Carries statements out."""
    with engine.write() as session:
        for statement in statements:
            session.execute(sa.text(statement))


def tables(engine: Engine) -> set[str]:
    """Returns the names of the tables."""
    return set(sa.inspect(engine.sqlalchemy).get_table_names())


def test_from_empty(engine: Engine) -> None:
    """An empty database gets all tables, and nothing happens the second time."""
    assert migrations.current_revision(engine) == ""
    assert migrations.migrate(engine) == ("", NEWEST)
    assert migrations.migrate(engine) == (NEWEST, NEWEST)
    assert migrations.current_revision(engine) == NEWEST
    assert tables(engine) == {*Base.metadata.tables, "alembic_version"}
    migrations.check(engine)


def test_models_and_migrations_agree(engine: Engine) -> None:
    """The tables that the migrations make are those of the models."""
    migrations.migrate(engine)
    with engine.sqlalchemy.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_many_at_one_time(url: str) -> None:
    """Of many that migrate an empty database at one time, one does, and all find it done."""
    engines, ready = [Engine(url) for _ in range(4)], threading.Barrier(4)

    def race(engine: Engine) -> tuple[str, str]:
        ready.wait()
        return migrations.migrate(engine)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(race, engines))
    assert {after for _, after in done} == {NEWEST}
    assert [before for before, _ in done].count("") >= 1
    for engine in engines:
        engine.close()
    Database(url).close()


def test_a_database_from_before_there_were_revisions(engine: Engine) -> None:
    """A database that kept its version itself is taken over with everything in it."""
    first(engine)
    assert migrations.current_revision(engine) == "0001"
    assert migrations.migrate(engine) == ("0001", NEWEST)
    assert "schema_info" not in tables(engine)
    with engine.read() as session:
        assert session.scalar(sa.text("SELECT state FROM videos")) == "ready"
    migrations.check(engine)


def first(engine: Engine) -> None:
    """Makes a database as it was before there were revisions, with a row in it."""
    migrations.migrate(engine, "0001")
    write(
        engine,
        "DROP TABLE alembic_version",
        "CREATE TABLE schema_info (version BIGINT PRIMARY KEY)",
        "INSERT INTO schema_info VALUES (1)",
        "INSERT INTO videos VALUES ('ab', 'ready', 1, 'a film', 5.0, '', '', 1, 1, 1, 1, 1, 'mp4', 'h264', '[]', '')",
    )


def test_everything_belongs_to_the_first_tenant(url: str, engine: Engine) -> None:
    """What there was before there were tenants belongs to `default`, and goes on."""
    migrations.migrate(engine, "0001")
    spec = pb.Job(video="videos/v", questions=[pb.Question(text="?")]).SerializeToString().hex()
    blob = f"X'{spec}'" if engine.is_sqlite else f"'\\x{spec}'"
    write(
        engine,
        "INSERT INTO videos VALUES ('v', 'ready', 9, 'a film', 5.0, 's', '1', 1, 1, 1, 1, 1, 'mp4', 'h264', '[]', '')",
        "INSERT INTO videos VALUES ('w', 'pending', 7, 'another', 6.0, '', '', 0, 0, 0, 0, 0, '', '', '[]', '')",
        "INSERT INTO subtitles VALUES ('v', 's', 3, 5.5)",
        *(
            f"INSERT INTO jobs VALUES ('{job}', 'v', 'running', {blob}, 4, {created}, NULL, '{job}', 'f', 0, 1, 0)"
            for job, created in (("j1", 7.0), ("j2", 8.0))
        ),
        *(
            f"INSERT INTO episodes VALUES ('{job}', 1, '{state}', '?', '[]', '', 0, '', '', '[]', '', '', 2, 7.0, 7.5,"
            f" NULL, {owner}, {until}, 0, 0, 0, NULL)"
            for job, state, owner, until in (("j1", "running", "'w1'", 9.0), ("j2", "pending", "NULL", 0.0))
        ),
        "INSERT INTO model_calls VALUES ('c', 'j1', 1, 1, 'qa', 'm', 'u', 'h', 1, 7.2, 0.5, 'ok', 1, 1, 1, 0, 1, '')",
    )
    assert migrations.migrate(engine) == ("0001", NEWEST)
    database = Database(url)
    assert [tenant.id for tenant in database.tenants.all()] == ["default"]
    held = database.videos.page("default", None, 10)
    assert [(each.id, each.is_ready, each.holding.display_name, each.holding.subtitles) for each in held] == [
        ("w", False, "another", ""),
        ("v", True, "a film", "s"),
    ]
    assert database.videos.has_subtitles("default", "v", "s")
    assert [job.id for job in database.jobs.page("default", "v", None, 10)] == ["j2", "j1"]
    earlier = database.jobs.submitted("default", "j1")
    assert earlier is not None
    assert earlier.priority == 0
    assert [call.id for call in database.calls.page(Place("j1"), None, 10)] == ["c"]
    assert database.work.reclaim(database.work.expired()) == 1, "its worker is long dead"
    assert database.work.due(10) == 2
    database.close()


def test_what_calls_were_for(url: str, engine: Engine) -> None:
    """Calls from before they said for which video they were made are told by their jobs; those without one are not."""
    migrations.migrate(engine, "0002")
    blob = "X''" if engine.is_sqlite else "''"
    call = "'qa', 'm', 'u', 'h', 1, 7.2, 0.5, 'ok', 1, 1, 1, 0, 1, '', 'default'"
    write(
        engine,
        "INSERT INTO videos (id, state, size_bytes, create_time, source_version, duration, frame_count, frame_rate,"
        " width_px, height_px, container, codec, warnings, timeline)"
        f" VALUES ('v', 'ready', 9, 5.0, '', 1, 1, 1, 1, 1, '', '', '[]', {blob})",
        "INSERT INTO jobs (id, tenant_id, video_id, state, priority, spec, tree_width, create_time, request_id,"
        " waiting, fingerprint, last_position, open_count, failed_count)"
        f" VALUES ('j', 'default', 'v', 'succeeded', 0, {blob}, 4, 7.0, NULL, '', 'f', 0, 0, 0)",
        f"INSERT INTO model_calls VALUES ('c1', 'j', 1, 1, {call})",
        f"INSERT INTO model_calls VALUES ('c2', NULL, NULL, NULL, {call})",
    )
    assert migrations.migrate(engine) == ("0002", NEWEST)
    database = Database(url)
    database.calls.record(
        [Call("qa", "m", "u", "h", 1, 8.0, 0.5, "ok", queue_seconds=0.25, id="c3")], Purpose("t", "w")
    )
    with database.engine.read() as session:
        rows = session.execute(sa.select(CallRow.id, CallRow.video_id, CallRow.label, CallRow.queue_seconds))
        assert sorted(rows) == [("c1", "v", "", None), ("c2", None, "", None), ("c3", "w", "", 0.25)]
        assert session.scalar(sa.select(JobRow.label)) == ""
    database.close()


def test_what_jobs_had_spent(url: str, engine: Engine) -> None:
    """Jobs from before they said what they had spent say it of their calls; what that cost, nobody knows."""
    migrations.migrate(engine, "0003")
    blob = "X''" if engine.is_sqlite else "''"
    write(
        engine,
        "INSERT INTO videos (id, state, size_bytes, create_time, source_version, duration, frame_count, frame_rate,"
        " width_px, height_px, container, codec, warnings, timeline)"
        f" VALUES ('v', 'ready', 9, 5.0, '', 1, 1, 1, 1, 1, '', '', '[]', {blob})",
        *(
            "INSERT INTO jobs (id, tenant_id, video_id, state, priority, spec, tree_width, create_time, request_id,"
            " waiting, fingerprint, last_position, open_count, failed_count, label)"
            f" VALUES ('{job}', 'default', 'v', 'succeeded', 0, {blob}, 4, 7.0, NULL, '', 'f', 0, 0, 0, '')"
            for job in ("j1", "j2")
        ),
        "INSERT INTO episodes (job_id, number, tenant_id, priority, state, question, options, ending, error_code,"
        " error_reason, error_message, opening, answer, choice, round_count, create_time, lease_until, not_before,"
        " wait_count)"
        " VALUES ('j1', 1, 'default', 0, 'answered', '?', '[]', '', 0, '', '', '[]', '', '', 2, 7, 0, 0, 0)",
        *(
            "INSERT INTO model_calls (id, tenant_id, job_id, label, role, model, endpoint, pool, gpus, start_time,"
            " seconds, outcome, prompt_tokens, cached_tokens, completion_tokens, images, attempt, detail)"
            f" VALUES ('{call}', 'default', 'j1', '', 'qa', 'm', 'u', 'h', {gpus}, 7, 1.5, 'ok', 1, 1, 1, 0, 1, '')"
            for call, gpus in (("c1", 1), ("c2", 2))
        ),
    )
    migrations.migrate(engine)
    with engine.read() as session:
        rows = session.execute(sa.select(JobRow.id, JobRow.gpu_seconds, JobRow.cost, JobRow.judged_count))
        assert sorted(rows) == [("j1", 4.5, None, 0), ("j2", 0.0, 0.0, 0)]
        assert session.execute(sa.select(EpisodeRow.truth, EpisodeRow.correct)).one() == ("", None)


def test_newer_database_is_refused(url: str, engine: Engine) -> None:
    """A database that a newer version wrote is refused, with a word on what to do, and stays as it is."""
    migrations.migrate(engine)
    write(engine, "UPDATE alembic_version SET version_num = '9999'")
    for use in (migrations.migrate, migrations.check, lambda _: Database(url)):
        with pytest.raises(FailedPrecondition, match=r"revision 9999.*use the newer longvideo") as caught:
            use(engine)
        assert caught.value.reason == "SCHEMA_TOO_NEW"


def test_who_migrates(url: str, engine: Engine) -> None:
    """A file is brought up to date when it is opened; a server's database is not used before its operator does so."""
    if engine.is_sqlite:
        Database(url).close()
    else:
        with pytest.raises(FailedPrecondition, match=r"has no tables.*longvideo admin migrate") as caught:
            Database(url)
        assert caught.value.reason == "SCHEMA_TOO_OLD"
        assert tables(engine) == set()
        migrations.migrate(engine)
        Database(url).close()
    migrations.check(engine)


def test_failed_migration_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails in the middle leaves the database as it was."""
    original = sa.Connection.execute

    def execute(self: sa.Connection, statement: Any, *args: Any, **options: Any) -> Any:
        if str(statement).strip().startswith("CREATE INDEX model_calls_of_model"):
            raise LookupError
        return original(self, statement, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(sa.Connection, "execute", execute)
        with pytest.raises(LookupError):
            migrations.migrate(engine)
    assert tables(engine) == set()
    migrations.migrate(engine)


def test_revisions_are_a_line() -> None:
    """The revisions are numbered as their files are, each after the one before."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    line = [(revision.down_revision, revision.revision) for revision in script.walk_revisions()][::-1]
    numbers = migrations.revisions()
    assert line == list(zip([None, *numbers], numbers, strict=False))
