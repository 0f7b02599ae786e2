"""What the tests of the offline models share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from offline_models.reading import Reader


@pytest.fixture(scope="session")
def reader() -> Iterator[Reader]:
    """One reader for all tests: loading its models takes longer than reading."""
    shared = Reader()
    yield shared
    shared.close()
