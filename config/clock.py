"""The Clock port: the only door to time for every process (DESIGN §4).

Pure modules never use it: they take ``now`` as an argument. Shells hold one `Clock` and pass values on.
Wall time is UTC and may step; monotonic time never goes back and has no meaning beyond one boot of the machine.

A node on test hands out `ShiftedClock`s instead of the machine's: all its processes then see the wall clock step when
one file is written. Settings refuse that unless it is allowed by name.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import time
from functools import cache
from pathlib import Path
from typing import Protocol

from config.errors import Kind, TiergateError
from config.settings import Settings

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_TIMEX_BYTES = 208  # sizeof(struct timex) on 64-bit Linux
_STATUS_OFFSET = 40  # modes(4)+pad(4) offset(8) freq(8) maxerror(8) esterror(8) → status(4)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


class Clock(Protocol):
    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary point; steady."""
        ...

    def synchronised(self) -> bool | None:
        """Whether something disciplines the wall clock; None: nobody knows."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def synchronised(self) -> bool | None:
        """The kernel's word, by ``adjtimex(2)`` with ``modes = 0`` (reading needs no right): ``STA_UNSYNC`` clear means
        that something disciplines the clock. chrony and systemd-timesyncd both maintain the flag."""
        try:
            buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
            state = _libc().adjtimex(buffer)
        except (OSError, AttributeError):
            return None
        if state < 0:
            return None
        status = int.from_bytes(buffer.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
        return state != _TIME_ERROR and not status & _STA_UNSYNC


class ShiftedClock:
    """The machine's clocks with the wall moved by what a file says; for tests of a whole node.

    The file holds two little-endian 64-bit numbers: nanoseconds that are added to the wall clock, and what
    `synchronised` answers (1, 0). It is mapped, so every process sees a step at its next look, for no system call.
    """

    def __init__(self, path: Path) -> None:
        """Raises clock.test_file_missing."""
        self._machine = SystemClock()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                mapped = mmap.mmap(descriptor, _SHIFT.size, mmap.MAP_SHARED, mmap.PROT_READ)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as exc:
            raise TiergateError(Kind.ENVIRONMENT, "clock.test_file_missing", path=path) from exc
        self._numbers = memoryview(mapped).cast("q")

    def wall_ns(self) -> int:
        return self._machine.wall_ns() + self._numbers[0]

    def monotonic_ns(self) -> int:
        return self._machine.monotonic_ns()

    def synchronised(self) -> bool | None:
        return self._numbers[1] == 1


_SHIFT = struct.Struct("<qq")


def write_shift(path: Path, shift_ns: int, synchronised: bool) -> None:
    """Moves the wall of every `ShiftedClock` on `path`, those that are mapped already too."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, _SHIFT.pack(shift_ns, int(synchronised)), 0)
    finally:
        os.close(descriptor)


def make_clock(settings: Settings) -> Clock:
    """The clock of a process of this node. Raises clock.test_file_missing."""
    return SystemClock() if settings.clock.test_file is None else ShiftedClock(settings.clock.test_file)


class ManualClock:
    """A clock that moves when told, for tests: both hands move together unless `step_wall` is used."""

    def __init__(self, wall_ns: int = 1_790_000_000_000_000_000) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = 1_000_000_000
        self.disciplined: bool | None = True  #: what `synchronised` answers

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def synchronised(self) -> bool | None:
        return self.disciplined

    def advance(self, seconds: float) -> None:
        self._wall_ns += round(seconds * 1e9)
        self._monotonic_ns += round(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """The wall clock alone jumps, as under NTP or an administrator's hand."""
        self._wall_ns += round(seconds * 1e9)


def wall_ms(clock: Clock) -> int:
    """`clock`'s wall time in whole milliseconds, the unit of the catalog."""
    return clock.wall_ns() // 1_000_000


def steady_s() -> float:
    """Seconds on the machine's steady clock: how long something takes, not when it is."""
    return time.monotonic()


class Deadline:
    """So many seconds from now on, by the machine's steady clock."""

    def __init__(self, timeout_s: float) -> None:
        self._ends_ns = time.monotonic_ns() + round(timeout_s * 1e9)

    @property
    def left_s(self) -> float:
        """Never below 0."""
        return max(0.0, (self._ends_ns - time.monotonic_ns()) / 1e9)

    @property
    def passed(self) -> bool:
        return time.monotonic_ns() >= self._ends_ns
