"""`longvideo admin`: what the operator of a server does, on its database."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="What the operator of a server does.", rich_markup_mode="markdown")


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
