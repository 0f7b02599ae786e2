"""How much of a machine reading videos may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Seventeen pictures of 8K television, which is what a decoder may hold, take half of this.
MEMORY_BYTES: Final = 2 << 30
LEAST_MEMORY_BYTES: Final = 512 << 20
SECONDS: Final = 600.0


@dataclass(frozen=True)
class MediaLimits:
    """What reading videos may take.

    Attributes:
        memory_bytes: The memory of one process, which builds one index or reads frames once.
        seconds: Its time by the clock, not counting that in which bytes are fetched from storage.
        processes: How many there are at once; 0 means as many as there are processors, from 2 to 8.
    """

    memory_bytes: int = MEMORY_BYTES
    seconds: float = SECONDS
    processes: int = 0
