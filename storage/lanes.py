"""Work in a few threads at once, none of which can be held up for ever. (FAULTS B34)

A read of one file on a sick disk may never come back. Its thread is lost until the disk answers; what else there is to
do goes on beside it. Threads are daemons: not even the end of the process waits for such a read.

Belongs here: threads and patience. Does not belong here: what the work is, what its results mean.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from config.clock import Deadline, steady_s

W = TypeVar("W")
R = TypeVar("R")

HANGS_S = 120.0  #: work that takes longer has no lane any more, unless more is said of it
STALL_S = 1.0  #: when nothing has ended for so long, whoever waits may see to something else
HANGING_MOST = 32  #: threads that are given up to work that hangs


@dataclass(frozen=True, slots=True)
class _Running(Generic[W, R]):
    work: W
    result: Future[R]
    began_s: float
    allowed_s: float

    @property
    def hangs(self) -> bool:
        return not self.result.done() and steady_s() - self.began_s >= self.allowed_s


class Lanes(Generic[W, R]):
    """`count` pieces of work at a time, beside those that hang. To be used by one thread.

    Work hangs when it takes longer than `allowed_s` says of it; `HANGS_S` where nothing is given.
    """

    def __init__(self, count: int, do: Callable[[W], R], allowed_s: Callable[[W], float] | None = None) -> None:
        self._count = count
        self._do = do
        self._allowed_s = allowed_s
        self._running: list[_Running[W, R]] = []
        self._spawn: Callable[[Callable[[], None]], None] = _in_a_thread

    @property
    def begun(self) -> list[W]:
        """Whose results have not been handed out yet, the oldest first."""
        return [one.work for one in self._running]

    @property
    def hanging(self) -> list[W]:
        """Of `begun` what has taken longer than it may."""
        return [one.work for one in self._running if one.hangs]

    @property
    def moving(self) -> int:
        """How much of `begun` does not hang."""
        return sum(not one.hangs for one in self._running)

    def run(self, work: Iterable[W]) -> list[R]:
        """Begins all of it as lanes come free; the results of what has ended, of earlier calls too.

        Returns when nothing ends any more: what has begun goes on and is told of by a later call, what found no lane
        because all hang was not begun. Raises what `do` raises.
        """
        waiting = deque(work)
        ended: list[R] = []
        while True:
            while waiting and self._has_room():
                self._begin(waiting.popleft())
            now = self._collect(STALL_S)
            ended += now
            if not now and not (waiting and (self.moving or self._has_room())):
                return ended

    def finish(self, timeout_s: float) -> list[R]:
        """The results of what has begun and ends in time. What hangs is not waited for."""
        deadline = Deadline(timeout_s)
        ended = self._collect(0)
        while self.moving and not deadline.passed:
            ended += self._collect(min(STALL_S, deadline.left_s))
        return ended

    def close(self, timeout_s: float) -> None:
        """Waits for what has begun and does not hang; nobody asks for its results any more."""
        wait([one.result for one in self._running if not one.hangs], timeout_s)

    def _has_room(self) -> bool:
        return max(self.moving, len(self._running) - HANGING_MOST) < self._count

    def _begin(self, work: W) -> None:
        result: Future[R] = Future()
        allowed_s = HANGS_S if self._allowed_s is None else self._allowed_s(work)
        self._spawn(partial(self._settle, work, result))
        self._running.append(_Running(work, result, steady_s(), allowed_s))

    def _settle(self, work: W, result: Future[R]) -> None:
        try:
            result.set_result(self._do(work))
        except BaseException as exc:
            result.set_exception(exc)

    def _collect(self, timeout_s: float) -> list[R]:
        """What has ended, in the order in which it began; waits for the first."""
        if self._running:
            wait([one.result for one in self._running], timeout_s if self.moving else 0, FIRST_COMPLETED)
        ended: list[_Running[W, R]] = []
        going: list[_Running[W, R]] = []
        for one in self._running:
            (ended if one.result.done() else going).append(one)
        self._running = going
        return [one.result.result() for one in ended]


def _in_a_thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="lane", daemon=True).start()
