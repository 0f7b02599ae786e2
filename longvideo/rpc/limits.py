"""What one connection may ask of a server, and a server of its callers."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
# What a status brings with it: a failed call tells of every model call that it made, which take half a kilobyte each.
MAX_STATUS_BYTES: Final = 64 * 1024

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
CHANNEL_OPTIONS: Final = (
    *_OPTIONS,
    ("grpc.max_metadata_size", MAX_STATUS_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_STATUS_BYTES),
)
SERVER_OPTIONS: Final = (*_OPTIONS, ("grpc.so_reuseport", 0))
