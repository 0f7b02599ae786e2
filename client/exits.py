"""How a command can end: its exit codes, and what is said when the user stops it."""

from __future__ import annotations

import grpc

from longvideo.errors import Internal, LongVideoError
from longvideo.v1 import orchestrator_pb2 as pb

OK, NO_ANSWER, BAD_INPUT = 0, 1, 2

# What the user can mend before asking again; everything else just happened.
_MENDABLE = {
    code.value[0]
    for code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    )
}


class Stopped(Exception):
    """The user stopped the command; the message says what was kept."""


def of_error(error: LongVideoError) -> int:
    """Returns the exit code for a command that failed: 2, or 1 for a defect of ours."""
    return NO_ANSWER if isinstance(error, Internal) else BAD_INPUT


def of_episode(episode: pb.Episode) -> int:
    """Returns the exit code for a question: 0 answered, 1 ended without an answer, 2 when the user can mend why."""
    if episode.state == pb.Episode.STATE_ANSWERED:
        return OK
    failed = episode.state == pb.Episode.STATE_FAILED and episode.error.code in _MENDABLE
    return BAD_INPUT if failed else NO_ANSWER
