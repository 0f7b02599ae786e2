"""Sending spans to a collector, by OTLP over gRPC."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from longvideo import addresses, tls
from longvideo.rpc.limits import CHANNEL_OPTIONS
from longvideo.settings import Settings

logger = logging.getLogger(__name__)

EXPORT_SECONDS: Final = 10.0
"""How long a collector may take to receive some spans. One that is away for a shorter time loses nothing."""


class CollectorExporter(SpanExporter):
    """Sends spans to the collector that the settings name.

    One that does not take them costs nobody but those who wanted to see them. It is told once, and once more when it
    takes them again.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects lazily. Raises BadSettings for files of no use."""
        self._address, secure = addresses.collector_address(settings.otlp_endpoint)
        self._metadata = settings.otlp_metadata()
        if secure:
            self._channel = grpc.secure_channel(self._address, _credentials(settings), options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(self._address, options=CHANNEL_OPTIONS)
        self._stub = TraceServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans, and gives up after a while."""
        try:
            answer = self._stub.Export(
                encode_spans(spans), timeout=EXPORT_SECONDS, metadata=self._metadata, wait_for_ready=True
            )
        except grpc.RpcError as error:
            self._lose(len(spans), f"{error.code().name}: {error.details()}")
        except ValueError:  # the channel was closed: the process ends
            self._lose(len(spans), "there was no time left")
        else:
            refused = answer.partial_success.rejected_spans
            if not refused:
                self._recover()
                return SpanExportResult.SUCCESS
            self._lose(refused, answer.partial_success.error_message or "it refused them")
        return SpanExportResult.FAILURE

    def _lose(self, count: int, why: str) -> None:
        if not self._lost:
            logger.warning("traces cannot be sent to %s and are lost until it takes them: %s", self._address, why)
        self._lost += count

    def _recover(self) -> None:
        if self._lost:
            logger.info("traces are sent to %s again; %d spans were lost", self._address, self._lost)
            self._lost = 0

    def close(self) -> None:
        """Ends what is being sent, and sends nothing any more."""
        self._channel.close()

    def shutdown(self) -> None:
        """Does the same."""
        self.close()


def _credentials(settings: Settings) -> grpc.ChannelCredentials:
    if settings.otlp_cert is not None and settings.otlp_key is not None:
        identity = tls.Identity(settings.otlp_cert, settings.otlp_key, settings.otlp_ca, setting="otlp")
        return tls.shown(identity.read())
    if settings.otlp_ca is None:
        return tls.believing(None)
    pem = tls.read_file("otlp_ca", settings.otlp_ca)
    tls.check_authorities(pem, "otlp_ca", settings.otlp_ca)
    return tls.believing(pem)
