"""What runs again and again in the keeper, and what is known of it afterwards.

Each job is a blocking function with an interval. Its last success, and since when it fails and why, are facts of the
catalog: `doctor`, the page and /metrics read them there. A failing job is logged, remembered and tried again; it
never stops another.

Belongs here: running, remembering. Does not belong here: what the jobs do (`gateway.processes.keeper`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from config.clock import Clock, SystemClock, wall_ms
from config.errors import TiergateError
from gateway.ops.job_state import JOB_NAMES, remember
from storage.catalog.engine import Catalog

_log = logging.getLogger(__name__)

#: The wall clock moved by so much against the steady one: due times are reckoned anew.
STEP_S = 30.0
WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    interval_s: int
    work: Callable[[], None]


class Jobs:
    """Runs jobs on an APScheduler in this event loop, each in a thread, none twice at once.

    There is a thread for each: those that a dead disk holds, for as long as it is dead, are in nobody's way. asyncio's
    own pool has six on a machine with two cores, and the end of the loop would wait for it.
    """

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            # A run that was missed (suspended machine, a clock that jumped ahead) is made up for once, however late.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._watch: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(len(JOB_NAMES), "job")

    def add(self, job: Job) -> None:
        if job.name not in JOB_NAMES:
            raise ValueError(f"job {job.name!r} is not listed in JOB_NAMES")
        self._jobs[job.name] = job

    def start(self) -> None:
        """Every job runs at once: what was missed while the keeper was away is caught up with."""
        for job in self._jobs.values():
            self._schedule(job, _scheduler_now())
        logging.getLogger("apscheduler").setLevel(logging.WARNING)  # each run of each job is no news
        self._scheduler.start()
        offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        self._watch = asyncio.create_task(self._follow_clock(offset_ns), name="jobs-clock")

    async def first(self, name: str, timeout_s: float) -> None:
        """One run before the others; they begin without it when it takes longer."""
        await asyncio.wait({self._begin(name)}, timeout=timeout_s)

    async def stop(self, timeout_s: float = 10.0) -> None:
        """No new runs; those that run are waited for so long. One that hangs ends with the process."""
        if self._watch is not None:
            self._watch.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=timeout_s)
        self._threads.shutdown(wait=False)

    def _schedule(self, job: Job, first: datetime) -> None:
        self._scheduler.add_job(
            self._start,
            "interval",
            args=[job.name],
            seconds=job.interval_s,
            id=job.name,
            next_run_time=first,
            replace_existing=True,
        )

    async def _start(self, name: str) -> None:
        """The scheduler cancels what it waits for when it is shut down; a job under way is not to be torn."""
        await asyncio.shield(self._begin(name))

    def _begin(self, name: str) -> asyncio.Task[None]:
        """The run that is under way, else a new one."""
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(self.run(name), name=f"job-{name}")
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def run(self, name: str) -> None:
        """One run, now. Never raises for a failure of the job."""
        job = self._jobs[name]
        problem = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, job.work)
        except TiergateError as error:
            problem = error.reason.code
            _log.warning("job failed", extra={"job": name, "code": problem, "reason": str(error)})
        except Exception as error:
            problem = type(error).__name__
            _log.exception("job failed", extra={"job": name})
        try:
            await self._catalog.awrite(lambda c: remember(c, job.name, job.interval_s, problem, wall_ms(self._clock)))
        except Exception:
            _log.exception("a job's end cannot be remembered", extra={"job": name})

    async def _follow_clock(self, offset_ns: int) -> None:
        """The scheduler counts in wall time: after a step back it would sleep until the old time comes again."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
            if abs(now_ns - offset_ns) > STEP_S * 1e9:
                _log.warning("the clock stepped", extra={"step_s": round((now_ns - offset_ns) / 1e9)})
                offset_ns = now_ns
                for job in self._jobs.values():
                    self._schedule(job, _scheduler_now() + timedelta(seconds=min(job.interval_s, 10)))


def _scheduler_now() -> datetime:
    """APScheduler counts in the machine's wall clock, whatever the node's is."""
    return datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)
