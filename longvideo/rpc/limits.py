"""What one connection may ask of a server, and a server of its callers."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
CHANNEL_OPTIONS: Final = _OPTIONS
SERVER_OPTIONS: Final = (*_OPTIONS, ("grpc.so_reuseport", 0))
