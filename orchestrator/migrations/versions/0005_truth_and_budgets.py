"""Right answers, where they are known, and what each job has spent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Gives questions their right answers, and jobs the sums of their model calls."""
    with op.batch_alter_table("episodes") as episodes:
        episodes.add_column(sa.Column("truth", sa.Text(), nullable=False, server_default=""))
        episodes.add_column(sa.Column("correct", sa.Boolean(), nullable=True))
    with op.batch_alter_table("jobs") as jobs:
        for count in ("judged", "correct"):
            jobs.add_column(sa.Column(f"{count}_count", sa.BigInteger(), nullable=False, server_default="0"))
        jobs.add_column(sa.Column("gpu_seconds", sa.Double(), nullable=False, server_default="0"))
        # Of calls that were made before, nobody has looked up the price.
        jobs.add_column(sa.Column("cost", sa.Double(), nullable=True))
    _without_default("episodes", "truth")
    _without_default("jobs", "judged_count", "correct_count", "gpu_seconds")
    op.execute(
        "UPDATE jobs SET gpu_seconds ="
        " COALESCE((SELECT SUM(seconds * gpus) FROM model_calls WHERE model_calls.job_id = jobs.id), 0)"
    )
    op.execute("UPDATE jobs SET cost = 0 WHERE gpu_seconds = 0")


def _without_default(table: str, *columns: str) -> None:
    """Makes new rows say what the old ones were given."""
    with op.batch_alter_table(table) as batch:
        for column in columns:
            batch.alter_column(column, server_default=None)
