"""Waiting for what must become true, with a deadline and the reason in the failure. The only place tests sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

T = TypeVar("T")


def _failure(what: str, timeout_s: float, last: object, error: BaseException | None) -> AssertionError:
    seen = f"last error: {error!r}" if error is not None else f"last seen: {last!r}"
    return AssertionError(f"not within {timeout_s:g} s: {what} ({seen})")


def until(
    predicate: Callable[[], T | Literal[False] | None], timeout_s: float, what: str, *, every_s: float = 0.05
) -> T:
    """The first truthy value of `predicate`; an exception in it counts as "not yet"."""
    deadline = time.monotonic() + timeout_s
    while True:
        last: T | Literal[False] | None = None
        error: Exception | None = None
        try:
            last = predicate()
            if last:
                return last
        except Exception as exc:
            error = exc
        if time.monotonic() >= deadline:
            raise _failure(what, timeout_s, last, error) from error
        time.sleep(every_s)


async def until_async(
    predicate: Callable[[], Awaitable[T]], timeout_s: float, what: str, *, every_s: float = 0.05
) -> T:
    """`until` for coroutines."""
    deadline = time.monotonic() + timeout_s
    while True:
        last: T | None = None
        error: Exception | None = None
        try:
            last = await predicate()
            if last:
                return last
        except Exception as exc:
            error = exc
        if time.monotonic() >= deadline:
            raise _failure(what, timeout_s, last, error) from error
        await asyncio.sleep(every_s)
