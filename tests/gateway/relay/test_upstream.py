"""One stream of a lower tier for all who watch it here: what those are told who come later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from config.reasons import Reason
from gateway.live.wire import HEAD_BYTES, Config, Event, Unit, parse_body, parse_head
from gateway.relay.upstream import Upstreams, Watcher
from storage.media.access_unit import AccessUnit, StreamConfig
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
