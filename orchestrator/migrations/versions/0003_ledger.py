"""What each model call was for, and how its server spent the time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Gives jobs a label, and calls what costs are told by."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("label", sa.String(length=63), nullable=False, server_default=""))
    _without_default("jobs", "label")
    with op.batch_alter_table("model_calls") as calls:
        calls.add_column(sa.Column("video_id", sa.String(length=64), nullable=True))
        calls.add_column(sa.Column("label", sa.String(length=63), nullable=False, server_default=""))
        for phase in ("queue", "prefill", "decode"):
            calls.add_column(sa.Column(f"{phase}_seconds", sa.Double(), nullable=True))
    _without_default("model_calls", "label")
    # Of a call outside of jobs, nobody knows the video any more.
    op.execute("UPDATE model_calls SET video_id = (SELECT video_id FROM jobs WHERE jobs.id = model_calls.job_id)")
    op.create_index("model_calls_oldest", "model_calls", ["start_time", "id"])


def _without_default(table: str, column: str) -> None:
    """Makes new rows say what the old ones were given."""
    with op.batch_alter_table(table) as batch:
        batch.alter_column(column, server_default=None)
