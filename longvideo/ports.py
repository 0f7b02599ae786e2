"""The ports of the service processes, as the settings say: who may reach them, and how they reach each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc

from longvideo import addresses, rpc, tls
from longvideo.errors import BadSettings
from longvideo.settings import Settings
from longvideo.storage import ObjectStore


def serve_internal(
    settings: Settings, setting: str, services: Sequence[rpc.Service], checks: Mapping[str, rpc.Check] | None = None
) -> rpc.Server:
    """Starts a server for other services, at the address that is in `setting`; without any it tells of health alone.

    With TLS it lets in only who has a certificate of `tls_ca`. Raises BadSettings for an address that others can reach
    without, and what `rpc.serve` raises.
    """
    identity = settings.identity()
    if identity is None:
        _only_here(settings, setting, "tls_cert, tls_key and tls_ca")
    credentials = tls.server_credentials(identity) if identity else None
    address = getattr(settings, setting)
    return rpc.serve(services, address, tls=credentials, checks=checks, concurrency=settings.rpc_concurrency)


def serve_api(
    settings: Settings,
    services: Sequence[rpc.Service],
    authenticate: rpc.Authenticate | None,
    checks: Mapping[str, rpc.Check] | None = None,
) -> rpc.Server:
    """Starts the server that clients talk to.

    Raises BadSettings for an address that others can reach without TLS or without tokens, and what `rpc.serve` raises.
    """
    identity = settings.api_identity()
    if identity is None:
        _only_here(settings, "api_listen", "api_tls_cert and api_tls_key")
    if authenticate is None:
        _only_here(settings, "api_listen", "auth=tokens")
    credentials = tls.server_credentials(identity) if identity else None
    return rpc.serve(
        services,
        settings.api_listen,
        tls=credentials,
        authenticate=authenticate,
        checks=checks,
        concurrency=settings.rpc_concurrency,
    )


def storage_check(store: ObjectStore) -> rpc.Check:
    """Returns what finds out whether the storage answers."""

    def check() -> None:
        next(iter(store.list("health/")), None)

    return check


def connect(settings: Settings, setting: str) -> grpc.Channel:
    """Returns a channel to the service whose address is in `setting`. Raises BadSettings."""
    identity = settings.identity()
    if identity is None:
        _only_here(settings, setting, "tls_cert, tls_key and tls_ca")
    return rpc.connect(getattr(settings, setting), tls=identity)


def _only_here(settings: Settings, setting: str, wanted: str) -> None:
    address = getattr(settings, setting)
    if settings.insecure or addresses.is_loopback(address):
        return
    raise BadSettings(
        f"{setting} is {address}, which is open to other machines; set {wanted}, or insecure=true when the network "
        "itself lets nobody else in",
        setting=setting,
    )
