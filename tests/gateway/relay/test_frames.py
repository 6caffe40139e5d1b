"""A camera's live stream on its way from the recorder below to who watches above: how it ends, and what is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.ingest.supervision import CameraTask
from gateway.live import client
from gateway.live.server import LiveServer
from gateway.live.wire import HEAD_BYTES, Config, Event, Unit, parse_body, parse_head
from gateway.relay.adapters import RecorderFrames
from gateway.relay.upstream import RETRY_S, Upstream, Watcher
from storage.catalog.tables import register
from storage.media.access_unit import AccessUnit, StreamConfig
from tests.gateway.live.serving import LiveSocket
from tests.gateway.relay.pair import CAMERA, Node, pair
from tests.gateway.relay.test_pull import ended, first, pull, watch
from tests.media import access_units
from tests.parts.virtual_time import in_virtual_time
from tests.parts.wait import until_async
from tiering.cmaf import Notice

Frames = AsyncGenerator[StreamConfig | AccessUnit | Notice, None]


class Refusing:
    """A recorder's streams, none of which it gives."""

    def __init__(self, error: TiergateError) -> None:
        self.error = error
        self.asked: list[tuple[str, str]] = []

    def watch(self, camera_id: str, stream: str) -> CameraTask:
        self.asked.append((camera_id, stream))
        raise self.error

    def unwatch(self, camera_id: str, stream: str) -> None:
        raise AssertionError("it was never watched")


def from_recorder(node: Node, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's frames come from here on from its recorder's socket, whose path this is."""
    frames = RecorderFrames(node.catalog, node.settings.paths.run_dir, client.watch)
    monkeypatch.setattr(node.pictures, "watch", frames.watch)
    return node.settings.paths.run_dir / "live" / "0.sock"


def rows(node: Node) -> int:
    return len(node.catalog.read(lambda c: c.execute(select(register)).all()))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TiergateError(Kind.NOT_FOUND, "camera.no_stream", stream="sub"), "camera.no_stream"),
        (TiergateError(Kind.UNAVAILABLE, "camera.disabled"), "camera.disabled"),
    ],
)
async def test_a_stream_that_the_recorder_below_does_not_give_ends_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: TiergateError, code: str
) -> None:
    """The rules say that the small stream is the most, and a camera need not have one."""
    async with pair(tmp_path) as (upper, lower):
        streams = Refusing(error)
        recorder = LiveServer(from_recorder(lower, monkeypatch), streams)
        await recorder.start()
        try:
            lease = await pull(upper, max_stream="sub")
            assert await ended(watch(upper, lease)) == code
            assert streams.asked == [(CAMERA, "sub")] and rows(lower) == 1
        finally:
            await recorder.stop()


async def test_a_stream_that_the_recorder_below_makes_anew_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does when the camera's address is changed: what was there so far ends, and nobody says why."""
    async with pair(tmp_path) as (upper, lower), LiveSocket(from_recorder(lower, monkeypatch)) as recorder:
        recorder.config(lower.pictures.config)
        recorder.push(*access_units("h264", lower.pictures.packets))
        stream = watch(upper, await pull(upper))
        await first(stream, Unit)
        recorder.config(lower.pictures.small, epoch=1)  # for who comes now
        recorder.push(*access_units("h264", lower.pictures.packets))
        recorder.event("ended")
        await until_async(lambda: _value(len(recorder.requests) == 2), 10, "the relay below watches again")
        while not isinstance(config := await first(stream, Config), Config) or config.stream.video.width != 160:
            pass
        await first(stream, Unit)
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator


async def _value(value: object) -> object:
    return value


async def test_a_recorder_that_says_what_nobody_knows_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair(tmp_path) as (_, lower), LiveSocket(from_recorder(lower, monkeypatch)) as recorder:
        recorder.config(lower.pictures.config)
        items: Frames = lower.pictures.watch(CAMERA, "main")
        assert await anext(items) == lower.pictures.config
        recorder.event("ended", {"code": "of.tomorrow", "params": {}})
        async with asyncio.timeout(10):
            with pytest.raises(TiergateError) as away:
                await anext(items)
        assert away.value.reason.code == "tier.live_away"


KEY = ("lease", CAMERA, "main")
LOCKED = OperationalError("SELECT", {}, Exception("database is locked"))


async def allowed(lease: str, camera: str, stream: str) -> None:
    return None


async def said(watcher: Watcher) -> list[Event]:
    """What is told of the stream until it is over."""
    events = []
    while (message := await watcher.take()) is not None:
        told = parse_body(parse_head(message[:HEAD_BYTES])[1], message[HEAD_BYTES:])
        assert isinstance(told, Event)
        events.append(told)
    return events


@pytest.mark.parametrize(
    "trouble",
    [
        Notice("ended", Reason("tier.live_away").as_json()),  # the recorder below is being started again
        Notice("ended", Reason("access.register_away").as_json()),
        TiergateError(Kind.ENVIRONMENT, "internal", error_id="0"),  # what the lower node says of a locked catalog
        LOCKED,  # ours
    ],
)
def test_a_trouble_that_passes_does_not_end_a_stream(trouble: Notice | Exception) -> None:
    opened = 0

    async def open_(lease: str, camera: str, stream: str) -> Frames:
        nonlocal opened
        opened += 1
        if opened == 3:
            yield Notice("ended", Reason("tier.lease_ended").as_json())
        elif isinstance(trouble, Exception):
            raise trouble
        else:
            yield trouble

    async def work() -> list[tuple[str, object]]:
        watcher = Upstream(KEY, open_, allowed, 10.0, lambda key, gone: None).join()
        return [(event.state, (event.reason or {}).get("code")) for event in await said(watcher)]

    told = in_virtual_time(work)
    assert [state for state, _ in told] == ["offline", "offline", "ended"] and told[-1][1] == "tier.lease_ended"


def test_our_side_of_a_lease_is_looked_at_again_after_the_catalog_was_away() -> None:
    looked = 0

    async def open_(lease: str, camera: str, stream: str) -> Frames:
        while True:
            await asyncio.sleep(5.0)
            yield Notice("alive")

    async def check(lease: str, camera: str, stream: str) -> Reason | None:
        nonlocal looked
        looked += 1
        if looked < 3:
            raise LOCKED
        return Reason("tier.lease_expired")

    async def work() -> list[Event]:
        async with asyncio.timeout(60):
            return await said(Upstream(KEY, open_, check, 10.0, lambda key, gone: None).join())

    [over] = in_virtual_time(work)
    assert over.state == "ended" and over.reason is not None and over.reason["code"] == "tier.lease_expired"


def test_a_stream_that_ends_before_its_first_picture_is_opened_ever_less_often() -> None:
    """Each opening is a row of the register below."""
    opened_s: list[float] = []

    async def open_(lease: str, camera: str, stream: str) -> Frames:
        opened_s.append(asyncio.get_running_loop().time())
        yield Notice("ended", Reason("tier.stream_ended").as_json())

    async def work() -> None:
        upstream = Upstream(KEY, open_, allowed, 10.0, lambda key, gone: None)
        upstream.join()
        await asyncio.sleep(60.0)
        await upstream.stop()

    in_virtual_time(work)
    pauses_s = [after - before for before, after in pairwise(opened_s)]
    assert pauses_s[: len(RETRY_S)] == pytest.approx(RETRY_S) and set(pauses_s[len(RETRY_S) :]) == {RETRY_S[-1]}
