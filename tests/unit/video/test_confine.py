"""The filter of system calls, as the kernel would run it, on every processor that it knows."""

from __future__ import annotations

import errno
import struct

import pytest

from longvideo.video.confine import _MACHINES, _Machine, program

ALLOWED = 0x7FFF0000
REFUSED, UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
THREAD, VIRTUAL_FORK = 0x3D0F00, 0x4111
READ_WRITE, EXECUTE = 3, 5


def verdict(machine: _Machine, number: int, *arguments: int, audit: int | None = None) -> int:
    """Returns what the filter says about a system call."""
    words = [*arguments, *(6 * [0])][:6]
    data = struct.pack("<iIQ6Q", number, machine.audit if audit is None else audit, 0, *words)
    lines, at, held = list(program(machine)), 0, 0
    while True:
        operation, if_true, if_false, value = lines[at]
        at += 1
        if operation == 0x06:
            return value
        if operation == 0x20:
            (held,) = struct.unpack_from("<I", data, value)
        else:
            assert operation in {0x15, 0x45}
            true = held == value if operation == 0x15 else bool(held & value)
            at += if_true if true else if_false


@pytest.fixture(params=sorted(_MACHINES))
def machine(request: pytest.FixtureRequest) -> _Machine:
    """Each processor."""
    return _MACHINES[request.param]


def test_what_is_listed_is_allowed_and_nothing_else(machine: _Machine) -> None:
    """Of all numbers, those on the list pass; for another architecture none does."""
    special = {machine.clone, *machine.mapping, 435}
    for number in range(1000):
        if number not in special:
            allowed = number in machine.allowed.values()
            assert verdict(machine, number) == (ALLOWED if allowed else REFUSED), number
        assert verdict(machine, number, audit=0x40000003) == REFUSED
        assert verdict(machine, number | 0x40000000) == REFUSED
    assert len(list(program(machine))) < 200


def test_threads_are_made_and_processes_are_not(machine: _Machine) -> None:
    """A new task is allowed when it shares everything; the call whose flags cannot be seen is said not to exist."""
    assert verdict(machine, machine.clone, THREAD) == ALLOWED
    assert verdict(machine, machine.clone, VIRTUAL_FORK) == REFUSED
    assert verdict(machine, machine.clone, 17) == REFUSED
    assert verdict(machine, 435) == UNKNOWN


def test_memory_is_given_and_code_is_not(machine: _Machine) -> None:
    """Memory may be mapped and its protection changed, but never so that it can be executed."""
    for number in machine.mapping:
        assert verdict(machine, number, 0, 4096, READ_WRITE) == ALLOWED
        assert verdict(machine, number, 0, 4096, EXECUTE) == REFUSED
