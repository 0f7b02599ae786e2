"""A lock that is an object: its holder renews it, and others take it over once it has not been renewed for a while.

Nobody's own clock is trusted: how old a lease is follows from two times that the server writes on one answer.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Final

from minio.error import MinioException
from urllib3.exceptions import HTTPError

from longvideo.errors import DeadlineExceeded
from longvideo.storage.s3_bucket import Bucket, Stored
from longvideo.storage.s3_requests import Transient, explained, status_of

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.5
# Where a server ignores conditions: writers who began at one moment have all written after this, and the last one won.
SETTLING_SECONDS: Final = 0.25
_FAILURES: Final = (MinioException, HTTPError, Transient)


class Lease:
    """One attempt to hold the lock that the object `name` stands for."""

    def __init__(self, bucket: Bucket, name: str, key: str, seconds: float, conditional: bool) -> None:
        """Makes a lease that nobody holds.

        Args:
            bucket: Where the object is.
            name: The object's name in the bucket.
            key: What is locked, for messages.
            seconds: How long the lease outlives a holder that does not renew it; a few seconds at least, because
                servers tell times in whole ones.
            conditional: Whether the server honours conditions on writing.
        """
        self._bucket = bucket
        self._name = name
        self._key = key
        self._seconds = seconds
        self._conditional = conditional
        self._token = secrets.token_hex(12)
        self._turn = 0
        self._etag = ""
        self._safe_until = 0.0

    @contextlib.contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Holds the lock. Waits at most `timeout` seconds for it, then raises DeadlineExceeded."""
        with explained(self._bucket.where, self._key):
            self._acquire(time.monotonic() + timeout)
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(done,), name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            # What cannot be removed now runs out by itself, and the work was done.
            with contextlib.suppress(*_FAILURES):
                self._release()

    def _acquire(self, deadline: float) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._take():
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded(f"another process or thread still works on {self._key}", key=self._key)
            time.sleep(min(left, random.uniform(pause / 2, pause)))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def _take(self) -> bool:
        """Tries once to become the holder."""
        if self._conditional and self._write(None):
            return True
        found = self._find()
        if found is not None and found.age <= self._seconds:
            return False
        if self._conditional:
            return found is not None and self._write(found.etag)
        self._write_unconditionally()
        time.sleep(SETTLING_SECONDS)
        found = self._find()
        return found is not None and found.data == self._body()

    def _renew(self, done: threading.Event) -> None:
        while not done.wait(self._seconds / 3):
            # A renewal that fails is tried again at the next turn; the lease lasts for three of them.
            with contextlib.suppress(*_FAILURES):
                if not self._conditional:
                    self._write_unconditionally()
                elif not self._write(self._find_etag()):
                    return

    def _release(self) -> None:
        """Removes the object, unless the lease may have run out: then it may be another's by now."""
        if time.monotonic() < self._safe_until:
            self._bucket.client.remove_object(self._bucket.name, self._name)

    def _body(self) -> bytes:
        # Each turn's bytes differ, so that a renewed lease has another etag than the one that somebody saw grow old.
        return f"{self._token} {self._turn}".encode()

    def _write(self, etag: str | None) -> bool:
        before = time.monotonic()
        self._turn += 1
        if not self._bucket.put_if(self._name, self._body(), etag):
            return False
        self._safe_until = before + self._seconds - 1
        return True

    def _write_unconditionally(self) -> None:
        before = time.monotonic()
        self._turn += 1
        self._bucket.put(self._name, self._body())
        self._safe_until = before + self._seconds - 1

    def _find_etag(self) -> str:
        found = self._find()
        own = found is not None and found.data == self._body()
        return found.etag if found is not None and own else ""

    def _find(self) -> Stored | None:
        try:
            return self._bucket.read(self._name)
        except MinioException as error:
            if status_of(error) == 404:
                return None
            raise
