"""Pods that take time to start and then have so many places each; what has none waits in line."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial


class Clock:
    """What happens when: everything in the order of its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Does something so many seconds from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), do))

    def run(self, done: Callable[[], bool]) -> None:
        """Lets time go by until `done` says so."""
        while not done():
            self.now, _, do = heapq.heappop(self._events)
            do()


@dataclass
class Pod:
    """One pod. It costs from the moment it is wanted until the last of its places is free again."""

    wanted_time: float
    ready: bool = False
    leaving: bool = False
    taken: int = 0


class Pods:
    """All pods of one kind: `places` in each, ready `start_seconds` after they are wanted."""

    def __init__(self, clock: Clock, places: int, start_seconds: float, replicas: int) -> None:
        """Begins with so many replicas, which are ready."""
        self._clock, self._places, self._start_seconds = clock, places, start_seconds
        self._pods = [Pod(0.0, ready=True) for _ in range(replicas)]
        self._lines: tuple[deque[Callable[[Pod], None]], ...] = (deque(), deque())
        self._seconds = 0.0
        self.starts = 0
        self.most = replicas

    @property
    def replicas(self) -> int:
        """Returns how many pods are wanted."""
        return sum(not pod.leaving for pod in self._pods)

    @property
    def ready(self) -> int:
        """Returns how many of them are ready."""
        return sum(pod.ready and not pod.leaving for pod in self._pods)

    @property
    def taken(self) -> int:
        """Returns how many places are taken."""
        return sum(pod.taken for pod in self._pods)

    @property
    def waiting(self) -> int:
        """Returns how many wait for a place."""
        return sum(map(len, self._lines))

    def seconds(self) -> float:
        """Returns how long there were pods, all of them together."""
        return self._seconds + sum(self._clock.now - pod.wanted_time for pod in self._pods)

    def scale(self, replicas: int) -> None:
        """Wants so many pods from now on. Those that are not ready yet go first, and then the youngest."""
        for _ in range(self.replicas, replicas):
            pod = Pod(self._clock.now)
            self._pods.append(pod)
            self.starts += 1
            self._clock.after(self._start_seconds, partial(self._started, pod))
        staying = sorted(
            (pod for pod in self._pods if not pod.leaving), key=lambda pod: (not pod.ready, pod.wanted_time)
        )
        for pod in staying[replicas:]:
            pod.leaving = True
            self._leave(pod)
        self.most = max(self.most, replicas)

    def take(self, start: Callable[[Pod], None], *, last: bool) -> None:
        """Calls `start` with a pod of which a place is taken, now or when there is one; `last` after all others."""
        self._lines[last].append(start)
        self._serve()

    def free(self, pod: Pod) -> None:
        """Gives a place back."""
        pod.taken -= 1
        self._leave(pod)
        self._serve()

    def _serve(self) -> None:
        while line := self._lines[0] or self._lines[1]:
            able = [pod for pod in self._pods if pod.ready and not pod.leaving and pod.taken < self._places]
            if not able:
                return
            pod = min(able, key=lambda pod: pod.taken)
            pod.taken += 1
            line.popleft()(pod)

    def _started(self, pod: Pod) -> None:
        pod.ready = True
        self._serve()

    def _leave(self, pod: Pod) -> None:
        if pod.leaving and not pod.taken and pod in self._pods:
            self._pods.remove(pod)
            self._seconds += self._clock.now - pod.wanted_time
