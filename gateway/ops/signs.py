"""Signs of life: each process says some times a second in ``run/<name>.alive`` how far its work has come.

Three numbers in one line: the steady time in ns up to which the process is known to turn (its event loop, and whatever
else it named), the worst lag of its event loop in the last seconds, in µs, and how many tasks it has. The supervisor
kills a process whose sign is too old; `doctor` and /metrics read the same files.

Belongs here: that file. Does not belong here: what to do about an old one (`gateway.processes.supervisor`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock

#: How often the loop is asked to turn, and over how many of its answers the worst lag is told: 10 s.
_BEAT_S, _BEATS = 0.25, 40
#: A hundred viewers are four hundred tasks, and counting them walks through all.
_BEATS_A_COUNT = 8

Progress = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Sign:
    alive_ns: int  #: steady clock
    lag_us: int
    tasks: int


def read_sign(run_dir: Path, name: str) -> Sign | None:
    """None: the process has not said anything yet."""
    try:
        alive, lag, tasks = (run_dir / f"{name}.alive").read_text().split()
        return Sign(int(alive), int(lag), int(tasks))
    except (OSError, ValueError):
        return None


def signing(run_dir: Path) -> list[str]:
    """Names of the processes that give signs."""
    return sorted(path.stem for path in run_dir.glob("*.alive"))


@dataclass(frozen=True, slots=True)
class Use:
    """What a process holds of the machine."""

    open_fds: int
    threads: int
    resident_bytes: int


def use_of(pid: int) -> Use | None:
    """None: there is no such process, or it is not ours to look at."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return Use(descriptors, int(fields["Threads"]), int(fields["VmRSS"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        return None


def pid_of(run_dir: Path, name: str) -> int | None:
    """Of a process that is ready."""
    try:
        return int((run_dir / f"{name}.ready").read_text())
    except (OSError, ValueError):
        return None


async def give_signs(path: Path, clock: Clock, progress: list[Progress]) -> None:
    """For as long as the loop turns. `progress`: steady times at which something else was last seen to turn."""
    lags: deque[int] = deque(maxlen=_BEATS)
    tasks = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        for beat in itertools.count():
            asked_ns = clock.monotonic_ns()
            await asyncio.sleep(_BEAT_S)
            now_ns = clock.monotonic_ns()
            lags.append(max(0, now_ns - asked_ns - round(_BEAT_S * 1e9)) // 1000)
            alive_ns = min([now_ns, *(last() for last in progress)])
            if beat % _BEATS_A_COUNT == 0:
                tasks = len(asyncio.all_tasks())
            os.pwrite(descriptor, f"{alive_ns:020d} {max(lags):012d} {tasks:06d}\n".encode(), 0)
    finally:
        os.close(descriptor)
