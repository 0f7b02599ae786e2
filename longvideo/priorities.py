"""How soon work is done, compared with other work: the wire's `Priority` as a number, of which the lower goes first."""

from __future__ import annotations

from typing import TypeAlias

from longvideo.errors import InvalidArgument
from longvideo.v1 import types_pb2

Priority: TypeAlias = types_pb2.Priority.ValueType

_RANKS = {
    types_pb2.PRIORITY_UNSPECIFIED: 0,
    types_pb2.PRIORITY_INTERACTIVE: 0,
    types_pb2.PRIORITY_BATCH: 1,
}


def rank(priority: Priority, field: str = "priority") -> int:
    """Returns 0 for interactive work and 1 for batch work. Raises InvalidArgument, naming `field`, for others."""
    if priority not in _RANKS:
        raise InvalidArgument(
            f"{field} is {priority}; give PRIORITY_INTERACTIVE (1) or PRIORITY_BATCH (2)", field=field
        )
    return _RANKS[priority]
