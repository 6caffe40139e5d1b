"""The keeper's jobs while some of them hang, as on a disk that answers nothing any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.clock import SystemClock
from gateway.ops.job_state import JOB_NAMES
from gateway.ops.jobs import Job, Jobs
from storage.catalog.engine import Catalog
from tests.parts.catalog import new_catalog

_MOST_S = 20.0  #: a test that has failed ends then


@dataclass
class Disk:
    """Answers when it is let go."""

    answers: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        self.answers.wait(_MOST_S)


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.answers.set()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    new_catalog(url)
    made = Catalog(url)
    yield made
    made.close()


@pytest.mark.fault("B34")
async def test_jobs_that_hang_keep_no_other_from_running(catalog: Catalog, disk: Disk) -> None:
    """On two cores asyncio has six threads of its own; more jobs than that ask the store."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(6))
    loop, looked = asyncio.get_running_loop(), asyncio.Event()

    def look() -> None:
        loop.call_soon_threadsafe(looked.set)

    jobs = Jobs(catalog, SystemClock())
    for name in JOB_NAMES:
        jobs.add(Job(name, 60, look if name == "alarms" else disk.ask))
    jobs.start()
    async with asyncio.timeout(_MOST_S / 2):
        await looked.wait()
    await jobs.stop(timeout_s=0.1)


@pytest.mark.fault("B34")
def test_the_end_of_the_loop_does_not_wait_for_a_job_that_hangs(catalog: Catalog, disk: Disk) -> None:

    async def work() -> None:
        loop, began = asyncio.get_running_loop(), asyncio.Event()

        def hang() -> None:
            loop.call_soon_threadsafe(began.set)
            disk.ask()

        jobs = Jobs(catalog, SystemClock())
        jobs.add(Job("store", 60, hang))
        jobs.start()
        await began.wait()
        await jobs.stop(timeout_s=0.1)

    late = threading.Timer(_MOST_S / 2, disk.answers.set)
    late.start()
    asyncio.run(work())
    assert not disk.answers.is_set()
    late.cancel()
