"""The engine that reaches the database: SQLite when embedded, PostgreSQL in a cluster."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from longvideo import metrics
from longvideo.errors import BadSettings, LongVideoError, StorageFull, StorageUnavailable
from orchestrator.tables import Base

# How long a writer waits for another process that writes to the same SQLite file.
_BUSY_SECONDS = 30

# A server that is gone without a word is noticed, and what a client that is gone without a word has locked is free
# again, all within a minute.
_SERVER_OPTIONS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
    "options": "-c lock_timeout=30s -c idle_in_transaction_session_timeout=60s",
}


def sqlite_url(path: Path) -> str:
    """Returns the URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


class Engine:
    """A database. Reads and writes are short transactions; what goes wrong in them comes out as a longvideo error."""

    def __init__(self, url: str, connections: int = 20) -> None:
        """Prepares the use of the database at a SQLAlchemy URL; connects when first used. Raises BadSettings.

        Threads wait for each other when there are more than `connections` that use it at one time.
        """
        try:
            parsed = sa.make_url(url)
            if parsed.drivername in {"postgresql", "postgres"}:
                parsed = parsed.set(drivername="postgresql+psycopg")  # the one that comes with longvideo
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            options = {"timeout": _BUSY_SECONDS} if self.is_sqlite else _SERVER_OPTIONS
            self._engine = sa.create_engine(
                parsed,
                pool_size=connections,
                max_overflow=0,
                pool_use_lifo=True,
                connect_args=options,
            )
        except (exc.ArgumentError, ImportError) as error:
            raise BadSettings(
                f"database_url is {_shown(url)!r}: {error}; give a SQLAlchemy URL such as sqlite:////data/longvideo.db",
                setting="database_url",
            ) from None
        self.place = parsed.database or "" if self.is_sqlite else parsed.render_as_string(hide_password=True)
        self._reading: sa.Engine = self._engine
        self._writing: sa.Engine = self._engine.execution_options(longvideo_writes=True)
        # SQLite has one writer at a time. Waiting here is fair and wakes at once; its own waiting is neither.
        self._writer: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if self.is_sqlite else contextlib.nullcontext()
        )
        self._insert: Any = (sqlite if self.is_sqlite else postgresql).insert
        self._inserts: dict[type[Base], Any] = {}
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:
            sa.event.listen(self._engine, "checkout", _check_out)

    @property
    def sqlalchemy(self) -> sa.Engine:
        """The engine below, for those who listen to its events."""
        return self._engine

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """Gives a session that sees one state of the database."""
        with self._explained(), Session(self._reading, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """Gives a session whose changes take effect together at the end, or, after an exception, not at all."""
        with (
            self._writer,
            self._explained(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextlib.contextmanager
    def change(self) -> Iterator[sa.Connection]:
        """Gives a connection like the session of `write`, for those who need no mapper."""
        with self._writer, self._explained(), self._writing.begin() as connection:
            yield connection

    def insert_once(self, table: type[Base]) -> Any:
        """Returns an INSERT that leaves a row that is already there as it is, and counts those it inserts."""
        if table not in self._inserts:
            insert = self._insert(table.__table__).on_conflict_do_nothing()
            self._inserts[table] = insert.execution_options(preserve_rowcount=True)
        return self._inserts[table]

    @contextlib.contextmanager
    def schema_change(self) -> Iterator[sa.Connection]:
        """Gives a connection whose changes take effect together at the end, the tables' shape included.

        On SQLite, which changes many things only by making a table anew, references are checked only then.
        """
        with self._writer, self._explained(), self._writing.connect() as connection:
            if not self.is_sqlite:
                with connection.begin():
                    yield connection
                return
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA foreign_keys = OFF")  # says nothing within a transaction
            try:
                with connection.begin():
                    yield connection
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                    assert not broken, f"the change breaks references: {broken[:5]}"
            finally:
                driver.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise
        except (exc.DatabaseError, exc.InterfaceError, exc.TimeoutError) as error:
            explained = _storage_error(error, self.place)
            if explained is None:
                raise
            metrics.storage_failed("database", explained)
            raise explained from error


def _shown(url: str) -> str:
    """Returns a URL without its password, as far as it can be told."""
    head, at, tail = url.rpartition("@")
    return head.split("://")[0] + "://…@" + tail if at else url


def _check_out(connection: Any, _record: Any, _proxy: Any) -> None:
    # An idle connection that can be read was closed by its server. To ask the server takes three round trips.
    poll = select.poll()
    if not connection.closed:
        poll.register(connection.fileno(), select.POLLIN)
    if connection.closed or poll.poll(0):
        raise exc.InvalidatePoolError("the server has closed the connection")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    cursor = connection.cursor()
    # A committed job survives a power cut: that costs one fsync for a write, and writes are seconds apart.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that starts by reading and then writes fails at once when somebody else wrote in between.
    writes = connection.get_execution_options().get("longvideo_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


_SQLITE_ADVICE = {
    "SQLITE_READONLY": "it is read-only; change its permissions or use another data directory",
    "SQLITE_CANTOPEN": "it cannot be opened; check that its directory exists and may be written",
    "SQLITE_NOTADB": "it is not a database; move it away or use another data directory",
    "SQLITE_CORRUPT": "it is damaged; restore a copy, or move it away to start with an empty one",
    "SQLITE_BUSY": "another process keeps it locked; stop that process",
    "SQLITE_LOCKED": "another process keeps it locked; stop that process",
    "SQLITE_IOERR": "the disk reports an error; check the disk",
    "SQLITE_PERM": "its permissions forbid it; change them or use another data directory",
    "SQLITE_PROTOCOL": "its file system cannot lock files; use a data directory on a local disk",
}


# What PostgreSQL says when something else than the statement is to blame: a connection, a conflict with another
# transaction, resources, an operator, the system; or who may enter. 25006: a server that only reads, as a standby does.
_PASSING_STATES = {"08", "28", "3D", "40", "53", "55", "57", "58"}


def _storage_error(error: exc.SQLAlchemyError, place: str) -> LongVideoError | None:
    """Returns what to raise when the storage is to blame, and None for a defect of ours."""
    if isinstance(error, exc.TimeoutError):
        return StorageUnavailable(f"cannot use the database {place}: all connections are busy; try again later")
    cause = error.orig if isinstance(error, exc.DBAPIError) else None
    name: str = getattr(cause, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return StorageFull(
            f"no space left to write the database {place}; free some, or use another data directory", path=place
        )
    for prefix, advice in _SQLITE_ADVICE.items():
        if name.startswith(prefix):
            return StorageUnavailable(f"cannot use the database {place}: {advice}", path=place)
    if state := getattr(cause, "sqlstate", None):
        return _server_error(state, cause, place)
    if not name and isinstance(error, exc.OperationalError | exc.InterfaceError):
        return StorageUnavailable(
            f"cannot use the database {place}: {_line(cause)}; check that it runs and can be reached"
        )
    return None


def _server_error(state: str, cause: object, place: str) -> LongVideoError | None:
    """Returns what to raise for what PostgreSQL said."""
    if state == "53100":
        return StorageFull(f"no space left on the server of the database {place}; free some", path=place)
    if state[:2] in _PASSING_STATES or state == "25006":
        return StorageUnavailable(f"cannot use the database {place} now: {_line(cause)}; check the server's log")
    return None


def _line(cause: object) -> str:
    return " ".join(str(cause).split())
