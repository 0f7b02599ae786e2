"""The tables, and the engine that reaches them: SQLite when embedded, PostgreSQL in a cluster.

All times are seconds since the epoch, as everywhere in longvideo. States, endings, roles and outcomes are the
lower-case names of the wire's enums. The queries are in `orchestrator.store`; nothing here knows what a row is for.
"""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from longvideo.errors import BadSettings, LongVideoError, StorageFull, StorageUnavailable

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


class Base(DeclarativeBase):
    """The root of the tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        float: sa.Double(),
        int: sa.BigInteger(),
        list[str]: sa.JSON(),
        list[dict[str, str]]: sa.JSON(),
        str: sa.Text(),
    }


def _partial(name: str, condition: str, *columns: str) -> sa.Index:
    """Returns an index of the rows that meet a condition, which queries must state in the same words."""
    return sa.Index(name, *columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


class TenantRow(Base):
    """Whose videos and jobs there are. Where a limit is empty there is none.

    One that is disabled can do nothing any more; what it has stays, and what it submitted goes on.
    """

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    display_name: Mapped[str] = mapped_column(default="")
    create_time: Mapped[float]
    disable_time: Mapped[float | None]
    max_running_episodes: Mapped[int | None]
    max_open_episodes: Mapped[int | None]
    max_stored_bytes: Mapped[int | None]
    max_daily_model_seconds: Mapped[float | None]


class TokenRow(Base):
    """A token of a tenant. `digest` is the SHA-256 of its secret, which is kept nowhere."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), index=True)
    digest: Mapped[str] = mapped_column(sa.String(64))
    roles: Mapped[list[str]]
    name: Mapped[str]
    create_time: Mapped[float]
    expire_time: Mapped[float | None]
    revoke_time: Mapped[float | None]


class VideoRow(Base):
    """The bytes of a video, whoever has it. What its file says is empty until it is ready.

    `source_version` is that of the bytes that were checked. A video that nobody has any more is `deleting`, and
    `deleted` once its objects are gone; what its file says is still there for the jobs about it.
    """

    __tablename__ = "videos"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    state: Mapped[str]
    size_bytes: Mapped[int]
    create_time: Mapped[float]
    source_version: Mapped[str] = mapped_column(default="")
    duration: Mapped[float] = mapped_column(default=0.0)
    frame_count: Mapped[int] = mapped_column(default=0)
    frame_rate: Mapped[float] = mapped_column(default=0.0)
    width_px: Mapped[int] = mapped_column(default=0)
    height_px: Mapped[int] = mapped_column(default=0)
    container: Mapped[str] = mapped_column(default="")
    codec: Mapped[str] = mapped_column(default="")
    warnings: Mapped[list[str]] = mapped_column(default=list)
    # See orchestrator.timeline: 10 kB that only those who show segments need.
    timeline: Mapped[bytes] = mapped_column(default=b"", deferred=True)


class HoldingRow(Base):
    """A video that a tenant has, or has announced: it is `pending` until the tenant has shown that it has the bytes.

    `size_bytes` is what was announced. `subtitles` is the resource id of those used by default. `upload_id` and
    `upload_time` tell of an upload that is under way: S3's name for one in parts, and when it was last asked for.
    """

    __tablename__ = "holdings"
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"), primary_key=True)
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id"), primary_key=True)
    state: Mapped[str]
    display_name: Mapped[str]
    subtitles: Mapped[str] = mapped_column(default="")
    size_bytes: Mapped[int]
    create_time: Mapped[float]
    upload_id: Mapped[str] = mapped_column(default="")
    upload_time: Mapped[float] = mapped_column(default=0.0)

    __table_args__ = (
        sa.Index("holdings_newest", "tenant_id", "create_time", "video_id"),
        sa.Index("holdings_of_video", "video_id"),
        sa.Index("holdings_under_way", "state", "upload_time"),
    )


class SubtitlesRow(Base):
    """Subtitles that a tenant has for a video. `id` is their resource id, not a full name."""

    __tablename__ = "subtitles"
    tenant_id: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    video_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    id: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    cue_count: Mapped[int]
    create_time: Mapped[float]

    __table_args__ = (sa.ForeignKeyConstraint(["tenant_id", "video_id"], ["holdings.tenant_id", "holdings.video_id"]),)


class JobRow(Base):
    """A job. `spec` is the job as accepted (longvideo.v1.Job, defaults filled in, no output-only fields).

    `priority` is 0 for interactive work and 1 for batch work, which comes after it, here and in its episodes.
    `last_position` is the position of its newest event, `open_count` and `failed_count` count its episodes that have
    not ended, and that failed. `waiting` says why none of them goes on, while that is so. The `request_id` and a
    `fingerprint` of what was sent with it tell a repeated submission from a new one. Costs are grouped by `label`.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenants.id"))
    video_id: Mapped[str] = mapped_column(sa.ForeignKey("videos.id"))
    state: Mapped[str]
    priority: Mapped[int]
    spec: Mapped[bytes]
    tree_width: Mapped[int]
    create_time: Mapped[float]
    end_time: Mapped[float | None]
    request_id: Mapped[str | None]
    fingerprint: Mapped[str]
    last_position: Mapped[int] = mapped_column(default=0)
    open_count: Mapped[int]
    failed_count: Mapped[int] = mapped_column(default=0)
    waiting: Mapped[str] = mapped_column(default="")
    label: Mapped[str] = mapped_column(sa.String(63), default="")

    __table_args__ = (
        sa.UniqueConstraint("tenant_id", "request_id", name="jobs_once"),
        sa.Index("jobs_newest", "create_time", "id"),
        sa.Index("jobs_of_tenant", "tenant_id", "create_time", "id"),
        sa.Index("jobs_of_video", "video_id", "create_time", "id"),
        _partial("jobs_open", "end_time IS NULL", "tenant_id", "open_count"),
    )


class EpisodeRow(Base):
    """One question of a job.

    While it is `running`, `lease_owner` works on it until `lease_until`. While it is `pending`, nobody takes it up
    before `not_before`. `wait_count` and `wait_start` tell how often, and since when, it has waited for something that
    did not answer, without finishing a round in between. `opening` is the conversation with the reasoner before its
    first reply; empty until that is complete.
    """

    __tablename__ = "episodes"
    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(sa.String(63))
    priority: Mapped[int]
    state: Mapped[str]
    question: Mapped[str]
    options: Mapped[list[str]]
    ending: Mapped[str] = mapped_column(default="")
    error_code: Mapped[int] = mapped_column(default=0)
    error_reason: Mapped[str] = mapped_column(default="")
    error_message: Mapped[str] = mapped_column(default="")
    opening: Mapped[list[dict[str, str]]] = mapped_column(default=list, deferred=True)
    answer: Mapped[str] = mapped_column(default="")
    choice: Mapped[str] = mapped_column(default="")
    round_count: Mapped[int] = mapped_column(default=0)
    create_time: Mapped[float]
    start_time: Mapped[float | None]
    end_time: Mapped[float | None]
    lease_owner: Mapped[str | None] = mapped_column(sa.String(63), index=True)
    lease_until: Mapped[float] = mapped_column(default=0.0)
    not_before: Mapped[float] = mapped_column(default=0.0)
    wait_count: Mapped[int] = mapped_column(default=0)
    wait_start: Mapped[float | None]

    __table_args__ = (
        # In the order in which a tenant's episodes are taken up.
        _partial("episodes_due", "state = 'pending'", "tenant_id", "priority", "create_time", "job_id", "number"),
        _partial("episodes_running", "state = 'running'", "tenant_id", "lease_until"),
    )


# Literals, not parameters: with a parameter a database cannot know that the index of such rows is enough.
IS_PENDING = EpisodeRow.state == sa.literal_column("'pending'")
IS_RUNNING = EpisodeRow.state == sa.literal_column("'running'")


class RoundRow(Base):
    """A round of an episode; not finished while `end_time` is empty. `path` is the segment's, such as `2,4,1`.

    `text` is the query of a `video_qa` and the answer of an `answer`.
    """

    __tablename__ = "rounds"
    job_id: Mapped[str] = mapped_column(primary_key=True)
    episode: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    thought: Mapped[str]
    action: Mapped[str]
    path: Mapped[str]
    text: Mapped[str]
    observation: Mapped[str]
    notice: Mapped[str]
    repeated: Mapped[bool]
    cached: Mapped[bool]
    corrections: Mapped[list[str]]
    start_time: Mapped[float]
    end_time: Mapped[float | None]

    __table_args__ = (sa.ForeignKeyConstraint(["job_id", "episode"], ["episodes.job_id", "episodes.number"]),)


class EventRow(Base):
    """Something that happened in a job. `payload` is a longvideo.v1.JobEvent, whose oneof is set to `kind`."""

    __tablename__ = "events"
    job_id: Mapped[str] = mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    episode: Mapped[int]
    kind: Mapped[str]
    payload: Mapped[bytes]


class CallRow(Base):
    """One request to a model server. Outside of jobs (a tree build) it has no job, and outside of rounds no round.

    `video_id` and `label` are the job's, and stay when that is gone: costs are grouped by them. Calls outside of jobs
    that were recorded before there was a `video_id` have none.
    """

    __tablename__ = "model_calls"
    id: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(63))
    job_id: Mapped[str | None] = mapped_column(sa.ForeignKey("jobs.id"))
    episode: Mapped[int | None]
    round: Mapped[int | None]
    video_id: Mapped[str | None] = mapped_column(sa.String(64))
    label: Mapped[str] = mapped_column(sa.String(63))
    role: Mapped[str]
    model: Mapped[str]
    endpoint: Mapped[str]
    pool: Mapped[str]
    gpus: Mapped[int]
    start_time: Mapped[float]
    seconds: Mapped[float]
    outcome: Mapped[str]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    images: Mapped[int]
    attempt: Mapped[int]
    detail: Mapped[str]
    queue_seconds: Mapped[float | None]
    prefill_seconds: Mapped[float | None]
    decode_seconds: Mapped[float | None]

    __table_args__ = (
        sa.Index("model_calls_of_job", "job_id", "start_time", "id"),
        sa.Index("model_calls_oldest", "start_time", "id"),
        # Holds all that the seconds of a tenant's last day need.
        sa.Index("model_calls_of_tenant", "tenant_id", "start_time", "seconds"),
        # Holds all that the mean seconds of a model need.
        sa.Index("model_calls_of_model", "model", "outcome", "seconds"),
    )


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
        """Returns an INSERT that leaves a row that is already there as it is."""
        if table not in self._inserts:
            self._inserts[table] = self._insert(table.__table__).on_conflict_do_nothing()
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
