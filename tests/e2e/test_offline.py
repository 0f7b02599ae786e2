"""The command with the models that come with it: a video nobody has seen, and no server anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from tests.e2e.conftest import Run
from tests.media import Pixels, make_video


def sign(number: int, width: int, height: int) -> Pixels:
    """Paints a sign that changes every six seconds, at two frames a second."""
    words = ("Flower market", "Gate number 47", "Evening concert", "Closing words")[number // 12]
    picture = np.full((height, width, 3), 245, np.uint8)
    cv2.putText(picture, words, (60, height // 2), cv2.FONT_HERSHEY_DUPLEX, 1.6, (20, 20, 60), 3, cv2.LINE_AA)
    return picture


def test_text_on_screen_answers_a_question(run: Run, tmp_path: Path) -> None:
    """A number that stands on the screen for six seconds is found by reading the frames, and costs are told."""
    video = make_video(tmp_path / "signs.mp4", seconds=24, fps=2, width=640, height=360, gop=12, paint=sign)
    ran = run("ask", video, "What is the gate number?", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert "47" in document["answer"]
    assert {row["model"] for row in document["usage"]} >= {"offline-reasoner", "offline-captioner"}
    nothing = run("ask", video, "What is the phone number of the dentist?", "--quiet")
    assert (nothing.code, nothing.out) == (0, "It cannot be determined from the video.\n")
