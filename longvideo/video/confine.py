"""Takes from a process what reading a video does not need. There is no way back.

On Linux with seccomp what remains is: memory up to a limit, processor time up to a limit, threads, and the sockets and
files that are open already. Elsewhere the limits alone hold.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION: Final = 0x20080522
# Processor time that is left, after the signal that says it is used up, to a process that ignores it.
_GRACE_SECONDS: Final = 5

# Classic BPF, as <linux/filter.h> has it: load a word, jump if equal, jump if any bit is set, return.
_LOAD, _IF_EQUAL, _IF_ANY, _RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in struct seccomp_data of the number, the architecture, and the low half of an argument.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CLONE_THREAD, _PROT_EXEC = 0x00010000, 0x4


@dataclass(frozen=True)
class _Machine:
    """A processor architecture: its AUDIT_ARCH, and the numbers of the system calls that may be made."""

    audit: int
    clone: int
    mapping: tuple[int, int]
    allowed: Mapping[str, int]


# `clone3` has the same number everywhere. Its flags lie in memory, where a filter cannot see them, so it is said not to
# exist, and the C library uses `clone`.
_CLONE3: Final = 435
_MACHINES: Final[Mapping[str, _Machine]] = {
    "x86_64": _Machine(
        audit=0xC000003E,
        clone=56,
        mapping=(9, 10),
        allowed={
            "read": 0,
            "write": 1,
            "close": 3,
            "poll": 7,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "nanosleep": 35,
            "getpid": 39,
            "sendto": 44,
            "recvfrom": 45,
            "exit": 60,
            "gettimeofday": 96,
            "getrusage": 98,
            "sysinfo": 99,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "sched_getaffinity": 204,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_getres": 229,
            "clock_nanosleep": 230,
            "exit_group": 231,
            "ppoll": 271,
            "set_robust_list": 273,
            "getrandom": 318,
            "membarrier": 324,
            "rseq": 334,
        },
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        clone=220,
        mapping=(222, 226),
        allowed={
            "close": 57,
            "read": 63,
            "write": 64,
            "ppoll": 73,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "set_robust_list": 99,
            "nanosleep": 101,
            "clock_gettime": 113,
            "clock_getres": 114,
            "clock_nanosleep": 115,
            "sched_getaffinity": 123,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "getrusage": 165,
            "gettimeofday": 169,
            "getpid": 172,
            "gettid": 178,
            "sysinfo": 179,
            "sendto": 206,
            "recvfrom": 207,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "madvise": 233,
            "getrandom": 278,
            "membarrier": 283,
            "rseq": 293,
        },
    ),
}


def can_filter() -> bool:
    """Tells whether this kernel, on this processor, filters system calls."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # prctl(2): a filter of NULL is a bad address where there are filters, and a bad argument where there are none.
    libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), None, None, None)
    return ctypes.get_errno() == errno.EFAULT


def die_with_parent() -> None:
    """Lets the kernel end this process when the one that made it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def confine(memory_bytes: int, cpu_seconds: int) -> None:
    """Confines this process for the rest of its life. What it needs must be imported, and its sockets open.

    Raises OSError when something that this system has cannot be taken away.
    """
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + _GRACE_SECONDS),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (0, 0),
    }
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = (memory_bytes, memory_bytes)
    filtered = can_filter()
    for which, limit in limits.items():
        resource.setrlimit(which, limit)
    if sys.platform == "linux":
        _give_up_privileges()
    if filtered:
        _filter(_MACHINES[platform.machine()])


def _give_up_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, one, none, none, none):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS failed")
    # Root is nobody special without its capabilities, and cannot raise a limit again.
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    if libc.capset(header, ctypes.create_string_buffer(24)):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")


def _filter(machine: _Machine) -> None:
    code = b"".join(struct.pack("=HBBI", *line) for line in program(machine))
    kept = ctypes.create_string_buffer(code, len(code))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(kept)))
    libc = ctypes.CDLL(None, use_errno=True)
    mode, none = ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_SECCOMP, mode, described, none, none):
        raise OSError(ctypes.get_errno(), "the system calls cannot be filtered")


def program(machine: _Machine) -> Iterator[tuple[int, int, int, int]]:
    """Yields the instructions of the filter: (operation, how many to skip if true, and if false, a number)."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _IF_EQUAL, 1, 0, machine.audit
    yield refuse
    yield _LOAD, 0, 0, _NUMBER
    for number in machine.allowed.values():
        yield _IF_EQUAL, 0, 1, number
        yield allow
    yield _IF_EQUAL, 0, 1, _CLONE3
    yield _RETURN, 0, 0, _ERRNO | errno.ENOSYS
    # Threads, and no processes.
    yield _IF_EQUAL, 0, 4, machine.clone
    yield _LOAD, 0, 0, _ARGUMENTS
    yield _IF_ANY, 0, 1, _CLONE_THREAD
    yield allow
    yield refuse
    # Memory, and no code that was not loaded before.
    yield _IF_EQUAL, 1, 0, machine.mapping[0]
    yield _IF_EQUAL, 0, 3, machine.mapping[1]
    yield _LOAD, 0, 0, _ARGUMENTS + 2 * 8
    yield _IF_ANY, 1, 0, _PROT_EXEC
    yield allow
    yield refuse
