"""Requests to an S3 server: their errors, told as ours, their retries, and how many there were."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from longvideo import metrics
from longvideo.errors import LongVideoError, NotFound, StorageFull, StorageUnavailable

ATTEMPTS: Final = 5
# The first pause is up to this long, and each may be twice as long as the one before; together under four seconds.
PAUSE_SECONDS: Final = 0.2
_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=60.0)
_TRANSIENT_STATUSES: Final = (429, 500, 502, 503, 504)
_TRANSIENT_CODES: Final = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling"}
_FULL: Final = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
_ADVICE: Final = {
    "NoSuchBucket": "make the bucket, or name another one",
    "AccessDenied": "give keys that may read and write the bucket",
    "InvalidAccessKeyId": "check the access key",
    "SignatureDoesNotMatch": "check the secret key and the region",
}

_Result = TypeVar("_Result")


@dataclass
class Traffic:
    """What went over the network to read objects. Threads share it."""

    requests: int = 0
    retries: int = 0
    bytes_read: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, retry: bool, size: int = 0) -> None:
        """Counts one request and the bytes of its answer."""
        with self._lock:
            self.requests += 1
            self.retries += retry
            self.bytes_read += size


class Transient(Exception):
    """An answer that a second try may improve, for example one that was cut short."""


def connections(*, retried: bool) -> urllib3.PoolManager:
    """Returns a pool of connections. `retried` requests are tried again, with pauses, when the server fails."""
    policy = Retry(
        total=ATTEMPTS - 1,
        backoff_factor=PAUSE_SECONDS,
        backoff_jitter=PAUSE_SECONDS,
        status_forcelist=_TRANSIENT_STATUSES,
    )
    return urllib3.PoolManager(maxsize=16, retries=policy if retried else False, timeout=_TIMEOUT)


def patiently(attempt: Callable[[bool], _Result]) -> _Result:
    """Calls `attempt` until it does not fail in a passing way; it is told whether it was tried before.

    Raises what the last attempt raised.
    """
    for number in range(ATTEMPTS - 1):
        try:
            return attempt(number > 0)
        except (MinioException, HTTPError, Transient) as error:
            if not is_transient(error):
                raise
        time.sleep(random.uniform(0, PAUSE_SECONDS * 2**number))
    return attempt(True)


def is_transient(error: Exception) -> bool:
    """Tells whether trying again may help."""
    if isinstance(error, S3Error):
        return error.code in _TRANSIENT_CODES or error.response.status in _TRANSIENT_STATUSES
    if isinstance(error, ServerError):
        return error.status_code in _TRANSIENT_STATUSES
    if isinstance(error, InvalidResponseError):
        return _status(error) in _TRANSIENT_STATUSES
    return isinstance(error, HTTPError | Transient)


def status_of(error: Exception) -> int:
    """Returns the HTTP status that an error of the SDK stands for, or 0."""
    if isinstance(error, S3Error):
        return int(error.response.status)
    if isinstance(error, ServerError):
        return int(error.status_code)
    return _status(error) if isinstance(error, InvalidResponseError) else 0


def _status(error: InvalidResponseError) -> int:
    # The SDK has no public name for the status of an answer without XML.
    return int(error._code)


@contextlib.contextmanager
def explained(where: str, key: str) -> Iterator[None]:
    """Turns what the SDK and the network raise into NotFound, StorageFull or StorageUnavailable."""
    try:
        yield
    except (MinioException, HTTPError, Transient) as error:
        told = _told(error, where, key)
        metrics.storage_failed("objects", told)
        raise told from error


def _told(error: Exception, where: str, key: str) -> LongVideoError:
    # Some servers send their errors as another type of document than the SDK reads.
    if status_of(error) == 404 and "NoSuchBucket" not in str(error):
        return NotFound(f"there is nothing stored under {key}", key=key)
    if (isinstance(error, S3Error) and error.code in _FULL) or status_of(error) == 507:
        return StorageFull(f"no space left in {where} to write {key}; free some, or use another bucket", key=key)
    if isinstance(error, S3Error):
        code = error.code or ""
        return StorageUnavailable(
            f"cannot use {where}: {code} {error.message or ''}; {_ADVICE.get(code, 'check the object store')}", key=key
        )
    reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    return StorageUnavailable(f"cannot reach {where}: {reason}; check the endpoint and the network", key=key)
