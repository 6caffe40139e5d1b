"""HLS, clip and snapshot through the whole web process, from footage written by the real segmenter."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import av
import httpx
import pytest
from sqlalchemy import update

from config.ids import ulid
from gateway.playback import footage
from gateway.playback.footage import Footage, Piece
from gateway.playback.snapshot import Snapshots
from storage.catalog import segments
from storage.catalog.tables import segment
from storage.media.access_unit import AccessUnit, StreamConfig
from storage.media.boxes import walk
from storage.objects import make_store
from storage.spools import Spools
from tests.gateway.watching import WALL_MS, Rig, rig
from tests.media import access_units, decode_mp4, encode_g711, encode_h264, encode_h265, stream_config
from tests.parts.wait import until_async

PACKETS = encode_h264(4.0, gop=25)
G711, TONE = encode_g711(4.0)
CONFIG = stream_config("h264", PACKETS)
SOUND = stream_config("h264", PACKETS, G711)
UNITS = access_units("h264", PACKETS)
WITH_SOUND = access_units("h264", PACKETS, audio=(G711, TONE))


def later(units: list[AccessUnit], seconds: int, epoch: int = 1) -> list[AccessUnit]:
    """The same pictures another time, in a run of their own."""
    return [replace(u, wall_ns=u.wall_ns + seconds * 1_000_000_000, epoch=epoch) for u in units]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


async def playlist(node: Rig, headers: dict[str, str], from_s: float, to_s: float, **more: str) -> httpx.Response:
    parameters = {"from": str(WALL_MS + round(from_s * 1000)), "to": str(WALL_MS + round(to_s * 1000)), **more}
    return await node.http.get(node.path + "/playback.m3u8", params=parameters, headers=headers)


async def fetch(node: Rig, text: str) -> bytes:
    """What a player makes of a playlist, one after another; a discontinuity brings a new init segment."""
    data = b""
    for line in text.splitlines():
        found = re.match(r'#EXT-X-MAP:URI="([^"]+)"', line)
        uri = found[1] if found else line
        if not uri or uri.startswith("#"):
            continue
        answer = await node.http.get(uri)
        assert answer.status_code == 200, answer.text
        data += answer.content
    return data


async def test_recorded_pictures_play_from_spool_and_store_alike(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    await node.record(CONFIG, later(UNITS, 10), to_store=True)
    headers = await node.sign_in("operator")
    for start in (0, 10):
        answer = await playlist(node, headers, start, start + 4)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert answer.text.count("#EXTINF:1.000000") == 4
        assert decode_mp4(await fetch(node, answer.text)).pictures == 100


async def test_the_segment_being_written_plays_too(node: Rig) -> None:
    await node.record(CONFIG, UNITS, leave_open=True)
    headers = await node.sign_in("operator")
    answer = await playlist(node, headers, 0, 60)
    assert decode_mp4(await fetch(node, answer.text)).pictures >= 75


async def test_sound_stays_out_of_what_a_browser_is_given(node: Rig) -> None:
    await node.record(SOUND, WITH_SOUND)
    headers = await node.sign_in("operator")
    answer = await playlist(node, headers, 0, 4)
    data = await fetch(node, answer.text)
    assert b"alaw" not in data
    assert decode_mp4(data).pictures == 100


async def test_a_gap_is_a_discontinuity_and_entries_tell_their_time(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    await node.record(CONFIG, later(UNITS, 30))
    headers = await node.sign_in("operator")
    text = (await playlist(node, headers, 0, 60)).text
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert "#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:13:50.000Z" in text
    assert text.count("#EXT-X-MAP") == 2


async def test_fast_playback_gets_key_frames_alone(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    headers = await node.sign_in("operator")
    text = (await playlist(node, headers, 0, 4, speed="8")).text
    assert "/key/" in text
    assert "/seg/" not in text
    decoded = decode_mp4(await fetch(node, text))
    assert decoded.video_times == (0, 90_000, 180_000, 270_000)


async def test_byte_ranges_of_an_entry(node: Rig) -> None:
    await node.record(SOUND, WITH_SOUND)
    headers = await node.sign_in("operator")
    text = (await playlist(node, headers, 0, 4)).text
    uri = next(line for line in text.splitlines() if "/seg/" in line)
    whole = (await node.http.get(uri)).content
    part = await node.http.get(uri, headers={"Range": "bytes=100-5000"})
    assert part.status_code == 206
    assert part.content == whole[100:5001]
    assert part.headers["content-range"] == f"bytes 100-5000/{len(whole)}"
    tail = await node.http.get(uri, headers={"Range": "bytes=-7"})
    assert tail.content == whole[-7:]
    assert (await node.http.get(uri, headers={"Range": f"bytes={len(whole)}-"})).status_code == 416
    assert (await node.http.get(uri, headers={"Range": "lines=1-2"})).content == whole


@pytest.mark.fault("S2", "S21")
async def test_a_session_opens_its_own_window_and_nothing_else(node: Rig) -> None:
    names = await node.record(CONFIG, UNITS)
    others = await node.record(CONFIG, later(UNITS, 600))
    headers = await node.sign_in("operator")
    answer = await playlist(node, headers, 0, 1.5)
    session = answer.headers["x-tiergate-session"]
    assert (await node.http.get(f"{session}/seg/{names[0]}/0.m4s")).status_code == 200
    for path in (
        f"{session}/seg/{names[0]}/3.m4s",  # behind the window
        f"{session}/seg/{others[0]}/0.m4s",
        f"{session}/seg/{names[0]}/99.m4s",
        f"{session}/init/{others[0]}.mp4",
        f"/m/{'0' * 32}/seg/{names[0]}/0.m4s",
    ):
        assert (await node.http.get(path)).status_code == 404, path
    assert (await node.http.get(f"{session}/index.m3u8?speed=4")).text.count("/key/") == 2
    assert (await node.http.delete(session)).status_code == 204
    assert (await node.http.get(f"{session}/seg/{names[0]}/0.m4s")).status_code in (401, 404)
    rows = await node.register()
    assert [(r.function, r.result) for r in rows] == [("playback", "ended")]


async def test_revocation_ends_a_session_path(node: Rig) -> None:
    names = await node.record(CONFIG, UNITS)
    headers = await node.sign_in("operator")
    session = (await playlist(node, headers, 0, 4)).headers["x-tiergate-session"]
    await node.revoke(headers)
    await node.services.looks.review()
    assert (await node.http.get(f"{session}/seg/{names[0]}/0.m4s")).status_code == 401


async def test_windows_without_sense_are_sentences(node: Rig) -> None:
    headers = await node.sign_in("operator")
    for from_s, to_s, more, status, code in (
        (0, 4, {}, 404, "media.play_nothing"),
        (4, 4, {}, 422, "time.range_empty"),
        (0, 90_000, {}, 413, "time.range_too_long"),
        (0, 4, {"speed": "nan"}, 422, "media.play_speed"),
        (0, 4, {"from": "yesterday"}, 422, "time.malformed"),
    ):
        answer = await playlist(node, headers, from_s, to_s, **more)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await node.register() == []


async def clip(node: Rig, headers: dict[str, str], from_s: float, to_s: float, **more: str) -> httpx.Response:
    parameters = {
        "from": str(WALL_MS + round(from_s * 1000)), "to": str(WALL_MS + round(to_s * 1000)), "reason": "case 4711",
    } | more  # fmt: skip
    return await node.http.get(node.path + "/clip.mp4", params=parameters, headers=headers)


async def test_a_clip_is_the_original_from_the_key_frame_on(node: Rig) -> None:
    await node.record(SOUND, WITH_SOUND, segment_ms=2000)
    headers = await node.sign_in("duty")
    answer = await clip(node, headers, 1.5, 3.2)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="{node.camera_id}_20260921T221321_20260921T221323.mp4"'
    )
    assert json.loads(answer.headers["x-tiergate-gaps"]) == []
    assert answer.headers["x-tiergate-start"] == str(WALL_MS + 1000)
    with av.open(io.BytesIO(answer.content), "r") as container:
        video = [p for p in container.demux(container.streams.video[0]) if p.size]
    assert video[0].pts == 0
    steps = {int(b.dts or 0) - int(a.dts or 0) for a, b in itertools.pairwise(video)}
    assert steps == {3600}, "a seam in the timeline"
    wanted = [u.data for u in UNITS if 25 <= UNITS.index(u)][: len(video)]
    assert [bytes(p) for p in video] == wanted, "the pictures are not the original ones"
    decoded = decode_mp4(answer.content)
    assert 55 <= decoded.pictures <= 75
    assert decoded.audio_samples > 8000
    numbers = [
        int.from_bytes(answer.content[b.offset + 20 : b.offset + 24], "big")
        for b in walk(answer.content) if b.kind == b"moof"
    ]  # fmt: skip
    assert numbers == list(range(1, len(numbers) + 1))
    rows = await node.register()
    assert [(r.function, r.reason, r.bytes) for r in rows] == [("export", "case 4711", len(answer.content))]


async def test_a_clip_across_a_gap_runs_on_and_names_it(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    await node.record(CONFIG, later(UNITS, 10), to_store=True)
    headers = await node.sign_in("duty")
    answer = await clip(node, headers, -5, 14)
    decoded = decode_mp4(answer.content)
    assert decoded.video_times == tuple(range(0, 200 * 3600, 3600))
    assert json.loads(answer.headers["x-tiergate-gaps"]) == [
        {"from_ms": WALL_MS - 5000, "to_ms": WALL_MS, "at_s": 0.0},
        {"from_ms": WALL_MS + 4000, "to_ms": WALL_MS + 10_000, "at_s": 4.0},
    ]


async def short_segments(node: Rig, count: int) -> None:
    """`count` segments of a second, one after another."""
    (name,) = await node.record(CONFIG, UNITS[:25])
    row = await node.services.read(lambda c: segments.segment_of(c, name))
    assert row is not None
    rows = [
        replace(
            row, id=ulid(row.created_ms + n, n.to_bytes(10)), object_key=f"{row.object_key}.{n}",
            start_ms=row.start_ms + n * 1000, end_ms=row.end_ms + n * 1000,
            start_wall_ns=row.start_wall_ns + n * 1_000_000_000,
        )
        for n in range(1, count)
    ]  # fmt: skip
    await node.services.write(lambda c: segments.insert_segments(c, rows))


async def test_a_window_of_many_short_segments_plays_to_its_end(node: Rig) -> None:
    await short_segments(node, 3_100)
    text = (await playlist(node, await node.sign_in("operator"), 0, 3_600)).text
    played = [line for line in text.splitlines() if "/seg/" in line]
    assert len(played) == 3_100
    last_ms = WALL_MS + 3_099_500
    rows = await node.services.read(
        lambda c: segments.segments_between(c, node.camera_id, "main", last_ms, last_ms + 1)
    )
    assert rows[-1].id in played[-1]


async def test_a_window_of_more_segments_than_are_read_is_refused_not_cut(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await short_segments(node, 12)
    headers = await node.sign_in("operator")
    monkeypatch.setattr(footage, "WINDOW_SEGMENTS", 11)
    answer = await playlist(node, headers, 0, 12)
    assert (answer.status_code, answer.json()["code"]) == (413, "time.range_too_long")
    assert (await playlist(node, headers, 0, 10)).text.count("/seg/") == 10


async def test_what_a_clip_cannot_be_is_said(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    small = encode_h264(2.0, size=(160, 120))
    await node.record(stream_config("h264", small), later(access_units("h264", small), 10))
    headers = await node.sign_in("duty")
    for from_s, to_s, more, status, code in (
        (0, 12, {}, 409, "media.play_clip_mixed"),
        (100, 110, {}, 404, "media.play_nothing"),
        (0, 8000, {}, 413, "media.play_clip_too_long"),
        (0, 4, {"reason": " x "}, 422, "media.play_reason_short"),
    ):
        answer = await clip(node, headers, from_s, to_s, **more)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    operator = await node.sign_in("operator")
    assert (await clip(node, operator, 0, 4)).status_code == 403


async def test_snapshots_of_now_and_of_a_time(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    hevc = encode_h265(1.0)
    node.camera.config(stream_config("h265", hevc))
    node.camera.push(*access_units("h265", hevc))
    headers = await node.sign_in("operator")
    now = await node.http.get(node.path + "/snapshot.jpg", headers=headers)
    assert now.status_code == 200, now.text
    assert now.headers["content-type"] == "image/jpeg"
    with av.open(io.BytesIO(now.content), format="mjpeg") as picture:
        assert (picture.streams.video[0].width, picture.streams.video[0].height) == (320, 240)
    jobs = node.worker.pool.jobs
    for _ in range(2):
        then = await node.http.get(
            node.path + "/snapshot.jpg", params={"at": str(WALL_MS + 2700), "width": "160"}, headers=headers
        )
        assert then.headers["x-tiergate-at"] == str(WALL_MS + 2000)
    assert node.worker.pool.jobs == jobs + 1, "the second one came from the cache"
    none = await node.http.get(node.path + "/snapshot.jpg", params={"at": str(WALL_MS + 90_000)}, headers=headers)
    assert (none.status_code, none.json()["code"]) == (404, "media.play_no_picture_at")
    assert {r.function for r in await node.register()} == {"snapshot"}


@pytest.mark.fault("S21")
async def test_a_cached_snapshot_dies_with_its_footage(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    headers = await node.sign_in("operator")
    parameters = {"at": str(WALL_MS + 500)}
    assert (await node.http.get(node.path + "/snapshot.jpg", params=parameters, headers=headers)).status_code == 200
    await node.services.write(lambda c: c.execute(update(segment).values(state="deleted")))
    answer = await node.http.get(node.path + "/snapshot.jpg", params=parameters, headers=headers)
    assert answer.status_code == 404


class OwnAsLower:
    """A lower tier whose footage is this node's own."""

    def __init__(self, footage: Footage) -> None:
        self._footage = footage

    async def window(self, lease_id: str, camera_id: str, stream: str, from_ms: int, to_ms: int) -> list[Piece]:
        found = await self._footage.window(camera_id, stream, from_ms, to_ms)
        return [replace(piece, lease_id=lease_id) for piece in found]

    async def config(self, piece: Piece) -> StreamConfig:
        return await self._footage.config(replace(piece, lease_id=None))

    async def read(self, piece: Piece, offset: int, length: int) -> bytes:
        return await self._footage.read(replace(piece, lease_id=None), offset, length)


async def test_a_finished_picture_leaves_the_memory_by_itself_and_one_of_a_lower_tier_is_not_kept(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    own, hub, worker = node.playback.footage, node.live.hub, node.playback.worker

    kept = Snapshots(hub, own, worker, cache_s=3600)
    first = await kept.at(node.camera_id, "main", WALL_MS + 500)
    assert await kept.at(node.camera_id, "main", WALL_MS + 500) is first
    assert kept.cached_bytes == len(first.jpeg)

    short = Snapshots(hub, own, worker, cache_s=0.01)
    assert (await short.at(node.camera_id, "main", WALL_MS + 500)).jpeg == first.jpeg

    async def forgotten() -> bool:
        return short.cached_bytes == 0

    await until_async(forgotten, 10, "nobody asks for it again, and it is gone")

    below = Footage(node.services.catalog, Spools([node.spool]), make_store(node.services.settings), OwnAsLower(own))
    lower = Snapshots(hub, below, worker, cache_s=3600)
    assert (await lower.at(node.camera_id, "main", WALL_MS + 500, lease_id="L")).jpeg == first.jpeg
    assert lower.cached_bytes == 0
