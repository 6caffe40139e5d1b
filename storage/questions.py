"""Questions to disks that may never answer. (FAULTS B6, B34)

A system call on a dead disk, or on a hung network mount, does not return, and no signal ends it. So each question is
asked in a daemon thread: nobody waits for a disk that hangs, not even the end of the process. While one hangs nobody
asks again: a disk costs one thread, however often it is looked at.

Belongs here: asking, and how long an answer is waited for. Does not belong here: what is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from config.clock import steady_s

T = TypeVar("T")

#: A disk that has not answered by then hangs. One that spins up takes as long as a recorder's patience at most
#: (`gateway.ingest.volumes.SILENT_S`).
ANSWER_S = 5.0


class Question(Generic[T]):
    """One question to one disk. Who asks while it is being asked gets the same answer."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Future[T] | None = None
        self._began_s = 0.0

    def begin(self) -> Future[T]:
        """Raises RuntimeError when no thread can be started; nothing has been asked then."""
        with self._lock:
            if self._answer is None or self._answer.done():
                asked: Future[T] = Future()
                # Where no thread is to be had (pids.max of a container) nothing is asked, and the next one tries again.
                threading.Thread(target=self._run, args=(asked,), name="volume", daemon=True).start()
                self._answer, self._began_s = asked, steady_s()
            return self._answer

    def answer(self) -> T:
        """Raises what asking raises, and TimeoutError `ANSWER_S` after the question was put; at once from then on."""
        return self.answer_of(self.begin())

    def answer_of(self, begun: Future[T]) -> T:
        """As `answer`, of what `begin` began."""
        return begun.result(self._left_s())

    @property
    def open(self) -> bool:
        """Whether it has been put and not been answered yet."""
        return self._answer is not None and not self._answer.done()

    @property
    def overdue(self) -> bool:
        """Whether it has not been answered in time."""
        return self.open and self._left_s() == 0

    def hangs(self) -> bool:
        """Whether it is not answered when an answer is due; waits until then."""
        if self._answer is not None:
            wait((self._answer,), self._left_s())
        return self.open

    def _left_s(self) -> float:
        return max(0.0, self._began_s + ANSWER_S - steady_s())

    def _run(self, answer: Future[T]) -> None:
        try:
            answer.set_result(self._ask())
        except BaseException as exc:
            answer.set_exception(exc)


class Questions:
    """Several questions to one disk at once. While one of them hangs, none is put."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Question[Any]] = []

    def answer(self, ask: Callable[[], T]) -> T:
        """Raises what asking raises, and TimeoutError."""
        mine = Question(ask)
        with self._lock:
            self._open = [question for question in self._open if question.open]
            if any(question.overdue for question in self._open):
                raise TimeoutError("the disk does not answer")
            begun = mine.begin()
            self._open.append(mine)
        return mine.answer_of(begun)


_lock = threading.Lock()
_last: dict[Path, Question[object]] = {}  #: by folder, the last question of this process


def ask(folder: Path, look: Callable[[], T]) -> T:
    """What `look` answers of the disk that `folder` lies on. Raises what it raises, and TimeoutError: the disk hangs.

    One question at a time to a folder; while one hangs the next is not put, nor one to a folder below. By folder,
    because only the disk itself could say where a link leads.
    """
    mine: Question[T] = Question(look)
    while True:
        begun: Future[T] | None = None
        with _lock:
            before = next((q for at, q in _last.items() if q.open and (at == folder or at in folder.parents)), None)
            if before is None:
                _last[folder] = mine  # type: ignore[assignment]  # kept for whether it has ended, not for its answer
                begun = mine.begin()
        if begun is not None:
            return mine.answer_of(begun)
        if before is not None and before.hangs():
            raise TimeoutError(f"{folder} does not answer")
