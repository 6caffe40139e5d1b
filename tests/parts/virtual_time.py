"""An event loop whose clock is the next timer's: what takes minutes is over in milliseconds, and always the same way.

Nothing may come from outside of it: no thread, no socket, for time does not wait for them.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "nothing will ever happen any more"
            self.now_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class LoopClock:
    """The running loop's time as a node's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wall_ns: int) -> None:
        self._loop, self._ahead_ns = loop, wall_ns - round(loop.time() * 1e9)

    def wall_ns(self) -> int:
        return self.monotonic_ns() + self._ahead_ns

    def monotonic_ns(self) -> int:
        return round(self._loop.time() * 1e9)

    def synchronised(self) -> bool | None:
        return True


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())
