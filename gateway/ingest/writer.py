"""Writer threads: what must happen to files, in order per stream, away from the threads that receive.

A `Lane` belongs to one stream; its jobs run one after another in whatever thread is free. A stalled disk fills lanes
and stops nobody who receives; the recording looks at `pending_bytes` and gives up footage by name (`disk_slow`) before
memory is in danger.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable

from config.clock import Deadline, steady_s

_log = logging.getLogger(__name__)

Job = Callable[[], None]


class Lane:
    """`put` from one thread at a time (the recording's lock); jobs must not raise what their maker wants to know."""

    __slots__ = ("_jobs", "_lock", "_pool", "_scheduled", "job_began_s", "pending_bytes")

    def __init__(self, pool: WriterPool) -> None:
        self._pool = pool
        self._jobs: deque[tuple[Job, int]] = deque()
        self._lock = threading.Lock()
        self._scheduled = False
        self.pending_bytes = 0
        self.job_began_s = 0.0  #: of the job that runs now; 0: none

    def put(self, job: Job, size_bytes: int = 0) -> None:
        with self._lock:
            self._jobs.append((job, size_bytes))
            self.pending_bytes += size_bytes
            start = not self._scheduled
            self._scheduled = True
        if start:
            self._pool.schedule(self)

    @property
    def idle(self) -> bool:
        with self._lock:
            return not self._scheduled

    def run(self) -> None:
        """All jobs there are; called by the pool."""
        while True:
            with self._lock:
                if not self._jobs:
                    self._scheduled = False
                    return
                job, size_bytes = self._jobs[0]
            self.job_began_s = steady_s()
            try:
                job()
            except Exception:
                _log.exception("a writer's job failed")
            self.job_began_s = 0.0
            with self._lock:
                self._jobs.popleft()
                self.pending_bytes -= size_bytes


class WriterPool:
    """`threads` of them: more than a disk can use at once, fewer than cameras."""

    def __init__(self, threads: int = 4) -> None:
        self._ready: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        self._busy: set[Lane] = set()
        self._threads = [threading.Thread(target=self._run, name=f"writer-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def lane(self) -> Lane:
        return Lane(self)

    def schedule(self, lane: Lane) -> None:
        self._ready.put(lane)

    @property
    def stuck_s(self) -> float:
        """For how long the oldest job that runs now has been running: one write or sync is a matter of milliseconds."""
        began = [lane.job_began_s for lane in list(self._busy) if lane.job_began_s]
        return steady_s() - min(began) if began else 0.0

    def _run(self) -> None:
        while (lane := self._ready.get()) is not None:
            self._busy.add(lane)
            lane.run()
            self._busy.discard(lane)

    def close(self, timeout_s: float) -> None:
        """After the lanes are idle."""
        deadline = Deadline(timeout_s)
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join(deadline.left_s)
