"""`longvideo admin`: what the operator of a server does, on its database."""

from __future__ import annotations

import enum
import sys
import time
from typing import Annotated

import typer

from client import amounts, words
from client.admin_tenants import open_database, tenants, tokens
from client.screen import Screen

app = typer.Typer(no_args_is_help=True, help="What the operator of a server does.", rich_markup_mode="markdown")

app.add_typer(tenants, name="tenant")
app.add_typer(tokens, name="token")


class Kind(enum.StrEnum):
    """What can be pruned."""

    JOBS = "jobs"
    VIDEOS = "videos"
    CAPTIONS = "captions"


@app.command()
def migrate() -> None:
    """Brings the tables of the database up to date.

    Run it once before the processes of a new version start; running it again, or twice at one time, does no harm. The
    database is the one that `LONGVIDEO_DATABASE_URL` names, as for every process of the orchestrator.

    Example:
    - `LONGVIDEO_DATABASE_URL=postgresql://longvideo@db/longvideo longvideo admin migrate`
    """
    from longvideo import settings  # noqa: PLC0415  # loaded when needed, as the database is
    from orchestrator.wiring import migrate_database  # noqa: PLC0415

    before, after = migrate_database(settings.load())
    if before == after:
        print(f"The database is at the revision {after}, the newest; there is nothing to do.")
    else:
        print(f"Brought the database from {f'the revision {before}' if before else 'nothing'} to the revision {after}.")


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(metavar="TIME", help="How old at least: 30d, 12h.", show_default=False)],
    tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only what this tenant has.")] = None,
    kind: Annotated[list[Kind] | None, typer.Option(help="Only this. Repeat for each. Default: all three.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only say what would be deleted.")] = False,
) -> None:
    """Deletes old jobs, videos and captions from the database and the storage that the settings name.

    A job is as old as its end, a video as the last question about it, a caption as its making. Jobs that have not
    ended, videos with such jobs, and what another tenant has as well are never touched. Services may run meanwhile.
    The model calls of deleted jobs go with them, but for those of the last day: export them before, if costs are to be
    told later (`longvideo usage export`).

    Examples:
    - `longvideo admin prune --older-than 30d` says what would be deleted

    - `longvideo admin prune --older-than 30d --tenant vision-lab --kind jobs --yes`
    """
    before = time.time() - amounts.seconds(older_than, "--older-than")
    from longvideo import settings  # noqa: PLC0415
    from longvideo.storage import open_store  # noqa: PLC0415
    from orchestrator import pruning  # noqa: PLC0415

    loaded = settings.load()
    store = open_store(loaded.data_dir, loaded.object_store, loaded.s3_keys())
    kinds = [each.value for each in kind or Kind]
    screen = Screen(sys.stdout)
    with open_database() as database:
        if tenant is not None:
            database.tenants.get(tenant)
        for done in pruning.prune(database, store, before, tenant=tenant, kinds=kinds, really=yes):
            screen.line(done.kind.capitalize(), f"{done.count:,} {done.detail}, {words.size(done.size_bytes)}")
    screen.plain("Deleted." if yes else "Nothing was deleted. To delete this: the same command with --yes")
