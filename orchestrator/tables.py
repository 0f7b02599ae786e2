"""The tables.

All times are seconds since the epoch, as everywhere in longvideo. States, endings, roles and outcomes are the
lower-case names of the wire's enums. The queries are in `orchestrator.store`; nothing here knows what a row is for.
"""

from __future__ import annotations

from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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
    not ended, and that failed, `judged_count` and `correct_count` those that ended and could be judged, and that were
    right. `waiting` says why none of them goes on, while that is so. The `request_id` and a `fingerprint` of what was
    sent with it tell a repeated submission from a new one. Costs are grouped by `label`. `gpu_seconds` and `cost` are
    the sums over its model calls; the cost is empty once a call was made for which there was no price.
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
    judged_count: Mapped[int] = mapped_column(default=0)
    correct_count: Mapped[int] = mapped_column(default=0)
    gpu_seconds: Mapped[float] = mapped_column(default=0.0)
    cost: Mapped[float | None] = mapped_column(default=0.0)

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
    first reply; empty until that is complete. `truth` is the right answer where it is known, which no model is told,
    and `correct` whether the episode ended with it; empty where nobody can tell. `trace_parent` is where its trace
    begins, as the W3C's `traceparent`: whoever takes it up goes on in that trace.
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
    truth: Mapped[str] = mapped_column(default="")
    correct: Mapped[bool | None]
    trace_parent: Mapped[str] = mapped_column(sa.String(55), default="")

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
