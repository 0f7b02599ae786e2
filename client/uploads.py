"""How the bytes of a video get to where the server wants them, without passing through it.

A server on this machine gives a `file:` URI, and gets a link. Any other gives URLs of its object storage: one for a
small file, one for each missing part of a large one. Parts are sent several at a time, each again when its connection
breaks. What has arrived stays there, so that the next try, also that of another process, sends only the rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from longvideo import errors
from longvideo.v1 import orchestrator_pb2 as pb

Sent = Callable[[float, float], None]
"""Told how many bytes have arrived, and of how many."""

# More connections gain little, and leave nothing of a shared line for others.
AT_ONCE: Final = 4
# Together the pauses between the attempts are about half a minute: long enough for a storage that restarts.
ATTEMPTS: Final = 10
# As long as nothing has ever answered, somebody had better look at it soon.
FIRST_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 8.0
# A block goes out at once, so that a line of 20 kbit/s is fast enough for the time that one may take.
_BLOCK_BYTES: Final = 1 << 16
_TIMEOUT: Final = urllib3.Timeout(connect=30.0, read=300.0)
# S3 answers 400 to a body that came too slowly, and 409 to two writers at one moment.
_TRANSIENT: Final = {408, 409, 425, 429, 500, 502, 503, 504}
_STALE: Final = {403, 404}
_NO_LINKS: Final = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}


class _Stale(Exception):
    """A URL cannot be used any more, or the upload that it belongs to is gone."""


class _Stopped(Exception):
    """Another part failed, or the user wants no more of it."""


@dataclass(frozen=True)
class _Piece:
    """A range of the file, and the URL that takes it."""

    offset: int
    size: int
    url: str


def send(
    path: Path,
    created: pb.CreateVideoResponse,
    renew: Callable[[], pb.CreateVideoResponse],
    sent: Sent,
    ca: Path | None = None,
) -> None:
    """Sends a file's bytes to where `created` says, as far as they are not there yet.

    Args:
        path: The file. It must stay as it is meanwhile.
        created: What the server said.
        renew: Asks the server again, when what it said can no longer be used.
        sent: Told of the progress.
        ca: A PEM file of authorities that are believed beside the system's.

    Raises FailedPrecondition and StorageUnavailable, which name the place that cannot be written to.
    """
    if not created.parts and urlsplit(created.upload_uri).scheme not in {"http", "https"}:
        put_file(created.upload_uri, path, created.video.name.rpartition("/")[2])
        return
    sender = _Sender(path, created.video.size_bytes, sent, ca)
    fruitless = 0
    while created.parts or created.upload_uri:
        arrived = sender.arrived(created)
        try:
            sender.send(created)
            return
        except _Stale as error:
            created = renew()
            # A URL that cannot be used although it is new will not get better.
            fruitless = 0 if sender.arrived(created) > arrived else fruitless + 1
            if fruitless > 1:
                raise errors.FailedPrecondition(
                    f"the storage at {sender.host} does not take the upload: {error}; ask the operator of the server",
                    reason="UPLOAD_REFUSED",
                ) from None


class _Sender:
    """Sends pieces of one file, several at once, with little memory."""

    def __init__(self, path: Path, size: int, sent: Sent, ca: Path | None) -> None:
        self._path = path
        self._size = size
        self._sent = sent
        self._pool = urllib3.PoolManager(
            maxsize=AT_ONCE, block=True, retries=False, timeout=_TIMEOUT, ssl_context=_trust(ca), blocksize=_BLOCK_BYTES
        )
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._arrived = 0
        self._heard = False
        self.host = ""

    def arrived(self, created: pb.CreateVideoResponse) -> int:
        """Returns how many bytes the storage has, by what the server says."""
        return self._size - sum(piece.size for piece in self._pieces(created))

    def _pieces(self, created: pb.CreateVideoResponse) -> list[_Piece]:
        if created.upload_uri:
            return [_Piece(0, self._size, created.upload_uri)]
        return [_Piece(part.offset, part.size_bytes, part.uri) for part in created.parts]

    def send(self, created: pb.CreateVideoResponse) -> None:
        """Sends all pieces. Raises what the first one raises that cannot be sent, and _Stale."""
        pieces = self._pieces(created)
        self.host = urlsplit(pieces[0].url).netloc
        self._arrived = self.arrived(created)
        self._stopping.clear()
        self._count(0)
        threads = ThreadPoolExecutor(AT_ONCE, "upload")
        started = [threads.submit(self._send, piece) for piece in pieces]
        try:
            done, _ = wait(started, return_when=FIRST_EXCEPTION)
        except KeyboardInterrupt:  # the process ends, whatever a thread is at
            self._stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
        failures = [error for future in done if (error := future.exception())]
        # What is under way with a URL that was taken may still arrive.
        if not all(isinstance(error, _Stale) for error in failures):
            self._stopping.set()
        threads.shutdown(cancel_futures=True)
        for error in failures:
            raise error

    def _send(self, piece: _Piece) -> None:
        """Sends a piece, as often as it takes."""
        attempt = 0
        while True:
            try:
                self._put(piece)
                return
            except SSLError as error:
                raise errors.StorageUnavailable(
                    f"the storage at {self.host} cannot be trusted: {_why(error)}; LONGVIDEO_TLS_CA may name a PEM "
                    "file of the authority that vouches for it",
                    host=self.host,
                ) from None
            except (HTTPError, _Busy) as error:
                attempt += 1
                nobody = isinstance(error, NewConnectionError | ConnectTimeoutError) and not self._heard
                if attempt == (FIRST_ATTEMPTS if nobody else ATTEMPTS):
                    raise self._given_up(error) from None
            pause = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2**attempt)
            if self._stopping.wait(random.uniform(pause / 2, pause)):
                raise _Stopped

    def _given_up(self, error: Exception) -> errors.StorageUnavailable:
        if isinstance(error, _Busy):
            what, fix = f"the storage at {self.host} cannot take the upload now: {error}", ""
        else:
            what = f"cannot reach the storage at {self.host} from this machine: {_why(error)}"
            fix = "check the network and the firewall, then "
        return errors.StorageUnavailable(f"{what}; {fix}run the command again: it goes on from there", host=self.host)

    def _put(self, piece: _Piece) -> None:
        """Sends a piece once. Raises HTTPError, _Busy, _Stale and _Stopped."""
        counted = 0

        def blocks() -> Iterator[bytes]:
            nonlocal counted
            for block in self._read(piece):
                if self._stopping.is_set():
                    raise _Stopped
                yield block
                counted += len(block)
                self._count(len(block))

        headers = {"content-length": str(piece.size), "content-type": "application/octet-stream"}
        arrived = False
        try:
            answer = self._pool.request("PUT", piece.url, body=blocks(), headers=headers, redirect=False)
            self._heard = True
            arrived = answer.status < 300
        finally:
            if not arrived:
                self._count(-counted)
        if not arrived:
            raise _refusal(answer, self.host)
        self._count(piece.size - counted)

    def _read(self, piece: _Piece) -> Iterator[bytes]:
        left = piece.size
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(piece.offset)
                while left:
                    block = file.read(min(left, _BLOCK_BYTES))
                    if not block:
                        raise changed(self._path)
                    left -= len(block)
                    yield block
        except OSError as error:
            raise errors.NotFound(f"{self._path} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from None

    def _count(self, size: int) -> None:
        with self._lock:
            self._arrived += size
            self._sent(self._arrived, self._size)


class _Busy(Exception):
    """An answer that a second try may improve."""


def _refusal(answer: urllib3.BaseHTTPResponse, host: str) -> Exception:
    """Returns what to raise for an answer that is no success."""
    text = answer.data[:10_000].decode("utf-8", "replace")
    said = f"{answer.status} {_element(text, 'Code')} {_element(text, 'Message')}".strip()
    if answer.status in _TRANSIENT or _element(text, "Code") == "RequestTimeout":
        return _Busy(said)
    if answer.status in _STALE:
        return _Stale(said)
    if answer.status == 507:
        return errors.StorageFull(f"the storage at {host} is full ({said}); tell the operator of the server")
    return errors.FailedPrecondition(
        f"the storage at {host} does not take the upload: {said}; ask the operator of the server",
        reason="UPLOAD_REFUSED",
    )


def _element(document: str, name: str) -> str:
    """Returns the text of an element of S3's short error documents, empty where there is none."""
    return document.partition(f"<{name}>")[2].partition(f"</{name}>")[0][:200]


def _why(error: Exception) -> str:
    """Returns what went wrong with a connection, without the objects that urllib3 names."""
    return str(error.args[-1] if error.args else error).rpartition(": ")[2]


def _trust(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise errors.BadSettings(f"tls_ca is {ca}, which cannot be used: {error}", setting="tls_ca") from None
    return context


def changed(path: Path) -> errors.FailedPrecondition:
    """Returns what to raise for a file that did not stay as it was."""
    return errors.FailedPrecondition(
        f"{path} was changed while it was uploaded; run the command again once it stays as it is", reason="FILE_CHANGED"
    )


def put_file(uri: str, path: Path, name: str) -> None:
    """Puts a file where the server wants it, by this name. Raises FailedPrecondition when this machine cannot do that.

    A `file:` URI gets a hard link, or a symbolic link where the file system allows no hard one, so that a video of any
    size costs nothing.
    """
    parts = urlsplit(uri)
    target = Path(unquote(parts.path))
    # A server that is not to be trusted could else have any file replaced.
    if parts.scheme != "file" or target.name != name or not target.parent.is_dir():
        raise errors.FailedPrecondition(
            f"the server wants the video at {uri}, which this machine cannot write to; "
            "run the command on the server's machine, or leave out --server",
            reason="UPLOAD_UNREACHABLE",
        )
    source = path.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            temporary.symlink_to(source)
        temporary.replace(target)
    except OSError as error:
        kind = errors.StorageFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else errors.StorageUnavailable
        raise kind(f"cannot write {target}: {error.strerror}") from None
    finally:
        # Renaming one link of a file onto another does nothing, and leaves the first.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
