"""Writes the rules and dashboards into the chart: `python -m monitoring [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from monitoring import cost, episodes, models, overview, rules, services

FILES: Final = Path(__file__).resolve().parents[1] / "charts" / "longvideo" / "files"


def made() -> dict[str, str]:
    """Returns what each file of the chart's `files` holds."""
    boards = {
        board.__name__.rpartition(".")[2]: board.dashboard() for board in (overview, models, cost, episodes, services)
    }
    return {"rules.yaml": rules.text(), **{f"dashboards/{name}.json": text for name, text in boards.items()}}


def main(argv: list[str]) -> int:
    """Writes the files, or with --check says which are old."""
    wanted = {FILES / name: text for name, text in made().items()}
    old = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    left = sorted(set((FILES / "dashboards").glob("*")) - set(wanted))
    if "--check" in argv:
        for path in old + left:
            print(f"charts/longvideo/files/{path.relative_to(FILES)} is old: make dashboards", file=sys.stderr)
        return 1 if old or left else 0
    (FILES / "dashboards").mkdir(exist_ok=True)
    for path in left:
        path.unlink()
    for path in old:
        path.write_text(wanted[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
