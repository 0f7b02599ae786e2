"""What the doctor found, one line for each thing that it looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from client import words
from client.screen import Screen
from longvideo.errors import LongVideoError

State = Literal["ok", "failed", "skipped"]

_STYLES: dict[State, str] = {"ok": "green", "failed": "bold red", "skipped": "dim"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and what mends it where that is not as it must be."""

    check: str
    state: State
    said: str
    fix: str = ""


Check = Callable[[], Iterator[Finding]]


def examine(checks: Mapping[str, Check], only: Sequence[str]) -> Iterator[Finding]:
    """Yields what the checks find. One that cannot be made has failed: nobody knows what it would have found."""
    for name, check in checks.items():
        if only and name not in only:
            continue
        try:
            yield from check()
        except LongVideoError as error:
            yield Finding(name, "failed", error.message, _fix(error))


def _fix(error: LongVideoError) -> str:
    if error.reason == "PERMISSION_DENIED":
        return (
            "give whoever runs this that right; docs/cluster.md has a role with all that the doctor asks for "
            "(kubectl auth can-i --list shows what there is)"
        )
    return ""


def show(screen: Screen, finding: Finding) -> None:
    """Writes a finding for a person."""
    screen.line(finding.state, f"{finding.check}: {words.one_line(finding.said)}", _STYLES[finding.state])
    if finding.fix:
        screen.line("", f"→ {words.one_line(finding.fix)}")


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Returns the findings for programs."""
    return {"failed": failed(findings), "findings": [asdict(finding) for finding in findings]}


def failed(findings: Sequence[Finding]) -> int:
    """Returns how many things are not as they must be."""
    return sum(finding.state == "failed" for finding in findings)
