"""Makes the sample video: `python -m client.sample DIRECTORY [--seed N]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import av

from client.sample import make_sample


def main() -> None:
    """Makes the sample, or finds it, and prints where it is, how long it is and what to ask."""
    parser = argparse.ArgumentParser(prog="python -m client.sample", description="Makes the sample video of the demo.")
    parser.add_argument("directory", type=Path, help="where the video, its subtitles and its questions go")
    parser.add_argument("--seed", type=int, help="draw the same programme every time (default: a secret one)")
    arguments = parser.parse_args()
    sample = make_sample(arguments.directory, arguments.seed)
    with av.open(str(sample.video)) as container:
        seconds = round((container.duration or 0) / av.time_base)
    print(f"{sample.video}  {seconds // 60}:{seconds % 60:02d} minutes  {sample.video.stat().st_size / 1e6:.1f} MB")
    print(sample.subtitles)
    for question in sample.questions:
        print(f"? {question.text}  {'  '.join(question.options)}".rstrip())


if __name__ == "__main__":
    main()
