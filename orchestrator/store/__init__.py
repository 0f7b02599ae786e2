"""Every query the orchestrator makes. Nobody else talks to the database.

Database
├── tenants     tenants
├── videos      videos, who has them, and their subtitles
├── jobs        jobs, their events and episodes, as people see them
├── work        episodes as workers see them: leases, checkpoints, endings
├── retention   what can go, and giving it up
├── calls       model calls and their sums
└── costs       what reports of cost are made of
"""

from __future__ import annotations

import sqlalchemy as sa

from orchestrator import migrations
from orchestrator.db import Engine
from orchestrator.store.bell import Bell
from orchestrator.store.calls import Calls
from orchestrator.store.costs import Costs
from orchestrator.store.jobs import Jobs
from orchestrator.store.retention import Retention
from orchestrator.store.spending import Price, no_price
from orchestrator.store.tenants import Tenants
from orchestrator.store.uploads import Uploads
from orchestrator.store.videos import Videos
from orchestrator.store.work import LeaseLost, Work

__all__ = ["Bell", "Calls", "Costs", "Database", "Jobs", "LeaseLost", "Retention", "Tenants", "Videos", "Work"]


class Database:
    """The database, by what is in it. Threads may share it."""

    def __init__(
        self, url: str, *, lease_seconds: float = 60.0, connections: int = 20, price: Price = no_price
    ) -> None:
        """Opens the database at a SQLAlchemy URL. Makes the tables of a SQLite file, or brings them up to date.

        A worker that does not renew the lease of an episode for `lease_seconds` counts as dead. `price` tells what
        calls cost that are recorded here. Raises BadSettings for another URL, StorageUnavailable and StorageFull when
        the database cannot be used, and FailedPrecondition when a newer longvideo has written it, or when the database
        of a server is not up to date.
        """
        self.engine = Engine(url, connections)
        (migrations.migrate if self.engine.is_sqlite else migrations.check)(self.engine)
        self.bell = Bell()
        self.tenants = Tenants(self.engine)
        self.videos = Videos(self.engine)
        self.uploads = Uploads(self.engine)
        self.jobs = Jobs(self.engine, self.bell)
        self.calls = Calls(self.engine, price)
        self.costs = Costs(self.engine)
        self.work = Work(self.engine, self.bell, self.calls, lease_seconds)
        self.retention = Retention(self.engine)

    def ping(self) -> None:
        """Returns when the database answers. Raises StorageUnavailable."""
        with self.engine.read() as session:
            session.execute(sa.select(1))

    def release_all_leases(self) -> int:
        """Makes every unfinished episode ready to be taken up at once, and returns their number.

        Only for a process that knows that no other works on this database, such as one that holds the lock of the data
        directory: whoever had a lease is then dead.
        """
        return self.work.release_all()

    def close(self) -> None:
        """Closes all connections."""
        self.engine.close()
