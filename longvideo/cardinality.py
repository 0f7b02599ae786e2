"""Keeping the number of a label's values small, whatever others call their things."""

from __future__ import annotations


class FirstNames:
    """Tells the first names apart, and calls all others `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, name: str) -> str:
        """Returns the name, or `other`."""
        if name not in self._seen:
            if len(self._seen) >= self._limit:
                return "other"
            self._seen.add(name)
        return name
