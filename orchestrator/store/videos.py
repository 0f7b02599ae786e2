"""Videos and their subtitles."""

from __future__ import annotations

import time

import sqlalchemy as sa

from longvideo.errors import NotFound
from longvideo.resources import VideoName
from longvideo.video import VideoIndex
from orchestrator import timeline
from orchestrator.db import Engine, SubtitlesRow, VideoRow
from orchestrator.paging import Cursor


class Videos:
    """The videos. Raises StorageUnavailable and StorageFull everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, video_id: str, *, size_bytes: int, display_name: str) -> VideoRow:
        """Makes a pending video, or returns the one there is; a pending one takes the new size and name."""
        with self._engine.write() as session:
            session.execute(
                self._engine.insert_once(VideoRow).values(
                    id=video_id,
                    state="pending",
                    size_bytes=size_bytes,
                    display_name=display_name,
                    create_time=time.time(),
                )
            )
            session.execute(
                sa.update(VideoRow)
                .where(VideoRow.id == video_id, VideoRow.state == "pending")
                .values(size_bytes=size_bytes, display_name=display_name)
            )
            return session.scalars(sa.select(VideoRow).where(VideoRow.id == video_id)).one()

    def reopen(self, video_id: str) -> None:
        """Makes a video pending again, because its bytes are gone or are not the ones that were checked."""
        with self._engine.write() as session:
            session.execute(sa.update(VideoRow).where(VideoRow.id == video_id).values(state="pending"))

    def complete(self, video_id: str, index: VideoIndex) -> VideoRow:
        """Makes a video ready. Raises NotFound."""
        with self._engine.write() as session:
            session.execute(
                sa.update(VideoRow)
                .where(VideoRow.id == video_id)
                .values(
                    state="ready",
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
        return self.get(VideoName(video_id))

    def get(self, name: VideoName) -> VideoRow:
        """Returns a video. Raises NotFound."""
        with self._engine.read() as session:
            row = session.get(VideoRow, name.video_id)
        if row is None:
            raise NotFound(f"there is no video {name}; CreateVideo makes one", name=str(name))
        return row

    def timeline(self, video_id: str) -> bytes:
        """Returns the timelines of a ready video (`orchestrator.timeline`)."""
        with self._engine.read() as session:
            return session.scalars(sa.select(VideoRow.timeline).where(VideoRow.id == video_id)).one()

    def page(self, after: Cursor | None, limit: int) -> list[VideoRow]:
        """Returns at most `limit` videos, newest first, from the one after a cursor."""
        query = sa.select(VideoRow).order_by(VideoRow.create_time.desc(), VideoRow.id.desc()).limit(limit)
        if after is not None:
            query = query.where(sa.tuple_(VideoRow.create_time, VideoRow.id) < sa.tuple_(after.time, after.id))
        with self._engine.read() as session:
            return list(session.scalars(query))

    def add_subtitles(self, video_id: str, subtitles_id: str, cue_count: int) -> None:
        """Records subtitles, and makes them the video's default."""
        with self._engine.write() as session:
            session.execute(
                self._engine.insert_once(SubtitlesRow).values(
                    video_id=video_id, id=subtitles_id, cue_count=cue_count, create_time=time.time()
                )
            )
            session.execute(sa.update(VideoRow).where(VideoRow.id == video_id).values(subtitles=subtitles_id))

    def has_subtitles(self, video_id: str, subtitles_id: str) -> bool:
        """Tells whether a video has these subtitles."""
        with self._engine.read() as session:
            return session.get(SubtitlesRow, (video_id, subtitles_id)) is not None
