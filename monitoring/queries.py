"""How queries are written here: with one scope in place of the same matchers again and again.

A selector is always written with braces. `{}` means everything of one release, `{pools}` what belongs to the chosen
pools of it, `{models}` to the chosen models in those pools; more matchers may follow: `{models,outcome="error"}`.
"""

from __future__ import annotations

import re
from typing import Final

RELEASE: Final = "longvideo"
"""The namespace that the rules are written for. The chart puts its release's own in its place."""

MOMENT: Final = "$__rate_interval"
CHOSEN: Final = "$__range"
"""The windows of Grafana: one that is long enough for a rate, and the whole time that is shown."""

_SELECTOR = re.compile(r"\{(pools|models)?,?([^{}]*)\}")
_CHOSEN = {"pools": 'pool=~"$pool"', "models": 'pool=~"$pool",model=~"$model"'}


def for_dashboard(query: str) -> str:
    """Returns a query for the namespace, pools and models that are chosen above a dashboard."""
    return _scoped(query, "$namespace")


def for_rule(query: str) -> str:
    """Returns a query for the namespace of a release."""
    return _scoped(query, RELEASE)


def quantile(share: float, histogram: str, scope: str = "", *, by: str = "", over: str = MOMENT) -> str:
    """Returns the query of what no more than a `share` of what a histogram counted was above."""
    labels = f"le, {by}" if by else "le"
    function = "rate" if over == MOMENT else "increase"
    return f"histogram_quantile({share}, sum by ({labels}) ({function}({histogram}_bucket{{{scope}}}[{over}])))"


def mean(histogram: str, scope: str = "", *, by: str = "", over: str = MOMENT) -> str:
    """Returns the query of the mean of what a histogram counted."""
    return _quotient(f"{histogram}_sum{{{scope}}}", f"{histogram}_count{{{scope}}}", by, over)


def part(counter: str, some: str, every: str = "", *, by: str = "", over: str = MOMENT) -> str:
    """Returns the query of the share that `some` are of `every`, both the matchers of one counter."""
    return _quotient(f"{counter}{{{some}}}", f"{counter}{{{every}}}", by, over)


def _quotient(above: str, below: str, by: str, over: str) -> str:
    total = f"sum by ({by})" if by else "sum"
    function = "rate" if over == MOMENT else "increase"
    return f"{total} ({function}({above}[{over}])) / {total} ({function}({below}[{over}]))"


def _scoped(query: str, namespace: str) -> str:
    def scope(found: re.Match[str]) -> str:
        matchers = (f'namespace="{namespace}"', _CHOSEN.get(found[1], ""), found[2])
        return "{" + ",".join(filter(None, matchers)) + "}"

    return _SELECTOR.sub(scope, query)
