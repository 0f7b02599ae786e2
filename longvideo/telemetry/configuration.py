"""Whether, and where to, a process sends its spans."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from longvideo.telemetry import spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from longvideo.settings import Settings
    from longvideo.telemetry.export import CollectorExporter

FLUSH_SECONDS: Final = 0.5
"""How long the end of a process may take longer because spans are still to be sent."""

QUEUE, BATCH, EVERY_SECONDS = 4096, 128, 1.0
"""How many spans wait to be sent at most, further ones are lost; how many are sent at one time, and how often."""

# A conversation with a reasoner is long; the rest of it is in the database.
_MAX_TEXT: Final = 16 * 1024
_MAX_LINKS: Final = 1000


class _Sending:
    """What sends the spans of this process."""

    def __init__(self, provider: TracerProvider, exporter: CollectorExporter) -> None:
        self._provider, self._exporter = provider, exporter

    def close(self) -> None:
        """Sends what is left, for FLUSH_SECONDS at most."""
        timer = threading.Timer(FLUSH_SECONDS, self._exporter.close)
        timer.daemon = True
        timer.start()
        self._provider.shutdown()
        timer.cancel()


_sending: list[_Sending] = []


def configure(settings: Settings, service: str) -> None:
    """Makes this process send its spans as `service`, if the settings say where to. Raises BadSettings for bad files.

    What was configured before ends.
    """
    shutdown()
    if not settings.otlp_endpoint:
        return
    # A quarter of a second that only those pay who want traces.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    from longvideo import __version__, logs  # noqa: PLC0415
    from longvideo.telemetry.export import CollectorExporter  # noqa: PLC0415
    from longvideo.telemetry.sampling import Keeper, Share  # noqa: PLC0415

    # It would say of each span that it is lost; `CollectorExporter` says once why they are.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = CollectorExporter(settings)
    provider = TracerProvider(
        sampler=Share(settings.trace_sample_ratio),
        resource=Resource.create(
            {
                "service.namespace": "longvideo",
                "service.name": service,
                "service.version": __version__,
                "service.instance.id": str(uuid.uuid4()),
                "host.name": socket.gethostname(),
            }
        ),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attribute_length=_MAX_TEXT, max_links=_MAX_LINKS),
    )
    batches = BatchSpanProcessor(
        exporter, max_queue_size=QUEUE, max_export_batch_size=BATCH, schedule_delay_millis=EVERY_SECONDS * 1000
    )
    provider.add_span_processor(Keeper(batches))
    hide = logs.Veil(settings.secrets()).hide
    spans.record(spans.Recording(provider.get_tracer("longvideo", __version__), settings.trace_content, hide))
    _sending.append(_Sending(provider, exporter))


def shutdown() -> None:
    """Sends what is left, for a moment, and makes no more spans."""
    spans.record(None)
    while _sending:
        _sending.pop().close()


@contextlib.contextmanager
def configured(settings: Settings, service: str) -> Iterator[None]:
    """Makes this process send its spans within."""
    configure(settings, service)
    try:
        yield
    finally:
        shutdown()
