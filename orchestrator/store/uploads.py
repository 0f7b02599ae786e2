"""Uploads that are under way: which tenant brings which video, and since when nothing was heard of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from longvideo.resources import VideoName
from orchestrator.db import Engine
from orchestrator.store.videos import no_video
from orchestrator.tables import HoldingRow, JobRow, VideoRow


class Uploads:
    """What the holdings know of uploads. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def asked(self, tenant: str, video_id: str) -> HoldingRow:
        """Takes note that a tenant wants to upload now, and returns what it has announced. Raises NotFound."""
        with self._engine.write() as session:
            session.execute(sa.update(HoldingRow).where(*_of(tenant, video_id)).values(upload_time=time.time()))
            holding = session.get(HoldingRow, (tenant, video_id))
            if holding is None:
                raise no_video(VideoName(video_id))
            return holding

    def begun(self, tenant: str, video_id: str, upload: str) -> None:
        """Takes note of an upload in parts, or, with an empty text, that there is none any more."""
        with self._engine.write() as session:
            session.execute(sa.update(HoldingRow).where(*_of(tenant, video_id)).values(upload_id=upload))

    def current(self, tenant: str, video_id: str) -> str | None:
        """Returns the upload in parts that is under way, empty when the bytes come otherwise; None when none do."""
        query = (
            sa.select(HoldingRow.upload_id)
            .join(VideoRow, VideoRow.id == HoldingRow.video_id)
            .where(*_of(tenant, video_id), sa.or_(HoldingRow.state == "pending", VideoRow.state != "ready"))
        )
        with self._engine.read() as session:
            return session.scalar(query)

    def abandoned(self, before: float, limit: int) -> Sequence[HoldingRow]:
        """Returns holdings of uploads of which nothing was heard since a moment, the oldest first."""
        query = sa.select(HoldingRow).where(_is_abandoned(before)).order_by(HoldingRow.upload_time).limit(limit)
        with self._engine.read() as session:
            return session.scalars(query).all()

    def drop(self, tenant: str, video_id: str, before: float) -> bool:
        """Gives an abandoned upload up, with the holding when that waits for it, and the video when nobody else has it.

        Returns whether it was still abandoned.
        """
        with self._engine.write() as session:
            # The lock that whoever asks again has to wait for.
            query = sa.select(HoldingRow).where(*_of(tenant, video_id), _is_abandoned(before)).with_for_update()
            holding = session.scalars(query).one_or_none()
            if holding is None:
                return False
            if holding.state != "pending":
                holding.upload_id = ""
                return True
            session.delete(holding)
            session.flush()
            others = sa.select(HoldingRow.video_id).where(HoldingRow.video_id == video_id)
            jobs = sa.select(JobRow.id).where(JobRow.video_id == video_id)
            session.execute(
                sa.delete(VideoRow).where(
                    VideoRow.id == video_id, VideoRow.state == "pending", ~others.exists(), ~jobs.exists()
                )
            )
            return True


def _of(tenant: str, video_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return HoldingRow.tenant_id == tenant, HoldingRow.video_id == video_id


def _is_abandoned(before: float) -> sa.ColumnElement[bool]:
    return sa.and_(
        sa.or_(HoldingRow.state == "pending", HoldingRow.upload_id != ""),
        HoldingRow.upload_time < before,
        HoldingRow.create_time < before,
    )
