"""Tenants, their tokens, and what of all this is theirs. What there was belongs to the tenant `default`."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TENANT = "default"


def upgrade() -> None:
    """Gives everything to one tenant, and makes room for others."""
    _tenants()
    _holdings()
    _subtitles()
    _videos()
    _jobs()
    _episodes()
    _calls()


def _tenants() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("create_time", sa.Double(), nullable=False),
        sa.Column("disable_time", sa.Double(), nullable=True),
        sa.Column("max_running_episodes", sa.BigInteger(), nullable=True),
        sa.Column("max_open_episodes", sa.BigInteger(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_daily_model_seconds", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(tenants, [{"id": _TENANT, "display_name": "", "create_time": time.time()}])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("create_time", sa.Double(), nullable=False),
        sa.Column("expire_time", sa.Double(), nullable=True),
        sa.Column("revoke_time", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_tokens_tenant_id", "tokens", ["tenant_id"])


def _holdings() -> None:
    op.create_table(
        "holdings",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("video_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("subtitles", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.Double(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("upload_time", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"]),
        sa.PrimaryKeyConstraint("tenant_id", "video_id"),
    )
    op.create_index("holdings_newest", "holdings", ["tenant_id", "create_time", "video_id"])
    op.create_index("holdings_of_video", "holdings", ["video_id"])
    op.create_index("holdings_under_way", "holdings", ["state", "upload_time"])
    # An upload that was under way began when the video was announced.
    op.execute("""
        INSERT INTO holdings (tenant_id, video_id, state, display_name, subtitles, size_bytes, create_time,
                              upload_id, upload_time)
        SELECT 'default', id, state, display_name, subtitles, size_bytes, create_time, '', create_time FROM videos
    """)


def _subtitles() -> None:
    op.create_table(
        "subtitles_of_tenants",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("video_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("cue_count", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "video_id"], ["holdings.tenant_id", "holdings.video_id"]),
        sa.PrimaryKeyConstraint("tenant_id", "video_id", "id"),
    )
    op.execute("""
        INSERT INTO subtitles_of_tenants (tenant_id, video_id, id, cue_count, create_time)
        SELECT 'default', video_id, id, cue_count, create_time FROM subtitles
    """)
    op.drop_table("subtitles")
    op.rename_table("subtitles_of_tenants", "subtitles")


def _videos() -> None:
    op.drop_index("videos_newest", "videos")
    with op.batch_alter_table("videos") as videos:
        videos.drop_column("display_name")
        videos.drop_column("subtitles")


def _jobs() -> None:
    # SQLite gives the constraint no name, and Alembic, which makes the table anew there, has to call it something.
    naming = {"uq": "%(table_name)s_%(column_0_name)s_key"}
    with op.batch_alter_table("jobs", naming_convention=naming) as jobs:
        jobs.add_column(sa.Column("tenant_id", sa.String(length=63), nullable=False, server_default=_TENANT))
        jobs.add_column(sa.Column("priority", sa.BigInteger(), nullable=False, server_default="0"))
        jobs.add_column(sa.Column("waiting", sa.Text(), nullable=False, server_default=""))
        jobs.drop_constraint("jobs_request_id_key", type_="unique")
        jobs.create_unique_constraint("jobs_once", ["tenant_id", "request_id"])
        jobs.create_foreign_key("jobs_tenant_id_fkey", "tenants", ["tenant_id"], ["id"])
    _without_defaults("jobs", "tenant_id", "priority", "waiting")
    op.create_index("jobs_of_tenant", "jobs", ["tenant_id", "create_time", "id"])
    _create_partial_index("jobs_open", "jobs", ["tenant_id", "open_count"], "end_time IS NULL")


def _episodes() -> None:
    op.drop_index("episodes_to_do", "episodes")
    with op.batch_alter_table("episodes") as episodes:
        episodes.add_column(sa.Column("tenant_id", sa.String(length=63), nullable=False, server_default=_TENANT))
        episodes.add_column(sa.Column("priority", sa.BigInteger(), nullable=False, server_default="0"))
        episodes.drop_column("nudge_time")
    _without_defaults("episodes", "tenant_id", "priority")
    # A running episode has a lease, and nothing else has.
    op.execute("UPDATE episodes SET state = 'pending' WHERE state = 'running' AND lease_owner IS NULL")
    due = ["tenant_id", "priority", "create_time", "job_id", "number"]
    _create_partial_index("episodes_due", "episodes", due, "state = 'pending'")
    _create_partial_index("episodes_running", "episodes", ["tenant_id", "lease_until"], "state = 'running'")


def _calls() -> None:
    with op.batch_alter_table("model_calls") as calls:
        calls.add_column(sa.Column("tenant_id", sa.String(length=63), nullable=False, server_default=_TENANT))
    _without_defaults("model_calls", "tenant_id")
    op.create_index("model_calls_of_tenant", "model_calls", ["tenant_id", "start_time", "seconds"])


def _without_defaults(table: str, *columns: str) -> None:
    """Makes new rows say what the old ones were given."""
    with op.batch_alter_table(table) as batch:
        for column in columns:
            batch.alter_column(column, server_default=None)


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition), unique=False
    )
