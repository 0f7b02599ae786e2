"""The server that `--server` names: how it is reached, and what to do when it is not."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from client.api import Client
from longvideo import addresses, errors, rpc, tls
from longvideo.settings import Settings
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import orchestrator_pb2_grpc

# A server on this machine or near it answers within milliseconds.
_HELLO_SECONDS = 5.0
_HTTPS = "https://"


@contextlib.contextmanager
def open_server(named: str, configured: Settings) -> Iterator[Client]:
    """Gives a client of the server once it has answered. Raises BadSettings, Unavailable and Unauthenticated."""
    address = _address(named)
    with contextlib.closing(_channel(named, address, configured)) as channel:
        hello = orchestrator_pb2_grpc.OrchestratorServiceStub(channel)
        try:
            hello.ListVideos(pb.ListVideosRequest(page_size=1), timeout=_HELLO_SECONDS)
        except errors.PermissionDenied:
            pass  # it knows who we are; whether we may do what we want is told when we do it
        except errors.Unauthenticated as error:
            raise _not_let_in(named, configured, error) from None
        except (errors.Unavailable, errors.DeadlineExceeded) as error:
            raise _not_reached(named, address, configured, error) from None
        except errors.Internal:
            raise errors.BadSettings(f"What answers at {named} is not a longvideo server.") from None
        yield Client(channel)


def _address(named: str) -> str:
    """Returns the `host:port` of what `--server` names."""
    try:
        if not named.startswith(_HTTPS):
            address = addresses.check_address(named)
        else:
            parts = urlsplit(named)
            if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError
            address = addresses.check_address(parts.netloc if parts.port else f"{parts.netloc}:443")
        if address.endswith(":0"):
            raise ValueError
    except ValueError:
        raise errors.BadSettings(
            f"--server is {named!r}; it must look like 127.0.0.1:7700, or https://host:7700 for a server with TLS."
        ) from None
    return address


def _channel(named: str, address: str, configured: Settings) -> grpc.Channel:
    token = configured.token.get_secret_value() if configured.token else ""
    if named.startswith(_HTTPS):
        return rpc.connect(address, tls=tls.believing(_authorities(configured)), token=token)
    if token and not addresses.is_loopback(address):
        raise errors.BadSettings(
            f"LONGVIDEO_TOKEN is set, and a plain connection to {address} would show it to others; "
            f"use --server https://{address}, or unset it."
        )
    return rpc.connect(address, token=token)


def _authorities(configured: Settings) -> bytes | None:
    """Returns the certificates of the authorities that are believed: those that were given, or the system's."""
    if configured.tls_ca is not None:
        pem = tls.read_file("tls_ca", configured.tls_ca)
        tls.check_authorities(pem, "tls_ca", configured.tls_ca)
        return pem
    system = ssl.get_default_verify_paths().cafile
    try:
        return Path(system).read_bytes() if system else None
    except OSError:
        return None  # a system without: gRPC brings some along


def _not_let_in(named: str, configured: Settings, error: errors.Unauthenticated) -> errors.LongVideoError:
    if configured.token is None:
        said = (
            f"The server at {named} asks for a token. Put it in LONGVIDEO_TOKEN, or the path of a file with it in "
            "LONGVIDEO_TOKEN_FILE; whoever runs the server makes tokens."
        )
    else:
        said = f"The server at {named} does not take the token in LONGVIDEO_TOKEN: {error.message}"
    return errors.Unauthenticated(said, reason=error.reason, **error.metadata)


def _not_reached(named: str, address: str, configured: Settings, error: errors.LongVideoError) -> errors.LongVideoError:
    """Returns the error that says what is the matter, as far as gRPC's own words tell."""
    secure = named.startswith(_HTTPS)
    if "CERTIFICATE_VERIFY_FAILED" in error.message:
        given = f"{configured.tls_ca} (LONGVIDEO_TLS_CA)" if configured.tls_ca else "the system's authorities"
        fix = "give the file of the authority that issued its certificate in LONGVIDEO_TLS_CA"
        return errors.BadSettings(f"The server at {named} shows a certificate that {given} did not issue; {fix}.")
    if "Hostname Verification" in error.message:
        host = addresses.host_of(address)
        return errors.BadSettings(
            f"The certificate of the server at {named} is not for {host}; use a name that it has."
        )
    if "WRONG_VERSION_NUMBER" in error.message:
        return errors.BadSettings(f"The server at {address} speaks no TLS; use --server {address}.")
    if "Socket closed" in error.message and not secure:
        return errors.BadSettings(
            f"The server at {address} closes plain connections; if it has TLS, use --server https://{address}."
        )
    if error.reason != errors.Unavailable.default_reason and isinstance(error, errors.Unavailable):
        return error  # the server's own words
    return errors.Unavailable(
        f"No longvideo server answers at {named}. Start one with `longvideo up`, or leave out --server.",
        reason="SERVER_UNAVAILABLE",
    )
