"""The trace that each episode belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Gives episodes the place where their trace begins. Those from before have none: each taking-up has its own."""
    with op.batch_alter_table("episodes") as episodes:
        episodes.add_column(sa.Column("trace_parent", sa.String(length=55), nullable=False, server_default=""))
    with op.batch_alter_table("episodes") as episodes:
        episodes.alter_column("trace_parent", server_default=None)
