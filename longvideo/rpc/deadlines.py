"""Deadlines: they travel with every call, and shrink at every hop, so that the inner service can say what was slow."""

from __future__ import annotations

import time

import grpc

from longvideo import errors

# What an answer needs for its way back: each hop keeps this much of its caller's time, so that the callee gives up
# first and the caller hears its reason rather than its own clock. The share is needed because gRPC rounds a deadline up
# by as much as 1 % on its way.
HOP_SECONDS = 0.1
HOP_SHARE = 0.02

# Used when a caller sets no deadline at all.
DEFAULT_DEADLINE_SECONDS = 3600.0
MAX_DEADLINE_SECONDS = 48 * 3600.0


def deadline(context: grpc.ServicerContext) -> float:
    """Returns the moment, on `time.monotonic`'s clock, by which work for this call must be done.

    A little before the caller's own deadline. A caller without one gets an hour.
    """
    remaining = context.time_remaining()
    # gRPC reports centuries for a call without a deadline.
    if remaining is None or remaining > MAX_DEADLINE_SECONDS:
        remaining = DEFAULT_DEADLINE_SECONDS
    return time.monotonic() + max(0.0, remaining * (1 - HOP_SHARE) - HOP_SECONDS)


def timeout(deadline: float) -> float:
    """Returns the seconds left until a moment on `time.monotonic`'s clock. Raises DeadlineExceeded when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise errors.DeadlineExceeded("The time allowed has passed.")
    return left
