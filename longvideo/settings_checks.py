"""What settings must not contradict each other in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from longvideo.addresses import collector_address, is_loopback
from longvideo.errors import BadSettings

if TYPE_CHECKING:
    from longvideo.settings import Settings

# Each of the first is worth nothing without the others.
_TOGETHER: Final = (
    (("s3_access_key", "s3_secret_key"), ()),
    (("s3_session_token",), ("s3_access_key", "s3_secret_key")),
    # The command needs only to know whom it believes.
    (("tls_cert", "tls_key"), ("tls_ca",)),
    (("api_tls_cert", "api_tls_key"), ()),
    (("otlp_cert", "otlp_key"), ()),
)

_BROKERS: Final = frozenset(("memory", "redis", "rediss"))


def check(settings: Settings) -> None:
    """Raises BadSettings, naming one of them, for settings that contradict each other."""
    _check_together(settings)
    _check_uploads(settings)
    _check_broker(settings)
    _check_telemetry(settings)


def _check_together(settings: Settings) -> None:
    for group, needed in _TOGETHER:
        given = [name for name in group if getattr(settings, name) is not None]
        missing = [name for name in (*group, *needed) if getattr(settings, name) is None]
        if given and missing:
            raise BadSettings(
                f"{given[0]} is set, but not {' and '.join(missing)}; "
                f"{', '.join((*group, *needed))} belong together: set all or none",
                setting=missing[0],
            )


def _check_uploads(settings: Settings) -> None:
    if settings.upload_expiry < settings.upload_url_seconds:
        raise BadSettings(
            f"upload_expiry is {settings.upload_expiry:g}, and upload_url_seconds, {settings.upload_url_seconds:g}, is "
            "longer; until then a client may be at work: raise upload_expiry",
            setting="upload_expiry",
        )
    own = urlsplit(settings.object_store).netloc
    if settings.import_buckets and not own:
        raise BadSettings("import_buckets is set, but not object_store; buckets need one", setting="import_buckets")
    if own in settings.import_buckets:
        raise BadSettings(
            f"import_buckets holds {own}, the bucket of object_store, where videos of all tenants lie; leave it out",
            setting="import_buckets",
        )


def _check_broker(settings: Settings) -> None:
    if settings.broker_url.partition("://")[0] not in _BROKERS:
        raise BadSettings(
            "broker_url is not the URL of a Redis server; give redis://host:6379/0, or rediss://… for one with TLS",
            setting="broker_url",
        )


def _check_telemetry(settings: Settings) -> None:
    try:
        metadata = settings.otlp_metadata()
    except ValueError:
        raise BadSettings(
            "otlp_headers must look like name=value,name=value, with names of small letters, digits, dots and dashes",
            setting="otlp_headers",
        ) from None
    address, secure = collector_address(settings.otlp_endpoint)
    if not address:
        return
    given = next((name for name in ("otlp_ca", "otlp_cert") if getattr(settings, name) is not None), "")
    if given and not secure:
        raise BadSettings(
            f"{given} is set, but otlp_endpoint, {settings.otlp_endpoint}, has no TLS; use https://{address}",
            setting=given,
        )
    private = "trace_content" if settings.trace_content else "otlp_headers" if metadata else ""
    if private and not (secure or settings.insecure or is_loopback(address)):
        raise BadSettings(
            f"{private} is set, and others could read what goes to {settings.otlp_endpoint}; use https://{address}, or "
            "set insecure=true when the network itself lets nobody else in",
            setting="otlp_endpoint",
        )
