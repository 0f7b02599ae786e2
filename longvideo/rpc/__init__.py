"""How the services talk: servers with health and reflection, channels, and errors that survive the wire.

A servicer raises a `longvideo.errors` class; the server's interceptor turns it into a status with one
`google.rpc.ErrorInfo`; the channel's interceptor turns it back, so the caller catches the same class. Deadlines travel
with every call, and shrink at every hop, so that the inner service can still say what took so long.
"""

from longvideo.rpc.channel import Call, Stream, connect
from longvideo.rpc.deadlines import HOP_SECONDS, deadline, timeout
from longvideo.rpc.health import Check
from longvideo.rpc.interceptor import Authenticate
from longvideo.rpc.server import Server, Service, serve
from longvideo.rpc.status import from_rpc_error, to_status

__all__ = [
    "HOP_SECONDS",
    "Authenticate",
    "Call",
    "Check",
    "Server",
    "Service",
    "Stream",
    "connect",
    "deadline",
    "from_rpc_error",
    "serve",
    "timeout",
    "to_status",
]
