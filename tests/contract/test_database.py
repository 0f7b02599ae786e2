"""The database on SQLite and PostgreSQL under the suite, and what is particular to a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from longvideo.errors import BadSettings, StorageFull, StorageUnavailable
from orchestrator.db import sqlite_url
from orchestrator.store import Database
from tests.contract.database import (
    VIDEO,
    Databases,
    DatabaseSuite,
    add_video,
    can_be_taken,
    decided,
    finished,
    journal,
    submit,
    take,
    test_lease_says_why_it_ended,
)
from tests.parts import Postgres

__all__ = ["test_lease_says_why_it_ended"]


class TestSqlite(DatabaseSuite):
    """A SQLite file is a database."""

    @pytest.fixture
    def databases(self, tmp_path: Path) -> Iterator[Databases]:
        """Opens one file, in a directory with a space and a percent sign in its name."""
        directory, opened = tmp_path / "data 100%", list[Database]()
        directory.mkdir()

        def open_one() -> Database:
            opened.append(Database(sqlite_url(directory / "longvideo.db")))
            return opened[-1]

        yield open_one
        for database in opened:
            database.close()


class TestPostgres(DatabaseSuite):
    """A PostgreSQL database is a database."""

    @pytest.fixture
    def databases(self, postgres_url: str) -> Iterator[Databases]:
        """Opens one database of a server."""
        opened = list[Database]()

        def open_one() -> Database:
            opened.append(Database(postgres_url))
            return opened[-1]

        yield open_one
        for database in opened:
            database.close()

    def test_connections_of_a_server_that_was_restarted(self, postgres: Postgres, databases: Databases) -> None:
        """Connections that the server closed while they were idle are replaced before anybody uses them."""
        database = databases()
        add_video(database)
        job = submit(database)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: database.jobs.view(job), range(16)))
        postgres.restart()
        for _ in range(4):
            assert database.jobs.view(job).job.id == job.job_id


def test_what_is_no_database(tmp_path: Path) -> None:
    """A file that is not a database, a directory, and a place that does not exist are named, with the fix."""
    text = tmp_path / "notes.db"
    text.write_text("these are notes, and not a database at all. " * 50)
    for path, fix in (
        (text, "it is not a database"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "no" / "x", "opened"),
    ):
        with pytest.raises(StorageUnavailable, match=fix) as caught:
            Database(sqlite_url(path))
        assert str(path) in caught.value.message


def test_read_only_database(tmp_path: Path) -> None:
    """A database that may not be written is named, with the fix."""
    path = tmp_path / "longvideo.db"
    Database(sqlite_url(path)).close()
    with pytest.raises(StorageUnavailable, match="read-only"):
        Database(f"sqlite:///file:{path}?immutable=1&uri=true").videos.create(
            "default", "0" * 64, size_bytes=1, display_name=""
        )


def test_full_disk(tmp_path: Path) -> None:
    """A write for which there is no space changes nothing, says so, and later ones work when there is space again."""
    database = Database(sqlite_url(tmp_path / "longvideo.db"))
    add_video(database)
    database.close()
    pages = ["0"]

    def limit(connection: Any, _record: Any) -> None:
        pages[0] = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    sa.event.listen(database.engine.sqlalchemy, "connect", limit)
    with pytest.raises(StorageFull, match="no space left to write the database"):
        submit(database, 1000)
    assert database.jobs.page(None, "", None, 10) == []
    sa.event.remove(database.engine.sqlalchemy, "connect", limit)
    database.close()
    submit(database)
    database.close()


def test_urls(tmp_path: Path) -> None:
    """A URL that means nothing is refused, and no password is shown."""
    for url in ("nonsense", "sqlit:///x", "postgresql+nonsense://me:secret@host/db"):
        with pytest.raises(BadSettings, match="database_url") as caught:
            Database(url)
        assert "secret" not in caught.value.message


def test_sqlite_is_set_up_for_many_readers_and_power_cuts(tmp_path: Path) -> None:
    """The file has a write-ahead log, every commit reaches the disk, and references are checked."""
    database = Database(sqlite_url(tmp_path / "longvideo.db"))
    with database.engine.read() as session:
        found = [session.scalar(sa.text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]
    database.close()


_WORKER = """
    import os, sys, time
    from pathlib import Path
    from orchestrator.db import sqlite_url
    from orchestrator.store import Database
    from longvideo.resources import JobName
    from tests.contract.database import call, decided, finished, journal, take
    database = Database(sqlite_url(Path(sys.argv[1])))
    book = journal(database, take(database, JobName(sys.argv[2])))
    book.decided(decided(1), [call()])
    book.finished(finished(decided(1)), [call()])
    book.decided(decided(2), [call()])
    print("decided", flush=True)
    with database.engine.write() as session:  # dies in the middle of a write
        session.connection().exec_driver_sql("DELETE FROM rounds")
        time.sleep(60)
"""


def test_killed_worker_loses_nothing_it_recorded(tmp_path: Path) -> None:
    """After SIGKILL in the middle of a write, everything recorded before is there and the rest never happened."""
    path = tmp_path / "longvideo.db"
    database = Database(sqlite_url(path))
    add_video(database)
    job = submit(database)
    command = [sys.executable, "-c", textwrap.dedent(_WORKER), str(path), job.job_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "decided\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not can_be_taken(database), "the dead worker's lease lasts on"
    database.release_all_leases()
    book = journal(database, take(database, job, owner="w2"))
    assert book.rounds() == [finished(decided(1)), decided(2)]
    book.finished(finished(decided(2)), ())
    assert database.jobs.view(job).episodes[0].round_count == 2
    assert database.videos.get(VIDEO, "default").is_ready
    database.close()
