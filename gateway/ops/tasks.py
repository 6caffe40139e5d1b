"""Starting asyncio tasks: named, kept, and never failing in silence.

asyncio holds tasks weakly and reports an exception only when the task is collected. Everything that starts a task in
the background does it through a `Tasks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def alongside(coroutine: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Runs one background task beside the body; cancelled, and waited for, when the body ends."""
    tasks = Tasks()
    tasks.start(coroutine, name)
    try:
        yield
    finally:
        await tasks.cancel()


class Tasks:
    """A set of background tasks that live as long as their owner. `on_failure` hears of an exception in any of them."""

    def __init__(self, on_failure: Callable[[BaseException], None] | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failure = on_failure

    def start(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("background task failed", exc_info=error, extra={"task": task.get_name()})
            if self._on_failure is not None:
                self._on_failure(error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def finished(self, timeout_s: float) -> bool:
        """Waits for all to end by themselves; whether they did."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=timeout_s)
        return not self._tasks

    async def cancel(self) -> None:
        """Cancels all and waits for their end."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
