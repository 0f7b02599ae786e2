"""Who may do what: the one place that decides it.

Every method needs a role, and one that is not listed here is refused. What a caller names is looked up here, as the
caller's tenant sees it: another tenant's video or job is not found, in the same words as one that does not exist. An
admin may also read and cancel what is another tenant's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from longvideo import auth, logs
from longvideo.auth import TenantRole
from longvideo.errors import FailedPrecondition, NotFound, PermissionDenied
from longvideo.resources import EpisodeName, JobName, SubtitlesName, VideoName
from orchestrator.messages import HeldVideo
from orchestrator.store import Database

ROLES: Final[Mapping[str, TenantRole]] = {
    "CreateVideo": "submit",
    "CompleteVideo": "submit",
    "RegisterVideo": "submit",
    "DeleteVideo": "submit",
    "GetVideo": "read",
    "ListVideos": "read",
    "CreateSubtitles": "submit",
    "GetTree": "read",
    "GetFrames": "read",
    "BuildTree": "submit",
    "SubmitJob": "submit",
    "GetJob": "read",
    "ListJobs": "read",
    "CancelJob": "submit",
    "WatchJob": "read",
    "GetEpisode": "read",
    "ListModelCalls": "read",
    "GetUsage": "read",
    "ExportUsage": "read",
    "GetCostReport": "read",
}
"""What a caller must be allowed to call each method. An admin may call them all."""

ALL_TENANTS: Final = "-"
"""Stands for every tenant where an admin lists things."""

_Servicer = TypeVar("_Servicer", bound=type)


def guarded(methods: tuple[str, ...]) -> Callable[[_Servicer], _Servicer]:
    """Makes each of these methods of a class check the caller's role first."""

    def guard(cls: _Servicer) -> _Servicer:
        for name in methods:
            setattr(cls, name, _guarded(name, getattr(cls, name)))
        return cls

    return guard


def _guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(*arguments: Any) -> Any:
        check_role(name)
        return method(*arguments)

    return checked


def check_role(method: str) -> None:
    """Raises PermissionDenied unless the caller may call a method."""
    needed, roles = ROLES.get(method), auth.current().roles
    if needed is None:
        raise PermissionDenied(f"nobody may call {method}", reason="NO_ROLE_SUFFICES", method=method)
    if not roles & {needed, "admin"}:
        raise PermissionDenied(
            f"{method} needs the role {needed}, and your token has {', '.join(sorted(roles)) or 'none'}; "
            "use one that has it",
            reason="ROLE_MISSING",
            method=method,
            role=needed,
        )


class Access:
    """What the caller sees of the database. Raises NotFound for what it does not see."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def tenant(self) -> str:
        """The caller's tenant."""
        return auth.current().tenant

    def video(self, name: VideoName) -> HeldVideo:
        """Returns a video of the caller's tenant."""
        return self._database.videos.get(name, self.tenant)

    def visible_video(self, name: VideoName) -> HeldVideo:
        """Returns a video that the caller may read."""
        return self._database.videos.get(name, self.tenant, anybodys=_is_admin())

    def subtitles(self, name: SubtitlesName, held: HeldVideo) -> None:
        """Raises NotFound unless who has the video has these subtitles for it."""
        if not self._database.videos.has_subtitles(held.holding.tenant_id, name.video_id, name.subtitles_id):
            raise NotFound(f"there are no subtitles {name}; CreateSubtitles makes them", name=str(name))

    def job(self, name: JobName | EpisodeName) -> None:
        """Raises NotFound unless the caller may read, and cancel, this job or episode."""
        self._database.jobs.check(name, None if _is_admin() else self.tenant)
        logs.bind(**(logs.names_of(str(name)) if isinstance(name, EpisodeName) else {"job": str(name)}))

    def listed(self, asked: str) -> str | None:
        """Returns the tenant whose things are listed when the caller asks so, and None for those of all.

        Raises PermissionDenied unless they are its own or it is an admin.
        """
        if asked in {"", self.tenant}:
            return self.tenant
        if not _is_admin():
            raise PermissionDenied(
                "tenant names another than your token's, which needs the role admin; leave it empty for your own",
                reason="ROLE_MISSING",
                role="admin",
            )
        return None if asked == ALL_TENANTS else self._database.tenants.get(asked).id


def ready(held: HeldVideo) -> HeldVideo:
    """Returns the video. Raises FailedPrecondition while it is not ready."""
    if not held.is_ready:
        name = str(VideoName(held.id))
        raise FailedPrecondition(
            f"{name} is not ready; write its bytes to the upload URI, then call CompleteVideo",
            reason="VIDEO_NOT_READY",
            name=name,
        )
    return held


def _is_admin() -> bool:
    return "admin" in auth.current().roles
