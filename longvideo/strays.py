"""Model calls whose caller had gone before it could be told: kept until somebody else can be.

A service has no ledger. What it calls a model for travels back with the answer, and an answer that nobody waits for any
more reaches nobody: the episode was cancelled, or its worker is gone. Such calls go along with the next answer, to
whichever worker asks next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import grpc

from longvideo import logs, usage
from longvideo.usage import Call
from longvideo.v1 import types_pb2

MOST: Final = 1_000
"""How many calls are kept at most; the oldest ones are given up."""


class Strays:
    """The calls of one service process. Threads share it."""

    def __init__(self) -> None:
        self._kept: deque[types_pb2.StrayCall] = deque(maxlen=MOST)

    def keep(self, context: grpc.ServicerContext, video: str, calls: Sequence[Call]) -> None:
        """Keeps calls, if whoever they were made for has gone."""
        if not calls or context.is_active():
            return
        bound = logs.names()
        whose = {name: bound.get(name, "") for name in ("tenant", "episode")}
        self._kept.extend(types_pb2.StrayCall(call=usage.to_proto(call), video=video, **whose) for call in calls)

    def take(self, context: grpc.ServicerContext) -> list[types_pb2.StrayCall]:
        """Returns what is kept, and forgets it, if somebody is there to be told."""
        taken: list[types_pb2.StrayCall] = []
        while self._kept and context.is_active():
            try:
                taken.append(self._kept.popleft())
            except IndexError:  # another thread was quicker
                break
        return taken
