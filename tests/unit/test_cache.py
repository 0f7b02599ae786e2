"""The cache that counts bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from longvideo.cache import ByteCache


def test_what_was_used_last_stays() -> None:
    """When there is no more room, the value that nobody asked for the longest goes first."""
    cache = ByteCache(30)
    for name in "abc":
        cache.put(name, name.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    assert [cache.get(name) for name in "abcd"] == ["A", None, "C", "D"]


def test_a_value_too_large_is_not_kept() -> None:
    """A value larger than the cache goes nowhere, takes the old one's place, and leaves the others alone."""
    cache = ByteCache(30)
    cache.put("a", 1, 10)
    cache.put("b", 1, 10)
    cache.put("b", 2, 31)
    assert (cache.get("a"), cache.get("b"), cache.used) == (1, None, 10)


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=60))
def test_never_more_than_its_capacity(capacity: int, puts: list[tuple[int, int]]) -> None:
    """Whatever is put in whichever order, the values kept fit, and each is the one that was put last."""
    cache = ByteCache(capacity)
    last: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, size, size)
        last[key] = size
        assert cache.used <= capacity
    kept = {key: cache.get(key) for key in last if cache.get(key) is not None}
    assert sum(kept.values()) == cache.used
    assert all(last[key] == size for key, size in kept.items())
