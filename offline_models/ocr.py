"""The text engine: rapidocr with the detection and recognition models that its wheel carries.

The models are named by their files, because rapidocr would otherwise check for them in a list that can lead to a
download. Each of the two runs on one thread of its own; several calls at once keep several cores busy, which serves
more frames a second than one call on many threads.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rapidocr

from longvideo.errors import BadSettings

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

# More threads than this take the machine away from whatever else runs on it.
MAX_THREADS = 2


class TextEngine:
    """Finds lines of text in images and reads them. Safe to use from many threads; loads its models when first used.

    Raises BadSettings when the installed rapidocr carries no models.
    """

    def __init__(self) -> None:
        models = Path(rapidocr.__file__).parent / "models"
        self._detection = _model(models, "*_det_*.onnx")
        self._recognition = _model(models, "*_rec_*.onnx")
        self._lock = threading.Lock()
        self._detector: Any = None
        self._recogniser: Any = None

    def find(self, image: Image) -> tuple[Boxes, list[Image]]:
        """Returns the corners of each line of text (n × 4 points × x, y) in a BGR image, and each line cut out."""
        detector = self._loaded()[0]
        boxes = detector(image).boxes
        if boxes is None or not len(boxes):
            return np.empty((0, 4, 2), np.float32), []
        return np.asarray(boxes, np.float32), detector.crop_text_regions(image, np.asarray(boxes, np.float32))

    def recognise(self, lines: list[Image]) -> list[tuple[str, float]]:
        """Returns what stands in each cut-out line, and how sure that is from 0 to 1."""
        if not lines:
            return []
        found = self._loaded()[1].recognize_txt(lines)
        return [(str(text), float(score)) for text, score in zip(found.txts, found.scores, strict=True)]

    def _loaded(self) -> tuple[Any, Any]:
        with self._lock:
            if self._recogniser is None:
                self._detector = rapidocr.RapidOCR(params=self._params(use_rec=False))
                self._recogniser = rapidocr.RapidOCR(params=self._params(use_det=False))
            return self._detector, self._recogniser

    def _params(self, **flags: bool) -> dict[str, Any]:
        return {
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Global.max_side_len": 4096,
            "Det.model_path": str(self._detection),
            # Frames arrive at the size they are to be read at; `min` with a small limit leaves them so.
            "Det.limit_side_len": 32,
            "Rec.model_path": str(self._recognition),
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            **{f"Global.{name}": value for name, value in flags.items()},
        }


def threads() -> Executor:
    """Returns the threads on which text is read: as many as there are processors, two at most."""
    return ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="offline-ocr")


def _model(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise BadSettings(
            f"rapidocr has no {pattern} in {folder}; install rapidocr from its wheel, which carries the models",
            reason="OCR_MODELS_MISSING",
        )
    return found[-1]
