"""Pages of lists: how many items, and tokens that say where the next page starts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError, Message

from longvideo.errors import InvalidArgument

DEFAULT_SIZE = 50
MAX_SIZE = 1000
# A page stays well below what one gRPC message may hold, however long the questions in it are.
MAX_BYTES = 4 * 1024 * 1024


class Cursor(NamedTuple):
    """The last item of a page: its time, and its id among items of the same time."""

    time: float
    id: str


def size(requested: int) -> int:
    """Returns the number of items to give. Raises InvalidArgument for a negative one."""
    if requested < 0:
        raise InvalidArgument(f"page_size is {requested}; it must be 0 or more", field="page_size")
    return min(requested or DEFAULT_SIZE, MAX_SIZE)


def encode(query: str, cursor: Cursor) -> str:
    """Returns the token for the page after `cursor`. `query` names the list, with the arguments that choose it."""
    token = struct_pb2.Struct()
    token.update({"query": query, "time": cursor.time, "id": cursor.id})
    return base64.urlsafe_b64encode(token.SerializeToString(deterministic=True)).decode().rstrip("=")


def decode(token: str, query: str) -> Cursor | None:
    """Returns where the page starts; None for the first. Raises InvalidArgument for a token of another list."""
    if not token:
        return None
    fields = struct_pb2.Struct()
    try:
        fields.ParseFromString(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        found, time, id_ = fields.fields["query"], fields.fields["time"], fields.fields["id"]
    except (binascii.Error, DecodeError, ValueError):
        raise InvalidArgument("page_token is not one that this server gave; leave it empty to start anew") from None
    if found.string_value != query:
        raise InvalidArgument("page_token belongs to another list or other arguments; leave it empty to start anew")
    return Cursor(time.number_value, id_.string_value)


_M = TypeVar("_M", bound=Message)


def fitting(messages: Iterable[_M]) -> Iterator[_M]:
    """Yields messages until they would make a page too large; always the first."""
    total = 0
    for number, message in enumerate(messages):
        total += message.ByteSize()
        if number and total > MAX_BYTES:
            return
        yield message


_R = TypeVar("_R")


def next_token(query: str, rows: Sequence[_R], given: int, cursor: Callable[[_R], Cursor]) -> str:
    """Returns the token for the page after the `given` first of `rows`; empty when they are all there is."""
    return encode(query, cursor(rows[given - 1])) if given < len(rows) else ""
