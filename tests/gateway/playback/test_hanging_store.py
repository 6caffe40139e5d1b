"""A store whose disk hangs under those who look at footage: they hear of it, and nobody else notices. (FAULTS B34)"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from config.clock import ManualClock
from config.errors import TiergateError
from config.redact import Secret
from gateway.access.ids import fresh_id
from gateway.access.passwords import Passwords
from gateway.playback.footage import Footage, Piece
from storage import damage, questions
from storage.objects.asked import AskedStore
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.spool import Spool
from storage.spools import Spools
from tests.parts.wait import until_async
from tests.storage.footage import CAMERA, make_catalog

KEY = "a/b.mp4"
ASYNCIO_THREADS = min(32, (os.cpu_count() or 1) + 4)  #: of a process: what asyncio.to_thread has


class Disk(FolderStore):
    """Of a folder: with `hang` its reads wait, as a system call on a dead disk does."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers = threading.Event()
        self.answers.set()
        self.begun = 0

    def iter_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        pieces = super().iter_range(key, offset, length)
        self.begun += 1
        self.answers.wait()
        return pieces


class Place:
    def __init__(self, folder: Path) -> None:
        self.catalog = make_catalog(folder)
        self.disk = Disk(folder / "objects")
        self.disk.ensure()
        self.disk.put_bytes(KEY, bytes(range(200)))
        clock = ManualClock()
        spool = Spool(folder / "spool", clock, "N", "spool")
        self.footage = Footage(self.catalog, Spools([spool]), self.disk)
        self.piece = Piece(fresh_id(clock), "R", CAMERA, "main", 0, 1, 0, (), object_key=KEY)

    async def read(self) -> bytes:
        return await self.footage.read(self.piece, 10, 5)

    async def refused(self) -> None:
        with pytest.raises(TiergateError) as caught:
            await asyncio.wait_for(self.read(), 60)
        assert caught.value.reason.code == "media.store_unavailable"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.disk.answers.set()
    made.catalog.close()


@pytest.mark.fault("B34")
async def test_whoever_scrubs_over_a_store_that_hangs_keeps_nobody_from_signing_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 600.0)
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    place.disk.answers.clear()
    scrubbing = [asyncio.create_task(place.read(), name="read") for _ in range(ASYNCIO_THREADS)]

    async def all_hang() -> bool:
        return place.disk.begun == ASYNCIO_THREADS

    await until_async(all_hang, 60, "each keeps a thread")
    for read in scrubbing:
        read.cancel()
    await asyncio.gather(*scrubbing, return_exceptions=True)
    try:
        assert not await asyncio.wait_for(passwords.verify(None, Secret("x")), 60)
    finally:
        place.disk.answers.set()


@pytest.mark.fault("B34")
async def test_a_store_that_hangs_costs_one_thread_and_is_asked_again_when_it_answers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    assert await place.read() == bytes(range(10, 15))
    place.disk.answers.clear()
    begun = place.disk.begun
    try:
        for _ in range(20):
            await place.refused()
        assert place.disk.begun == begun + 1, "while it hangs it is not asked"
    finally:
        place.disk.answers.set()
    for thread in threading.enumerate():
        if thread.name == "volume":
            thread.join(20)
    assert await place.read() == bytes(range(10, 15))


@pytest.mark.fault("B34")
def test_all_of_an_object_may_take_longer_than_one_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    asked = AskedStore(place.disk)

    def slowly(key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.2)
            yield b"piece"

    monkeypatch.setattr(place.disk, "iter_range", slowly)
    assert b"".join(asked.iter_range(KEY)) == b"piece" * 4
    place.disk.answers.clear()
    monkeypatch.setattr(place.disk, "iter_range", Disk.iter_range.__get__(place.disk))
    with pytest.raises(TiergateError) as caught:
        damage.digest_of(asked, KEY)
    assert caught.value.reason.code == "media.store_unavailable"


def test_a_store_on_a_line_is_given_the_time_that_it_takes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has deadlines of its own; slow is not dead."""
    monkeypatch.setattr(questions, "ANSWER_S", 0.05)

    class Slow:
        def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            time.sleep(0.2)
            return b"slow"

    store: ObjectStore = Slow()  # type: ignore[assignment]  # of a store, what is asked here
    with ThreadPoolExecutor(4) as pool:
        asked = AskedStore(store)
        assert list(pool.map(lambda _: asked.read(KEY, 0, 4), range(4))) == [b"slow"] * 4
