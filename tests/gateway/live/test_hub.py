"""The hub: one subscription, shared bytes, bounded queues, burst, epochs, coming back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from gateway.live import hub as hub_module
from gateway.live.fmp4_stream import init
from gateway.live.hub import Entry, Granted, Hub, Notice, Picture, Started, StreamKey, Viewer
from gateway.live.wire import Config, Event, Unit
from storage.media.access_unit import AccessUnit
from tests.gateway.live.serving import LiveSocket, shifted, watch_socket
from tests.media import access_units, decode_mp4, encode_aac, encode_h264, stream_config
from tests.parts.wait import until_async

KEY = StreamKey("21000000001326000001", "main")
PACKETS = encode_h264(2.0, gop=25)
CONFIG = stream_config("h264", PACKETS)
UNITS = access_units("h264", PACKETS)


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[LiveSocket]:
    async with LiveSocket(tmp_path / "live.sock") as socket:
        socket.config(CONFIG)
        yield socket


@pytest.fixture
async def hub(camera: LiveSocket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(hub_module, "RETRY_S", (0.01,))
    hub = Hub(partial(watch_socket, camera.path), linger_s=0.05)
    yield hub
    await hub.close()


async def take(viewer: Viewer, pictures: int) -> list[Entry]:
    """Entries until `pictures` pictures are among them."""
    entries: list[Entry] = []
    async with asyncio.timeout(5):
        while sum(isinstance(entry, Picture) for entry in entries) < pictures:
            got = await viewer.take()
            assert got, "the viewer ended"
            entries += got
    return entries


async def watched(camera: LiveSocket, count: int = 1) -> None:
    async def there() -> bool:
        return len(camera.watchers) == count

    await until_async(there, 5, f"{count} subscriptions", every_s=0.005)


def mp4(entries: list[Entry]) -> bytes:
    return b"".join(
        init(entry.config) if isinstance(entry, Started) else entry.fragment
        for entry in entries
        if not isinstance(entry, Notice)
    )


async def test_many_viewers_share_one_subscription_and_the_same_bytes(camera: LiveSocket, hub: Hub) -> None:
    viewers = [hub.join(KEY) for _ in range(20)]
    await watched(camera)
    camera.push(*UNITS)
    first, second = await take(viewers[0], 50), await take(viewers[7], 50)
    assert len(camera.requests) == 1
    assert camera.requests[0] == {"op": "watch", "camera": KEY.camera, "stream": "main", "lease": None}
    for a, b in zip(first, second, strict=True):
        assert a is b
        if isinstance(a, Picture) and isinstance(b, Picture):
            assert a.fragment is b.fragment
    decoded = decode_mp4(mp4(first))
    assert decoded.pictures == 50
    assert decoded.video_times == tuple(range(0, 50 * 3600, 3600))


async def test_joined_fragments_are_made_once(camera: LiveSocket, hub: Hub) -> None:
    one, two = hub.join(KEY), hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:25])
    pictures = [[e for e in await take(viewer, 25) if isinstance(e, Picture)] for viewer in (one, two)]
    assert one.joined(pictures[0]) is two.joined(pictures[1])
    assert one.joined(pictures[0]) == b"".join(picture.fragment for picture in pictures[0])


async def test_a_late_viewer_begins_with_the_last_key_frame(camera: LiveSocket, hub: Hub) -> None:
    early = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:40])
    await take(early, 40)
    entries = await take(hub.join(KEY), 15)
    assert isinstance(entries[0], Started)
    assert isinstance(entries[1], Picture)
    assert entries[1].key
    assert [e.unit.dts for e in entries if isinstance(e, Picture)] == [u.dts for u in UNITS[25:40]]
    assert decode_mp4(mp4(entries)).pictures == 15


async def test_a_gop_too_long_to_cache_makes_joiners_wait_for_the_next_key(
    camera: LiveSocket, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "GOP_BYTES", len(UNITS[0].data) + 10)
    early = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:10])
    await take(early, 10)
    late = hub.join(KEY)
    camera.push(*UNITS[10:26])
    entries = await take(late, 1)
    assert [e.unit.dts for e in entries if isinstance(e, Picture)] == [UNITS[25].dts]


async def test_a_slow_viewer_falls_forward_to_a_key_frame_and_is_counted(
    camera: LiveSocket, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "QUEUE_UNITS", 30)
    slow, fast = hub.join(KEY), hub.join(KEY)
    await watched(camera)
    sent: list[AccessUnit] = []
    for turn in range(4):
        units = shifted(UNITS, turn * 180_000)
        for part in (units[:20], units[20:40], units[40:]):
            camera.push(*part)
            sent += part
            await take(fast, len(part))
    camera.push(*shifted(UNITS[:5], 4 * 180_000))
    await take(fast, 5)
    sent += UNITS[:5]
    assert slow.jumps > 0
    assert slow.dropped > 0
    assert fast.jumps == 0
    assert fast.dropped == 0
    assert hub.counters.jumps == slow.jumps
    entries = [e for e in await slow.take() if isinstance(e, Picture)]
    assert entries
    assert entries[0].key
    assert len(entries) <= 30
    assert slow.dropped + len(entries) == len(sent)


async def test_a_new_epoch_brings_a_new_start_and_time_runs_on(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:25])
    await take(viewer, 25)
    small = encode_h264(1.0, size=(160, 120))
    camera.config(stream_config("h264", small), epoch=1)
    # The camera rebooted: its clock begins far below
    camera.push(*shifted(access_units("h264", small), -5_000_000, epoch=1))
    entries = await take(viewer, 25)
    assert isinstance(entries[0], Started)
    assert entries[0].epoch == 1
    assert entries[0].config.video.width == 160
    times = [e.place.decode_time for e in entries if isinstance(e, Picture)]
    assert times == list(range(25 * 3600, 50 * 3600, 3600))


async def test_offline_is_told_and_the_picture_comes_back_by_itself(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:3])
    await take(viewer, 3)
    camera.event("offline", {"code": "camera.x"})
    assert await viewer.take() == [Notice("offline", {"code": "camera.x"})]
    late = hub.join(KEY)
    waiting = await late.take()
    assert waiting[0] == Notice("offline", {"code": "camera.x"})
    assert not any(isinstance(entry, Picture) for entry in waiting)
    camera.push(*shifted(UNITS[:2], 900_000))
    entries = await take(viewer, 2)
    assert entries[0] == Notice("online", None)


async def test_coming_online_is_no_news_to_who_was_told_nothing(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    camera.event("online")
    camera.push(*UNITS[:1])
    assert [type(entry) for entry in await take(viewer, 1)] == [Started, Picture]


async def test_a_recorder_that_dies_is_asked_again(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:3])
    await take(viewer, 3)
    await camera.stop()
    async with asyncio.timeout(5):
        entries = await viewer.take()
    notice = entries[0]
    assert isinstance(notice, Notice)
    assert notice.state == "offline"
    assert notice.reason is not None
    assert notice.reason["code"] == "media.live_recorder_away"
    await camera.listen()
    camera.config(CONFIG)
    await watched(camera)
    camera.push(*shifted(UNITS[:2], 900_000))
    entries = await take(viewer, 2)
    assert isinstance(entries[0], Started)
    assert hub.counters.reconnects >= 1


async def test_a_catalog_that_is_away_while_a_recorder_dies_ends_no_viewer(
    camera: LiveSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "RETRY_S", (0.01,))
    asked = 0

    async def watch(key: StreamKey) -> AsyncGenerator[Config | Unit | Event, None]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise OperationalError("SELECT", {}, Exception("database is locked"))
        async with contextlib.aclosing(watch_socket(camera.path, key)) as messages:
            async for message in messages:
                yield message

    hub = Hub(watch, linger_s=0.05)
    viewer = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:1])
    await take(viewer, 1)
    await camera.stop()
    async with asyncio.timeout(5):
        (notice,) = await viewer.take()
    assert isinstance(notice, Notice) and notice.state == "offline"
    await camera.listen()
    camera.config(CONFIG)
    await watched(camera)
    camera.push(*shifted(UNITS[:2], 900_000))
    await take(viewer, 2)
    assert asked >= 3
    await hub.close()


async def test_the_end_of_a_camera_ends_its_viewers(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    camera.event("ended", None)
    async with asyncio.timeout(5):
        entries: list[Entry] = []
        while taken := await viewer.take():
            entries += taken
    assert entries[-1] == Notice("ended", None)


async def test_a_stream_lingers_and_then_closes(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    viewer.close()
    again = hub.join(KEY)
    assert list(hub.watched().values()) == [1]
    again.close()
    await watched(camera, 0)
    assert hub.watched() == {}
    assert len(camera.requests) == 1


async def test_audio_goes_to_those_who_want_it_and_fits_the_picture(camera: LiveSocket, hub: Hub) -> None:
    config, frames = encode_aac(2.0)
    with_audio = stream_config("h264", PACKETS, config)
    camera.config(with_audio)
    hears, sees = hub.join(KEY, audio=True), hub.join(KEY)
    await watched(camera)
    camera.push(*access_units("h264", PACKETS, audio=(config, frames), dts_offset=7_000_000))
    heard = await take(hears, 50 + len(frames) - 1)
    seen = await take(sees, 50)
    assert all(entry.video for entry in seen if isinstance(entry, Picture))
    started = heard[0]
    assert isinstance(started, Started)
    data = init(started.config, audio=True) + b"".join(e.fragment for e in heard if isinstance(e, Picture))
    decoded = decode_mp4(data)
    assert decoded.pictures == 50
    assert decoded.audio_samples >= 28 * 1024


async def test_units_that_go_back_are_left_out(camera: LiveSocket, hub: Hub) -> None:
    viewer = hub.join(KEY)
    await watched(camera)
    camera.push(*UNITS[:3], UNITS[1], *UNITS[3:5])
    entries = await take(viewer, 5)
    assert [e.unit.dts for e in entries if isinstance(e, Picture)] == [u.dts for u in UNITS[:5]]


async def test_pictures_that_go_straight_to_the_transport_keep_their_order(camera: LiveSocket, hub: Hub) -> None:
    """The transport takes three frames, then refuses two, and so on; what it refuses waits and nothing overtakes it."""
    viewer = hub.join(KEY)
    got: list[bytes] = []
    calls = 0

    def direct(frame: bytes) -> bool:
        nonlocal calls
        calls += 1
        if calls % 5 >= 3:
            return False
        got.append(frame)
        return True

    viewer.direct = direct
    await watched(camera)

    async def pump() -> None:
        while entries := await viewer.take():
            got.extend(entry.framed for entry in entries if isinstance(entry, Picture))

    pumping = asyncio.create_task(pump())
    other = hub.join(KEY)
    for turn in range(3):
        for unit in shifted(UNITS, turn * 180_000):
            camera.push(unit)
            await take(other, 1)
    viewer.end()
    await pumping
    frames = b"".join(got)
    times = [int.from_bytes(frames[m.end() + 4 : m.end() + 12], "big") for m in re.finditer(b"tfdt", frames)]
    assert times == list(range(0, 150 * 3600, 3600))
    assert calls > 100
    assert viewer.direct_bytes > 0


async def test_what_a_lower_tier_reduces_is_said_with_the_start_to_later_viewers_too(
    camera: LiveSocket, hub: Hub
) -> None:
    first = hub.join(KEY)
    await watched(camera)
    assert (await take_start(first)).granted == Granted()
    why = {"code": "tier.reduced_for_line", "en": "thin", "zh": "thin"}
    camera.event("stream", {**why, "stream": "sub"})
    camera.config(CONFIG)
    camera.push(*UNITS[:3])
    told = await take(first, 3)
    assert told[0] == Notice("stream", {**why, "stream": "sub"})
    assert [entry.granted for entry in told if isinstance(entry, Started)] == [Granted("sub", dict(why))]
    assert not any(isinstance(entry, Notice) for entry in told[1:]), "it was not away, so it is not back"
    late = await take(hub.join(KEY), 3)
    assert isinstance(late[0], Started) and late[0].granted == Granted("sub", dict(why))
    camera.event("stream", {"stream": "main"})
    camera.config(CONFIG)
    camera.push(*shifted(UNITS[:1], 900_000))
    back = await take(first, 1)
    assert [entry.granted for entry in back if isinstance(entry, Started)] == [Granted("main", None)]


async def take_start(viewer: Viewer) -> Started:
    async with asyncio.timeout(5):
        (start,) = await viewer.take()
    assert isinstance(start, Started)
    return start
