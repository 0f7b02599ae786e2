"""What one connection may ask of a server, and a server of its callers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
# What a call brings with it: a token, ids, a deadline.
MAX_CALL_METADATA_BYTES: Final = 16 * 1024
# What a status brings with it: a failed call tells of every model call that it made, which take half a kilobyte each.
MAX_STATUS_BYTES: Final = 64 * 1024

DEFAULT_CONCURRENCY: Final = 256

# A connection lives this long, in seconds, and then makes place for a new one, so that callers find the servers that
# were added meanwhile. Calls on it go on to their end.
CONNECTION_AGE: Final = 60
# A caller asks a silent connection this often, in seconds, whether the other side is still there; a server closes one
# that asks much more often.
PING_SECONDS: Final = 30

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
CHANNEL_OPTIONS: Final = (
    *_OPTIONS,
    ("grpc.max_metadata_size", MAX_STATUS_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_STATUS_BYTES),
    # A name of several addresses is several servers: calls go to all in turn.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Connections of its own: another channel's failures are not this one's.
    ("grpc.use_local_subchannel_pool", 1),
    # A server that comes back is found soon.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
)


def server_options(concurrency: int) -> tuple[tuple[str, int], ...]:
    """Returns the options of a server that answers so many calls at one time."""
    return (
        *_OPTIONS,
        ("grpc.so_reuseport", 0),
        ("grpc.max_metadata_size", MAX_CALL_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_CALL_METADATA_BYTES),
        ("grpc.max_concurrent_streams", concurrency),
        ("grpc.max_connection_age_ms", CONNECTION_AGE * 1000),
        ("grpc.max_connection_idle_ms", 10 * CONNECTION_AGE * 1000),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_SECONDS * 1000 // 2),
        ("grpc.http2.max_ping_strikes", 3),
    )


class Threads(ThreadPoolExecutor):
    """A thread for each call that is let in, and a few more: for health checks, and to turn others away."""

    _SPARE = 8

    def __init__(self, concurrency: int) -> None:
        super().__init__(concurrency + self._SPARE, "rpc")
        self.concurrency = concurrency
        self._lock = threading.Lock()
        self._taken = 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Runs a call."""
        with self._lock:
            self._taken += 1
        future = super().submit(function, *args, **options)
        future.add_done_callback(self._ended)
        return future

    def full(self) -> bool:
        """Tells whether as many calls are being answered as may be at one time."""
        with self._lock:
            return self._taken >= self.concurrency

    def _ended(self, _: Future[Any]) -> None:
        with self._lock:
            self._taken -= 1
