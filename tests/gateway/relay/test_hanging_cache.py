"""A cache whose disk hangs: keys go on time all the same, nothing is said to be gone that may yet come. (FAULTS B34)"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from config.errors import TiergateError
from storage import questions
from storage.objects.folder import FolderStore
from tests.gateway.relay.pair import CAMERA, Node, pair
from tests.gateway.relay.test_pull import objects
from tests.gateway.relay.test_purge import cached, gone, held, keys
from tests.parts.wait import until_async


class Hanging:
    """The calls `name` of a store wait, as on a dead disk; with `go` they do what was asked."""

    def __init__(self, store: FolderStore, name: str, patch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go = threading.Event()
        self._real = getattr(store, name)
        patch.setattr(store, name, self._call)

    def _call(self, *args: object, **kwargs: object) -> object:
        self.begun += 1
        self.go.wait()
        return self._real(*args, **kwargs)


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(questions, "ANSWER_S", 0.3)
    yield monkeypatch


async def refused(node: Node, lease: str, segment: str, offset: int) -> None:
    with pytest.raises(TiergateError) as caught:
        await asyncio.wait_for(node.control.read(lease, segment, CAMERA, "main", offset, 10), 60)
    assert caught.value.reason.code == "media.store_unavailable"


async def _has_no_key(node: Node) -> bool:
    return not keys(node)


@pytest.mark.fault("B34")
async def test_a_write_that_hangs_keeps_no_key_and_nothing_is_called_gone_before_it_has_ended(
    tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease, segment = await cached(upper, lower)
        kept = objects(upper)
        disk = Hanging(upper.cache_store, "put_bytes", patch)
        try:
            await refused(upper, lease, segment.id, 600_000)  # of the next block
            assert disk.begun == 1
            await upper.control.end(lease, "released", "user:duty")
            await until_async(partial(_has_no_key, upper), 30, "the key is gone")
            assert objects(upper) == kept
            row = held(upper, lease)
            assert row.ended_ms is not None and row.purged_ms is None
            assert not disk.go.is_set() and disk.begun == 1
        finally:
            disk.go.set()
        await gone(upper, lease)
        assert objects(upper) == []


@pytest.mark.fault("B34")
async def test_reads_that_hang_hold_no_thread_that_others_need(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease, segment = await cached(upper, lower)
        disk = Hanging(upper.cache_store, "read", patch)
        try:
            await asyncio.gather(*(refused(upper, lease, segment.id, 10 * turn) for turn in range(40)))
            await refused(upper, lease, segment.id, 0)
            begun = disk.begun
            await refused(upper, lease, segment.id, 0)
            assert disk.begun == begun, "while it hangs nobody asks again"
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
        finally:
            disk.go.set()

        async def given() -> bool:
            try:
                return len(await upper.control.read(lease, segment.id, CAMERA, "main", 0, 10)) == 10
            except TiergateError:
                return False

        await until_async(given, 30, "the disk answers again")
