"""How a file is cut into parts, and what the settings allow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo import settings
from longvideo.errors import BadSettings, InvalidArgument
from longvideo.settings import Settings
from orchestrator.api import uploads


@given(st.integers(1, uploads.MAX_PARTS * (5 << 30)), st.integers(5 << 20, 5 << 30))
def test_parts(size: int, least: int) -> None:
    """A file of any size has at most a thousand parts, none shorter than the settings say, none too long for S3."""
    length = uploads.part_bytes(size, Settings(upload_part_bytes=least))
    assert math.ceil(size / length) <= uploads.MAX_PARTS
    assert least <= length <= 5 << 30
    uploads.check_size(size)


@pytest.mark.parametrize("size", [0, -1, uploads.MAX_PARTS * (5 << 30) + 1])
def test_sizes_that_cannot_be(size: int) -> None:
    """A file without bytes, and one that S3 cannot hold, is refused with its size."""
    with pytest.raises(InvalidArgument, match=f"size_bytes is {size:,}"):
        uploads.check_size(size)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"upload_expiry": 3600, "upload_url_seconds": 7200}, "upload_expiry is 3600"),
        ({"import_buckets": ("films",)}, "import_buckets is set, but not object_store"),
        (
            {"import_buckets": ("films",), "object_store": "s3://films/x?endpoint=http://h"},
            "the bucket of object_store",
        ),
        ({"import_buckets": ("../films",), "object_store": "s3://kept?endpoint=http://h"}, "import_buckets"),
        ({"upload_part_bytes": 1}, "upload_part_bytes"),
    ],
)
def test_settings_that_contradict(given: dict[str, object], message: str) -> None:
    """Settings of uploads that make no sense stop the process with their name."""
    with pytest.raises(BadSettings, match=message):
        settings.load(**given)
