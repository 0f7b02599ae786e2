"""What we promise, and how much of it may be broken: service level objectives, as ratios over any window.

For each, the rules record the share that went wrong over several windows, and two alerts tell when it is so large
that the month's allowance will be used up too soon: `Fast` within days, at which somebody should look now, and `Slow`,
which can wait for a working day. Each looks at a long window, for what matters, and a short one, for whether it still
goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

FAST: Final = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
SLOW: Final = (("1d", "2h", 3.0), ("3d", "6h", 1.0))
"""The long and the short window, and how many times as fast as allowed the allowance is being used."""


@dataclass(frozen=True)
class Slo:
    """An objective. In its queries, `$w` stands for the window.

    `bad` is how many went wrong in it, of `all`; `labels` is what both are told apart by. So few as `few` that went
    wrong in the long window are no reason for an alert.
    """

    name: str
    alert: str
    objective: float
    bad: str
    all: str
    labels: tuple[str, ...]
    what: str
    few: int = 5

    @property
    def allowed(self) -> float:
        """The share that may go wrong."""
        return round(1 - self.objective, 6)

    def record(self, window: str) -> str:
        """Returns the name of the recorded share that went wrong in a window."""
        return f"longvideo:{self.name}:ratio_rate{window}"

    def ratio(self, window: str) -> str:
        """Returns the query of the share that went wrong in a window; nothing where there was nothing."""
        by = f"sum by ({', '.join(self.labels)})"
        bad, total = (query.replace("$w", window) for query in (self.bad, self.all))
        return f"{by} ({bad}) / ({by} ({total}) > 0)"

    def count(self, window: str) -> str:
        """Returns the query of how many went wrong in a window."""
        return f"sum by ({', '.join(self.labels)}) ({self.bad.replace('$w', window).replace('rate(', 'increase(')})"


FAILED_ENDINGS: Final = "error|time_exhausted|invalid_output"
UNCOUNTED_ENDINGS: Final = "cancelled|budget_exhausted"

EPISODES = Slo(
    "episode_errors",
    "LongvideoEpisodeErrors",
    0.99,
    f'rate(longvideo_episodes_total{{ending=~"{FAILED_ENDINGS}"}}[$w])',
    f'rate(longvideo_episodes_total{{ending!~"{UNCOUNTED_ENDINGS}"}}[$w])',
    ("namespace",),
    "episodes failed, took too long, or got nothing usable from the reasoner",
)
WAITING = Slo(
    "interactive_waits",
    "LongvideoInteractiveWaits",
    0.95,
    'rate(longvideo_episode_wait_seconds_count{priority="interactive"}[$w])'
    ' - ignoring (le) rate(longvideo_episode_wait_seconds_bucket{priority="interactive",le="30.0"}[$w])',
    'rate(longvideo_episode_wait_seconds_count{priority="interactive"}[$w])',
    ("namespace",),
    "interactive episodes waited for more than 30 s before a worker took them up",
)
MODEL_CALLS = Slo(
    "model_call_errors",
    "LongvideoModelCallErrors",
    0.99,
    'rate(longvideo_model_calls_total{outcome=~"error|timeout"}[$w])',
    'rate(longvideo_model_calls_total{outcome!="cancelled"}[$w])',
    ("namespace", "role", "pool"),
    "requests to the models failed or timed out",
)
SLOS: Final = (EPISODES, WAITING, MODEL_CALLS)
