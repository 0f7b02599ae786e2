"""A channel that shows a certificate which is renewed on disk while the process runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc

from longvideo import tls


class RenewingChannel(grpc.Channel):
    """A channel whose calls show what an identity's files hold when they begin.

    gRPC's own channels keep what they were opened with. When the files have changed, the next call opens another one;
    calls that run on the one before go on. That one is closed at the next renewal, which is weeks later.
    """

    def __init__(self, identity: tls.Identity, open_channel: Callable[[grpc.ChannelCredentials], grpc.Channel]) -> None:
        """Opens the first channel. Raises BadSettings for files of no use."""
        self._files = tls.Renewed(identity)
        self._open = open_channel
        self._lock = threading.Lock()
        self._before: grpc.Channel | None = None
        self._now = open_channel(tls.shown(self._files.pem))

    def current(self) -> grpc.Channel:
        """Returns the channel that shows what the files hold now."""
        with self._lock:
            if self._files.changed():
                if self._before is not None:
                    self._before.close()
                self._before, self._now = self._now, self._open(tls.shown(self._files.pem))
            return self._now

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what makes calls of one request and one answer."""
        return _Method(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what makes calls of one request and many answers."""
        return _Method(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what makes calls of many requests and one answer."""
        return _Method(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what makes calls of many requests and answers."""
        return _Method(self, lambda channel: channel.stream_stream(*args, **kwargs))

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """Tells of the state of the channel of now, not of later ones."""
        self.current().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """Ends what `subscribe` began."""
        self._now.unsubscribe(callback)

    def close(self) -> None:
        """Ends all calls."""
        for channel in (self._before, self._now):
            if channel is not None:
                channel.close()

    def __enter__(self) -> RenewingChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Method:
    """A method's calls, each on the channel of its moment."""

    def __init__(self, channel: RenewingChannel, made: Callable[[grpc.Channel], Any]) -> None:
        self._channel = channel
        self._made = made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._made(self._channel.current())(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(self._channel.current()), name)
