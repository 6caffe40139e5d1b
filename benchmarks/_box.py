"""What every benchmark shares: CPU time of process trees, calibration of the box, options, the JSON report."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def options(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds")
    parser.add_argument("--json", type=Path, help="write the report here")
    return parser


def cpu_ms(pid: int) -> float:
    """CPU time that the threads of one process have used, from the scheduler's own nanosecond counters.

    utime/stime of /proc/PID/stat count in ticks of 10 ms, too coarse for threads that wake for microseconds.
    """
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total_ns += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue  # the thread ended meanwhile
    return total_ns / 1e6


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(after_name[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), ()):
            found.append(child)
            todo.append(child)
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def written_bytes(pids: Iterable[int]) -> int:
    """What processes have made the block layer write so far."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                total += int(line.split()[1])
    return total


class Meter:
    """CPU of some processes between two moments."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.pids = list(pids)
        self._before_ms = {pid: cpu_ms(pid) for pid in self.pids}
        self._started = time.perf_counter()

    def read(self) -> tuple[float, float]:
        """(CPU milliseconds, wall seconds) since the meter was made."""
        used = sum(cpu_ms(pid) - before for pid, before in self._before_ms.items())
        return used, time.perf_counter() - self._started


def calibration() -> dict[str, float]:
    """Three fixed pieces of work: a slow or busy box shows here, not in the ratios."""

    def timed(work: Callable[[], object]) -> float:
        rounds = []
        for _ in range(3):
            started = time.process_time()
            work()
            rounds.append(time.process_time() - started)
        return min(rounds)

    block = os.urandom(1 << 20)
    return {
        "python_loop_ms": round(timed(lambda: sum(i * i for i in range(1_000_000))) * 1e3, 1),
        "sha256_64mib_ms": round(timed(lambda: [hashlib.sha256(block).digest() for _ in range(64)]) * 1e3, 1),
        "copy_256mib_ms": round(timed(lambda: [bytearray(block) for _ in range(256)]) * 1e3, 1),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def report(name: str, results: dict[str, Any], bars: dict[str, tuple[float, float]], file: Path | None) -> int:
    """Prints and writes the results. `bars`: name -> (measured, at most). The exit code: 1 when a bar is missed."""
    missed = [bar for bar, (measured, most) in bars.items() if measured > most]
    answer = {
        "benchmark": name,
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "calibration": calibration(),
        "results": results,
        "bars": {bar: {"measured": round(m, 3), "at_most": most, "met": m <= most} for bar, (m, most) in bars.items()},
    }
    text = json.dumps(answer, indent=2, ensure_ascii=False)
    print(text)
    if file is not None:
        file.write_text(text + "\n")
    return 1 if missed else 0
