"""Videos, who has them, and their subtitles."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from longvideo.errors import NotFound, Unavailable
from longvideo.resources import VideoName
from longvideo.video import VideoIndex
from orchestrator import timeline
from orchestrator.db import Engine
from orchestrator.messages import HeldVideo
from orchestrator.paging import Cursor
from orchestrator.store import limits
from orchestrator.tables import HoldingRow, SubtitlesRow, VideoRow


class Videos:
    """The videos. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, tenant: str, video_id: str, *, size_bytes: int, display_name: str) -> HeldVideo:
        """Makes a video that a tenant announces, or returns its own; a pending one takes the new size and name.

        Raises ResourceExhausted when the tenant may not have so many bytes.
        """
        now = time.time()
        announced = {"size_bytes": size_bytes, "display_name": display_name}
        with self._engine.write() as session:
            mine = session.get(HoldingRow, (tenant, video_id))
            if mine is None or mine.state != "ready":
                limits.check_bytes(session, tenant, video_id, size_bytes)
            session.execute(
                self._engine.insert_once(VideoRow).values(
                    id=video_id, state="pending", size_bytes=size_bytes, create_time=now
                )
            )
            session.execute(
                self._engine.insert_once(HoldingRow).values(
                    tenant_id=tenant, video_id=video_id, state="pending", create_time=now, **announced
                )
            )
            session.execute(
                sa.update(HoldingRow).where(*_of(tenant, video_id), HoldingRow.state == "pending").values(**announced)
            )
            held = _held(session, video_id, HoldingRow.tenant_id == tenant)
            assert held is not None
            return held

    def reopen(self, video_id: str) -> None:
        """Makes a video pending again, because its bytes are gone or are not the ones that were checked."""
        with self._engine.write() as session:
            session.execute(sa.update(VideoRow).where(VideoRow.id == video_id).values(state="pending"))

    def accept(self, tenant: str, video_id: str) -> None:
        """Makes a tenant one that has a ready video. Raises NotFound as `complete` does, and Unavailable."""
        with self._engine.write() as session:
            _accept(session, tenant, video_id)
            if session.scalar(sa.select(VideoRow.state).where(VideoRow.id == video_id)) != "ready":
                raise Unavailable(f"{VideoName(video_id)} is just being deleted; call again")

    def complete(self, tenant: str, video_id: str, index: VideoIndex) -> None:
        """Makes a video ready, and the tenant one that has it. Raises NotFound when the tenant has given it up."""
        with self._engine.write() as session:
            _accept(session, tenant, video_id)
            session.execute(
                sa.update(VideoRow)
                .where(VideoRow.id == video_id)
                .values(
                    state="ready",
                    size_bytes=index.size,
                    duration=index.duration,
                    frame_count=index.frame_count,
                    frame_rate=index.frame_rate,
                    width_px=index.width,
                    height_px=index.height,
                    container=index.container,
                    codec=index.codec,
                    warnings=list(index.warnings),
                    source_version=index.version,
                    timeline=timeline.pack(index.times, index.duration),
                )
            )

    def get(self, name: VideoName, tenant: str, *, anybodys: bool = False) -> HeldVideo:
        """Returns a tenant's video, or, if it has none and `anybodys`, that of who had it first. Raises NotFound."""
        mine = HoldingRow.tenant_id == tenant
        with self._engine.read() as session:
            held = _held(session, name.video_id, sa.true() if anybodys else mine, mine.desc(), HoldingRow.create_time)
        if held is None:
            raise no_video(name)
        return held

    def row(self, video_id: str) -> VideoRow | None:
        """Returns what is known about a video's bytes, whoever has them."""
        with self._engine.read() as session:
            return session.get(VideoRow, video_id)

    def timeline(self, video_id: str) -> bytes:
        """Returns the timelines of a ready video (`orchestrator.timeline`)."""
        with self._engine.read() as session:
            return session.scalars(sa.select(VideoRow.timeline).where(VideoRow.id == video_id)).one()

    def page(self, tenant: str, after: Cursor | None, limit: int) -> list[HeldVideo]:
        """Returns at most `limit` videos of a tenant, newest first, from the one after a cursor."""
        order = (HoldingRow.create_time, HoldingRow.video_id)
        query = (
            sa.select(VideoRow, HoldingRow)
            .join(HoldingRow, HoldingRow.video_id == VideoRow.id)
            .where(HoldingRow.tenant_id == tenant)
            .order_by(*(column.desc() for column in order))
            .limit(limit)
        )
        if after is not None:
            query = query.where(sa.tuple_(*order) < sa.tuple_(after.time, after.id))
        with self._engine.read() as session:
            return [HeldVideo(row, holding) for row, holding in session.execute(query)]

    def add_subtitles(self, tenant: str, video_id: str, subtitles_id: str, cue_count: int) -> None:
        """Records subtitles of a tenant, and makes them its default for the video."""
        with self._engine.write() as session:
            session.execute(
                self._engine.insert_once(SubtitlesRow).values(
                    tenant_id=tenant, video_id=video_id, id=subtitles_id, cue_count=cue_count, create_time=time.time()
                )
            )
            session.execute(sa.update(HoldingRow).where(*_of(tenant, video_id)).values(subtitles=subtitles_id))

    def has_subtitles(self, tenant: str, video_id: str, subtitles_id: str) -> bool:
        """Tells whether a tenant has these subtitles for a video."""
        with self._engine.read() as session:
            return session.get(SubtitlesRow, (tenant, video_id, subtitles_id)) is not None


def no_video(name: VideoName) -> NotFound:
    """Returns what to raise for a video that a tenant does not have."""
    return NotFound(f"there is no video {name}; CreateVideo makes one", name=str(name))


def _of(tenant: str, video_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return HoldingRow.tenant_id == tenant, HoldingRow.video_id == video_id


def _accept(session: Session, tenant: str, video_id: str) -> None:
    accepted = sa.update(HoldingRow).where(*_of(tenant, video_id)).values(state="ready", upload_id="")
    if session.scalar(accepted.returning(HoldingRow.video_id)) is None:
        raise no_video(VideoName(video_id))


def _held(session: Session, video_id: str, whose: sa.ColumnElement[bool], *order: Any) -> HeldVideo | None:
    query = (
        sa.select(VideoRow, HoldingRow)
        .join(HoldingRow, HoldingRow.video_id == VideoRow.id)
        .where(VideoRow.id == video_id, whose)
        .order_by(*order)
        .limit(1)
    )
    found = session.execute(query).one_or_none()
    return None if found is None else HeldVideo(*found)
