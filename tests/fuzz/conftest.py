"""How long is fuzzed, and with which examples."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

# What one test may add to the memory of this process; the largest inputs are some megabytes.
_MEMORY_BYTES = 512 << 20
_BRIEF_EXAMPLES, _ROUND_EXAMPLES = 150, 500
_PHASES = (Phase.explicit, Phase.generate, Phase.target, Phase.shrink)

_Value = TypeVar("_Value")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what `make fuzz` gives."""
    parser.addoption("--fuzz-seconds", type=float, default=0.0, help="fuzz each target for so long, with fresh seeds")
    parser.addoption("--fuzz-seed", type=int, default=None, help="begin with this seed")


@dataclass(frozen=True)
class Fuzz:
    """Calls a check with values of a strategy; brief and always the same ones when `seconds` is 0."""

    seconds: float
    first_seed: int

    def __call__(
        self, strategy: SearchStrategy[_Value], check: Callable[[_Value], object], *, examples: int = _BRIEF_EXAMPLES
    ) -> None:
        """Raises what `check` raises, with the smallest value that makes it do so."""
        if not self.seconds:
            self._round(strategy, check, examples, None)
            return
        end, number = time.monotonic() + self.seconds, self.first_seed
        while time.monotonic() < end:
            print(f"--fuzz-seed {number}")  # pytest shows it when the test fails
            self._round(strategy, check, _ROUND_EXAMPLES, number)
            number += 1

    @staticmethod
    def _round(
        strategy: SearchStrategy[_Value], check: Callable[[_Value], object], examples: int, number: int | None
    ) -> None:
        def run(value: _Value) -> None:
            check(value)

        configured = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=number is None,
            phases=_PHASES,
            suppress_health_check=list(HealthCheck),
        )
        test = configured(given(strategy)(run))
        (test if number is None else seed(number)(test))()


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """What calls a check with random values."""
    chosen = request.config.getoption("--fuzz-seed")
    return Fuzz(request.config.getoption("--fuzz-seconds"), int(time.time()) if chosen is None else chosen)


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """Fails a test that makes this process grow without measure."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < _MEMORY_BYTES, f"memory grew by {grown >> 20} MiB"
