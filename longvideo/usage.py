"""The record of one request to a model server, and how it travels."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, Literal, cast

from longvideo.v1 import types_pb2

Role = Literal["reason", "caption", "qa"]
Outcome = Literal["ok", "invalid", "error", "timeout", "cancelled"]

ROLES: tuple[Role, ...] = ("reason", "caption", "qa")
OUTCOMES: tuple[Outcome, ...] = ("ok", "invalid", "error", "timeout", "cancelled")

PHASES: Final = ("queue", "prefill", "decode")
"""What a model server may tell about the time of a call, in this order."""


@dataclass(frozen=True)
class Call:
    """One request to a model server: what it took, whether or not it succeeded.

    `start_time` is in seconds since the epoch, `seconds` the time from sending the request to having read the answer.
    `gpus` is the number of GPUs behind one replica of the model. What the server says of its own time is None where it
    does not: the seconds that the request waited, from then to the first token, and from that to the last. The fields
    are those of `longvideo.v1.ModelCall`.
    """

    role: Role
    model: str
    endpoint: str
    pool: str
    gpus: int
    start_time: float
    seconds: float
    outcome: Outcome
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    attempt: int = 1
    detail: str = ""
    queue_seconds: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(12))


def to_proto(call: Call) -> types_pb2.ModelCall:
    """Returns the call as it goes over the wire."""
    message = types_pb2.ModelCall(
        id=call.id,
        role=types_pb2.Role.Value(f"ROLE_{call.role.upper()}"),
        model=call.model,
        endpoint=call.endpoint,
        pool=call.pool,
        gpu_count=call.gpus,
        prompt_token_count=call.prompt_tokens,
        cached_token_count=call.cached_tokens,
        completion_token_count=call.completion_tokens,
        image_count=call.images,
        attempt=call.attempt,
        outcome=types_pb2.ModelCall.Outcome.Value(f"OUTCOME_{call.outcome.upper()}"),
        detail=call.detail,
    )
    message.start_time.FromNanoseconds(round(call.start_time * 1e9))
    message.duration.FromNanoseconds(round(call.seconds * 1e9))
    for phase in PHASES:
        if (seconds := getattr(call, f"{phase}_seconds")) is not None:
            getattr(message, f"{phase}_duration").FromNanoseconds(round(seconds * 1e9))
    return message


def from_proto(message: types_pb2.ModelCall) -> Call:
    """Returns the call that came over the wire."""
    return Call(
        id=message.id,
        role=cast(Role, types_pb2.Role.Name(message.role).removeprefix("ROLE_").lower()),
        model=message.model,
        endpoint=message.endpoint,
        pool=message.pool,
        gpus=message.gpu_count,
        start_time=message.start_time.ToNanoseconds() / 1e9,
        seconds=message.duration.ToNanoseconds() / 1e9,
        prompt_tokens=message.prompt_token_count,
        cached_tokens=message.cached_token_count,
        completion_tokens=message.completion_token_count,
        images=message.image_count,
        attempt=message.attempt,
        outcome=cast(Outcome, types_pb2.ModelCall.Outcome.Name(message.outcome).removeprefix("OUTCOME_").lower()),
        detail=message.detail,
        **{f"{phase}_seconds": _seconds(message, f"{phase}_duration") for phase in PHASES},
    )


def _seconds(message: types_pb2.ModelCall, field: str) -> float | None:
    return getattr(message, field).ToNanoseconds() / 1e9 if message.HasField(field) else None  # type: ignore[arg-type]
