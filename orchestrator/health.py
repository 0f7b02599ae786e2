"""What the orchestrator's processes need, and how to find out whether it answers."""

from __future__ import annotations

import celery

from longvideo import ports, rpc
from longvideo.storage import ObjectStore
from orchestrator.store import Database

_CONNECT_SECONDS = 2


def checks(
    database: Database, store: ObjectStore | None = None, app: celery.Celery | None = None
) -> dict[str, rpc.Check]:
    """Returns the checks of a process that uses this database, and perhaps this storage and this app's broker."""
    found: dict[str, rpc.Check] = {"database": database.ping}
    if store is not None:
        found["object-store"] = ports.storage_check(store)
    if app is not None:
        found["broker"] = broker_check(app)
    return found


def broker_check(app: celery.Celery) -> rpc.Check:
    """Returns what finds out whether an app's broker answers."""

    def check() -> None:
        with app.connection_for_write(connect_timeout=_CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)

    return check
