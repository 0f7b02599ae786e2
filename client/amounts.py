"""Amounts as a person types them: `30d`, `12h`, `500GB`, `none`."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import Final

from longvideo.errors import InvalidArgument

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES: Final = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_AMOUNT: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([A-Za-z]*)")

NONE: Final = "none"
"""What stands for no limit."""


def seconds(text: str, option: str) -> float:
    """Returns how long `30d`, `12h`, `90m` or `45s` is, in seconds. Raises InvalidArgument, naming the option."""
    return _amount(text, _SECONDS, f"{option} is {text!r}; give a number with its unit, such as 30d, 12h, 90m or 45s")


def moment(text: str, option: str, now: float) -> float:
    """Returns the moment that `2026-03-01`, `2026-03-01T14:05Z` or `7d` (ago) names, in seconds since the epoch.

    It is in this machine's time zone unless it says another. Raises InvalidArgument, naming the option.
    """
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(text.strip()).timestamp()
    message = (
        f"{option} is {text!r}; give a day such as 2026-03-01, a time such as 2026-03-01T14:05, or how long ago: 7d"
    )
    return now - _amount(text, _SECONDS, message)


def size(text: str, option: str) -> int:
    """Returns how many bytes `500GB` or `1.5TB` are. Raises InvalidArgument, naming the option."""
    return round(_amount(text, _BYTES, f"{option} is {text!r}; give a number of bytes, such as 500GB or 1.5TB"))


def count(text: str, option: str) -> int:
    """Returns a whole number. Raises InvalidArgument, naming the option."""
    return round(_amount(text, {"": 1}, f"{option} is {text!r}; give a whole number, or {NONE}"))


def _amount(text: str, units: dict[str, int], message: str) -> float:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise InvalidArgument(message)
    return float(match[1]) * units[match[2]]
