"""Every error that longvideo raises on purpose, arranged by what the caller can do about it.

    LongVideoError
    ├── InvalidArgument        change the request
    │   ├── BadMedia           use another video file
    │   ├── BadSubtitles       use another subtitle file
    │   └── BadPromptPack      mend the prompt pack
    ├── BadSettings            mend the configuration
    ├── Unauthenticated        send a token that is valid
    ├── PermissionDenied       use a token that has the role
    ├── NotFound               name something that exists
    ├── AlreadyExists          use another id
    ├── FailedPrecondition     bring the system into another state first
    │   ├── VideoChanged       add the video again
    │   ├── UploadChanged      upload the video again
    │   ├── DataInUse          wait for the other process, or use another directory
    │   └── ModelRejected      mend the endpoint's configuration: the model server said no
    ├── ResourceExhausted      free something
    │   └── StorageFull        free disk space
    ├── Unavailable            try again later
    │   ├── ModelUnavailable   no model server could answer
    │   └── StorageUnavailable the storage could not be read or written
    ├── DeadlineExceeded       allow more time
    ├── Cancelled              somebody wanted it so
    └── Internal               report a bug

Each class carries its gRPC status code and a stable machine-readable reason; `longvideo.rpc` puts both on the
wire and takes them off again, so a caller catches the same class that the callee raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from longvideo.usage import Call


class Code(IntEnum):
    """gRPC's status codes, as far as they are used here: importing gRPC would make every media process much larger."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class LongVideoError(Exception):
    """The root of all errors raised on purpose.

    `message` is a sentence for a person. `reason` (UPPER_SNAKE, at most 63 characters) is for programs; it
    defaults to the class's own. `metadata` repeats what is variable in the message, for programs. `calls` are the
    model calls that were made before the failure: they cost something, so they travel with it. `retry_after` is in how
    many seconds trying again can help, where that is known.
    """

    code: ClassVar[Code] = Code.INTERNAL
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, reason: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = metadata
        self.calls: tuple[Call, ...] = ()
        self.retry_after: float | None = None


class InvalidArgument(LongVideoError):
    """The request is wrong. The message names the field, the value and the fix."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_ARGUMENT"


class BadMedia(InvalidArgument):
    """The file is not a video that can be read, or one that is refused for safety."""

    default_reason = "BAD_MEDIA"


class BadSubtitles(InvalidArgument):
    """The file is not subtitles, or none of its cues lies within the video."""

    default_reason = "BAD_SUBTITLES"


class BadPromptPack(InvalidArgument):
    """The prompt pack lacks something, or says something twice."""

    default_reason = "BAD_PROMPT_PACK"


class BadSettings(LongVideoError):
    """The configuration is unknown, contradictory or out of range."""

    code = Code.FAILED_PRECONDITION
    default_reason = "BAD_SETTINGS"


class Unauthenticated(LongVideoError):
    """Nobody knows who is calling."""

    code = Code.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class PermissionDenied(LongVideoError):
    """The caller is known, and may not do this."""

    code = Code.PERMISSION_DENIED
    default_reason = "PERMISSION_DENIED"


class NotFound(LongVideoError):
    """What was named does not exist."""

    code = Code.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExists(LongVideoError):
    """The id is taken by something else."""

    code = Code.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(LongVideoError):
    """The request is right, but the system is not in a state for it."""

    code = Code.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class VideoChanged(FailedPrecondition):
    """The stored bytes of a video are not the ones that were indexed."""

    default_reason = "VIDEO_CHANGED"


class UploadChanged(FailedPrecondition):
    """What was uploaded is not what was announced, or was written to while it was checked."""

    default_reason = "UPLOAD_DIFFERS"


class DataInUse(FailedPrecondition):
    """Another process works on the same data directory."""

    default_reason = "DATA_IN_USE"


class ModelRejected(FailedPrecondition):
    """A model server answered, and refused the request in a way that trying again cannot change."""

    default_reason = "MODEL_REJECTED"


class ResourceExhausted(LongVideoError):
    """A limit was reached."""

    code = Code.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class StorageFull(ResourceExhausted):
    """There is no space left to write to."""

    default_reason = "STORAGE_FULL"


class Unavailable(LongVideoError):
    """Something that is needed does not answer now. Trying again later may help."""

    code = Code.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class ModelUnavailable(Unavailable):
    """No model server could answer."""

    default_reason = "MODEL_UNAVAILABLE"


class StorageUnavailable(Unavailable):
    """The storage could not be read or written."""

    default_reason = "STORAGE_UNAVAILABLE"


class DeadlineExceeded(LongVideoError):
    """The time allowed has passed."""

    code = Code.DEADLINE_EXCEEDED
    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(LongVideoError):
    """The caller, or somebody else who may, wanted it to stop."""

    code = Code.CANCELLED
    default_reason = "CANCELLED"


class Internal(LongVideoError):
    """A defect in longvideo."""


def all_errors() -> Iterator[type[LongVideoError]]:
    """Yields the root and every class below it."""
    pending: list[type[LongVideoError]] = [LongVideoError]
    while pending:
        cls = pending.pop()
        yield cls
        pending.extend(cls.__subclasses__())
