"""The history of the tables, as Alembic revisions: `versions/0001_….py` and so on, each with an `upgrade` alone.

A database is always brought to the newest revision. A SQLite file is, whenever it is opened; a server's database when
its operator says so, with `longvideo admin migrate`, and until then nothing uses it. To write a revision, change the
models and put into the next file what takes a database with rows in it there; a test compares the two.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from longvideo.errors import FailedPrecondition

if TYPE_CHECKING:
    from orchestrator.db import Engine

_DIRECTORY = Path(__file__).parent

# Chosen once, and known to nobody else: who migrates a database of PostgreSQL holds the lock of this number.
_LOCK = 0x6C6F6E67

# Alembic keeps what it works on in its modules.
_alembic = threading.Lock()

# What kept the version before there were revisions; its tables were those of 0001.
_BEFORE = sa.table("schema_info", sa.column("version", sa.BigInteger()))
_TOLD = sa.table("alembic_version", sa.column("version_num", sa.String()))


def revisions() -> list[str]:
    """Returns all revisions that this longvideo knows, oldest first."""
    return sorted(path.name[:4] for path in (_DIRECTORY / "versions").glob("[0-9]*.py"))


def current_revision(engine: Engine) -> str:
    """Returns the revision that a database is at; empty when it has no tables."""
    with engine.read() as session:
        return _revision(session.connection())


def check(engine: Engine) -> None:
    """Raises FailedPrecondition unless a database is at the newest revision."""
    current = current_revision(engine)
    _refuse_newer(engine, current)
    if current != revisions()[-1]:
        stands = f"is at the revision {current}" if current else "has no tables"
        raise FailedPrecondition(
            f"the database {engine.place} {stands}, and this longvideo needs the revision {revisions()[-1]}; run "
            f"`longvideo admin migrate`, once, with the same LONGVIDEO_DATABASE_URL",
            reason="SCHEMA_TOO_OLD",
            revision=current,
        )


def migrate(engine: Engine, target: str = "") -> tuple[str, str]:
    """Brings a database to the newest revision, or to `target`, and returns the revisions before and after.

    That is one transaction. Others may do the same at the same moment: one of them does it, and the others wait.
    Raises FailedPrecondition when a newer longvideo has written the database.
    """
    target = target or revisions()[-1]
    with engine.read() as session:
        current, old = _revision(session.connection()), _is_old(session.connection())
    _refuse_newer(engine, current)
    if current == target and not old:
        return current, current
    with _alembic, engine.schema_change() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))  # the other may take its time
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        before = _revision(connection)
        _refuse_newer(engine, before)
        _upgrade(connection, target)
    return before, target


def _revision(connection: sa.Connection) -> str:
    if _is_old(connection):
        return f"{connection.scalar(sa.select(_BEFORE.c.version)) or 0:04}"
    if sa.inspect(connection).has_table(_TOLD.name):
        return connection.scalar(sa.select(_TOLD.c.version_num)) or ""
    return ""


def _is_old(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table(_BEFORE.name)


def _refuse_newer(engine: Engine, revision: str) -> None:
    if revision > revisions()[-1]:
        raise FailedPrecondition(
            f"the database {engine.place} is at the revision {revision}, and this longvideo knows only "
            f"{revisions()[-1]}; use the newer longvideo that wrote it, or another database",
            reason="SCHEMA_TOO_NEW",
            revision=revision,
        )


def _upgrade(connection: sa.Connection, target: str) -> None:
    from alembic import command  # noqa: PLC0415  # takes a second to load, and is seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    if _is_old(connection):
        command.stamp(config, "0001")
        connection.execute(sa.text(f"DROP TABLE {_BEFORE.name}"))
    command.upgrade(config, target)
