"""What goes wrong, one thing after the other, in an order that a seed decides."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos.models import MOODS, ROLES, Brain
from tests.chaos.stack import Stack

# "507" is how an S3 server says that its disks are full.
S3_MOODS = ("503", "507", "drop", "cut", "forget")


class Faults:
    """Injects faults from a thread of its own until it is stopped, and then puts everything right again."""

    def __init__(self, stack: Stack, brain: Brain, seed: int, *, pause: float, kinds: list[str] | None = None) -> None:
        """Makes faults about every `pause` seconds, of all kinds or of some."""
        self.injected: Counter[str] = Counter()
        self.downtimes: list[tuple[float, float]] = []
        """When the database was away, in seconds since the epoch."""
        self._stack, self._brain, self._pause = stack, brain, pause
        self._random = random.Random(f"faults {seed}")
        self._kinds = self._all_kinds()
        if kinds is not None:
            self._kinds = {name: self._kinds[name] for name in kinds}
        # What kills workers comes more often: they are what must not matter.
        self._weighted = sorted(self._kinds) + ["SIGKILL worker"] * (2 if "SIGKILL worker" in self._kinds else 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)

    def _all_kinds(self) -> dict[str, Callable[[], None]]:
        kinds: dict[str, Callable[[], None]] = {
            "SIGKILL worker": lambda: self._kill("worker"),
            "SIGKILL api": lambda: self._kill("api"),
            "SIGKILL caption_svc": lambda: self._kill("caption"),
            "SIGKILL qa_svc": lambda: self._kill("qa"),
            "SIGKILL beat": lambda: self._kill("beat"),
            "PostgreSQL restarted": lambda: self._postgres(self._stack.postgres.stop),
            "PostgreSQL crashed": lambda: self._postgres(self._stack.postgres.kill),
            "Redis restarted": self._redis,
            "Redis flushed": self._flush,
        }
        for s3_mood in S3_MOODS:
            kinds[f"S3 {s3_mood}"] = lambda mood=s3_mood: self._s3(mood)  # type: ignore[misc]
        for mood in MOODS:
            kinds[f"models {mood}"] = lambda mood=mood: self._models(mood)  # type: ignore[misc]
        if self._stack.disk is not None:
            kinds["disk full"] = self._fill_disk
        return kinds

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, with everything as it was."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        order: list[str] = []
        while not self._stopping.wait(self._pause * (0.5 + self._random.random())):
            # Every kind comes before the next round of all begins.
            order = order or self._random.sample(self._weighted, len(self._weighted))
            kind = order.pop()
            with (self._stack.directory / "faults.log").open("a") as log:
                print(f"{time.time():.1f} {kind}", file=log)
            self._kinds[kind]()
            self.injected[kind] += 1

    def _kill(self, name: str) -> None:
        self._random.choice(self._stack.named(name)).kill()

    def _postgres(self, end: Callable[[], None]) -> None:
        since = time.time()
        end()
        self._stopping.wait(self._random.uniform(0.2, 3.0))
        self._stack.postgres.start()
        self.downtimes.append((since, time.time()))

    def _redis(self) -> None:
        self._stack.redis.kill()
        self._stopping.wait(self._random.uniform(0.2, 3.0))
        self._stack.redis.start()

    def _flush(self) -> None:
        self._stack.redis.flush()

    def _s3(self, mood: str) -> None:
        choose = random.Random(self._random.random())

        def treat(method: str, _path: str) -> str:
            hurts = (mood != "507" or method in {"PUT", "POST"}) and choose.random() < 0.5
            return mood if hurts else "pass"

        self._stack.proxy.mood = treat
        self._stopping.wait(self._random.uniform(1.0, 4.0))
        self._stack.proxy.mood = lambda method, path: "pass"

    def _models(self, mood: str) -> None:
        seconds = self._random.uniform(1.0, 4.0)
        for role in self._random.sample(ROLES, self._random.randint(1, len(ROLES))):
            self._brain.upset(role, mood, seconds)
        self._stopping.wait(seconds)

    def _fill_disk(self) -> None:
        assert self._stack.disk is not None
        ballast, since = self._stack.disk / "ballast", time.time()
        left = os.statvfs(self._stack.disk)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            file.write(bytes(left.f_bavail * left.f_frsize))
            while file.write(bytes(4096)):
                continue
        self._stopping.wait(self._random.uniform(1.0, 4.0))
        ballast.unlink(missing_ok=True)
        self._stack.postgres.revive()
        self.downtimes.append((since, time.time()))
