"""Certificates: what a process shows to others, and whom it believes.

Files that are renewed while a process runs are taken up: by a server with its next connection, by a channel to other
services with its next call.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from longvideo.errors import BadSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pem:
    """The bytes of a certificate chain, of its key, and of the authorities that are believed; empty where not given."""

    cert: bytes
    key: bytes
    ca: bytes


@dataclass(frozen=True)
class Identity:
    """The files of a certificate chain, of its key, and of the authorities whose certificates are believed.

    `setting` is how the names of the settings begin that hold the paths, for messages. Servers with `ca` let in only
    callers that show a certificate of these authorities.
    """

    cert: Path
    key: Path
    ca: Path | None = None
    setting: str = "tls"

    def read(self) -> Pem:
        """Returns what the files hold. Raises BadSettings for a file that is missing, broken, or not of the others."""
        cert, key = self._bytes("cert", self.cert), self._bytes("key", self.key)
        ca = self._bytes("ca", self.ca) if self.ca else b""
        try:
            # An empty password makes an encrypted key an error instead of a question on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:
            raise BadSettings(
                f"{self.setting}_cert ({self.cert}) and {self.setting}_key ({self.key}) cannot be used: {_why(error)}; "
                "they must be a PEM certificate chain and its unencrypted key",
                setting=f"{self.setting}_cert",
            ) from None
        if self.ca:
            check_authorities(ca, f"{self.setting}_ca", self.ca)
        return Pem(cert, key, ca)

    def _bytes(self, part: str, path: Path) -> bytes:
        return read_file(f"{self.setting}_{part}", path)


def read_file(setting: str, path: Path) -> bytes:
    """Returns what a file holds. Raises BadSettings, which names the setting that says where it is."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{setting} is {path}, which cannot be read: {error.strerror}", setting=setting) from None


def check_authorities(pem: bytes, setting: str, path: Path) -> None:
    """Raises BadSettings when the bytes are not certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise BadSettings(
            f"{setting} is {path}, which holds no PEM certificate: {_why(error)}", setting=setting
        ) from None


def _why(error: Exception) -> str:
    said = error.reason if isinstance(error, ssl.SSLError) else str(error)
    return (said or "it is not PEM").lower().replace("_", " ")


def server_credentials(identity: Identity) -> grpc.ServerCredentials:
    """Returns what a server shows, read again whenever somebody connects. Raises BadSettings for files of no use now.

    Later ones of no use are logged, and what was good before stays.
    """
    files = Renewed(identity)

    def fetch() -> Any:  # None where nothing changed, which the stubs do not know
        return _configuration(files.pem) if files.changed() else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files.pem), fetch, require_client_authentication=identity.ca is not None
    )


class Renewed:
    """What an identity's files hold, also after they were renewed: `pem`."""

    def __init__(self, identity: Identity) -> None:
        """Reads the files. Raises BadSettings for files of no use."""
        self._identity = identity
        self._lock = threading.Lock()
        self._seen = self._state()
        self.pem = identity.read()

    def changed(self) -> bool:
        """Tells whether `pem` is another than at the last time. Files of no use are logged, and change nothing."""
        with self._lock:
            state = self._state()
            if state == self._seen:
                return False
            self._seen = state
            try:
                pem = self._identity.read()
            except BadSettings as error:
                logger.warning("renewed certificates are not taken up: %s", error)
                return False
            if pem == self.pem:
                return False
            self.pem = pem
            logger.info("%s_cert was renewed", self._identity.setting)
            return True

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, (self._identity.cert, self._identity.key, self._identity.ca)))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size) if status else None


def _configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.ca or None)


def shown(pem: Pem) -> grpc.ChannelCredentials:
    """Returns what a channel between services shows and believes."""
    return grpc.ssl_channel_credentials(pem.ca or None, pem.key, pem.cert)


def probing(identities: Sequence[Identity]) -> grpc.ChannelCredentials:
    """Returns what a process shows and believes when it asks one of its own ports, which shows one of these.

    It shows the first, and believes their authorities and themselves. Raises BadSettings for files of no use.
    """
    read = [identity.read() for identity in identities]
    believed = b"\n".join(part for pem in read for part in (pem.ca, pem.cert))
    return grpc.ssl_channel_credentials(believed, read[0].key, read[0].cert)


def believing(pem: bytes | None) -> grpc.ChannelCredentials:
    """Returns what a channel believes that shows nothing: these authorities, or those that gRPC brings along."""
    return grpc.ssl_channel_credentials(pem)
