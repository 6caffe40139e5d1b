"""One stream of a lower tier for all who watch it here: what those are told who come later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.live.wire import HEAD_BYTES, Config, Event, Unit, parse_body, parse_head
from gateway.relay import upstream
from gateway.relay.upstream import Upstreams, Watcher
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from tests.media import encode_h264, stream_config
from tiering.cmaf import Notice

CONFIG = stream_config("h264", encode_h264(1.0, gop=25))


async def told(watcher: Watcher, count: int) -> list[Config | Unit | Event]:
    messages: list[Config | Unit | Event] = []
    async with asyncio.timeout(5):
        while len(messages) < count:
            message = await watcher.take()
            assert message is not None
            messages.append(parse_body(parse_head(message[:HEAD_BYTES])[1], message[HEAD_BYTES:]))
    return messages


async def test_that_the_stream_is_reduced_is_told_to_later_watchers_whatever_came_since() -> None:
    reason = Reason("tier.reduced_for_line").as_json()

    async def answer(*_: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        yield Notice("stream", reason, "sub")
        yield CONFIG
        yield Notice("offline", Reason("tier.stream_ended").as_json())
        yield Notice("online", None)
        await asyncio.Event().wait()

    async def holds(*_: str) -> None:
        return None

    upstreams = Upstreams(answer, holds)
    try:
        _, watcher = await upstreams.join("lease", "camera", "main")
        first = await told(watcher, 4)
        reduced = Event("stream", {**reason, "stream": "sub"})
        assert [first[0], first[-1]] == [reduced, Event("online", None)]
        _, watcher = await upstreams.join("lease", "camera", "main")
        late = await told(watcher, 3)
        assert late == [reduced, Event("online", None), Config(1, CONFIG)]
    finally:
        await upstreams.stop()


def picture(number: int) -> AccessUnit:
    at_ns = 1_700_000_000_000_000_000 + number * 40_000_000
    return AccessUnit(Track.VIDEO, number * 3600, number * 3600, 3600, at_ns, number % 25 == 0, b"\0\0\0\1x")


@pytest.mark.parametrize("away", ["camera", "node"])
async def test_who_comes_while_there_is_no_picture_is_shown_no_old_one(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "RETRY_S", (0.01,))
    offline = Reason("media.live_recorder_away" if away == "camera" else "tier.peer_away", {"problem": "x"})
    again, turns = asyncio.Event(), 0

    async def answer(*_: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        nonlocal turns
        turns += 1
        if turns == 1:
            yield CONFIG
            for number in range(5):
                yield picture(number)
            if away == "node":
                raise TiergateError(Kind.UNAVAILABLE, offline.code, **offline.params)
            yield Notice("offline", offline.as_json())
        await again.wait()
        yield CONFIG
        yield picture(25)
        await asyncio.Event().wait()

    async def holds(*_: str) -> None:
        return None

    upstreams = Upstreams(answer, holds)
    try:
        _, watcher = await upstreams.join("lease", "camera", "main")
        assert (await told(watcher, 7))[-1] == Event("offline", offline.as_json())
        _, late = await upstreams.join("lease", "camera", "main")
        again.set()
        seen = await told(late, 4)
        assert seen[:2] == [Event("offline", offline.as_json()), Config(1, CONFIG)]
        assert isinstance(seen[2], Config) and isinstance(seen[3], Unit)
        assert (seen[3].unit.dts, seen[3].replay) == (25 * 3600, False)
    finally:
        await upstreams.stop()


async def test_who_comes_in_the_moment_in_which_nobody_was_waited_for_any_more_gets_a_stream_of_their_own() -> None:
    closing, closed = asyncio.Event(), asyncio.Event()

    async def answer(*_: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        yield CONFIG
        try:
            await asyncio.Event().wait()
        finally:  # a connection to a lower node is not closed at once
            closing.set()
            await closed.wait()

    async def holds(*_: str) -> None:
        return None

    upstreams = Upstreams(answer, holds, linger_s=0)
    try:
        first, watcher = await upstreams.join("lease", "camera", "main")
        await told(watcher, 1)
        first.leave(watcher)
        async with asyncio.timeout(5):
            await closing.wait()
        second, watcher = await upstreams.join("lease", "camera", "main")
        assert await told(watcher, 1) == [Config(1, CONFIG)]
        closed.set()
        await first.stop()
        assert (second.over, watcher.closed, len(upstreams)) == (False, False, 1)
    finally:
        closed.set()
        await upstreams.stop()
