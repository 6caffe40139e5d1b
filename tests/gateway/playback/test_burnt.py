"""A clip with a watermark through the whole web process and a real worker: who gets one, and what is in the file."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from config.ids import ulid
from gateway.processes import decoding, fonts
from gateway.processes.marking import Mark
from storage.catalog import cameras, grants, places
from storage.catalog.grants import GrantRow, TokenRow
from storage.media.access_unit import AccessUnit, Track
from storage.media.boxes import parse_moof, walk
from tests.gateway.watching import WALL_MS, Rig, rig
from tests.media import access_units, decode_mp4, encode_g711, encode_h264, encode_h265, stream_config
from tests.parts.wait import until_async
from tiering.access import Function

SIZE = (640, 360)
STEP = 9000  #: 10 pictures a second
PACKETS = encode_h264(4.0, fps=10, gop=10, size=SIZE)
UNITS = access_units("h264", PACKETS)
CONFIG = stream_config("h264", PACKETS)
G711, TONE = encode_g711(4.0)
WITH_SOUND = access_units("h264", PACKETS, audio=(G711, TONE))
SOUND = stream_config("h264", PACKETS, G711)
REORDERED = encode_h264(4.0, fps=10, gop=10, size=SIZE, bframes=2)

Counted = Callable[[object], None]

needs_chinese = pytest.mark.skipif(bool(fonts.lacking(None, "水印")), reason="no font with Chinese characters here")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


async def clip(node: Rig, headers: dict[str, str], from_s: float = 0, to_s: float = 4, **more: str) -> httpx.Response:
    window = {"from": str(WALL_MS + round(from_s * 1000)), "to": str(WALL_MS + round(to_s * 1000))}
    parameters = window | {"reason": "case 4711"} | more
    return await node.http.get(node.path + "/clip.mp4", params=parameters, headers=headers)


def planes(data: bytes) -> tuple[list[int], list[NDArray[np.int16]], list[NDArray[np.int16]]]:
    """Presentation times, luma and chroma (U over V) of every picture."""
    times, grey, colour = [], [], []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0):
            whole = frame.reformat(format="yuv420p").to_ndarray().astype(np.int16)
            times.append(int(frame.pts or 0))
            grey.append(whole[: frame.height])
            colour.append(whole[frame.height :])
    return times, grey, colour


def around(letters: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the blocks of 8 x 8 next to them: the time that is burnt in is another than that of `letters`."""
    height, width = letters.shape
    blocks = letters.reshape(height // 8, 8, width // 8, 8).any(axis=(1, 3))
    grown = np.pad(blocks, 1)
    near = np.zeros_like(blocks)
    for down in range(3):
        for along in range(3):
            near |= grown[down : down + blocks.shape[0], along : along + blocks.shape[1]]
    return near.repeat(8, axis=0).repeat(8, axis=1)


def psnr(a: NDArray[np.int16], b: NDArray[np.int16]) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def probe(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stderr == b"", "ffprobe complains"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def grey(size: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(b"\x80" * plane.buffer_size)
    return frame


def luma(lines: list[str], across: str, at_ms: int = WALL_MS) -> NDArray[np.uint8]:
    """An even picture with a mark."""
    painted = Mark(lines, across, None).paint(grey(SIZE), at_ms * 1_000_000).to_ndarray()
    return painted[: SIZE[1]].astype(np.uint8)


def touched(lines: list[str], across: str) -> NDArray[np.bool_]:
    """Which pixels a mark touches."""
    return np.asarray(luma(lines, across) != 128)


async def person_with(node: Rig, *functions: str) -> dict[str, str]:
    """Somebody without a role who was granted `functions` on the camera."""
    headers = await node.sign_in()
    principal = await node.services.principals.of(headers["Authorization"], None)
    assert principal is not None
    value = {"effect": "allow", "resources": {"cameras": [node.camera_id]}, "functions": list(functions),
             "conditions": {}}  # fmt: skip
    row = GrantRow(ulid(1, os.urandom(10)), "user", principal.id, value, node.services.now_ms(), "admin")
    await node.services.write(lambda c: grants.add_grant(c, row))
    return headers


async def token(node: Rig, *functions: str) -> dict[str, str]:
    department, now_ms = ulid(2, os.urandom(10)), node.services.now_ms() // 1000 * 1000
    value = {"effect": "allow", "resources": {"cameras": [node.camera_id]}, "functions": list(functions),
             "conditions": {}}  # fmt: skip
    row = TokenRow(
        ulid(3, os.urandom(10)), department, "Traffic Office", "desk 3", value, now_ms, now_ms + 3_600_000, "admin"
    )

    def make(connection: Any) -> None:
        places.add_department(connection, department, "Traffic Office", "210102", now_ms)
        grants.add_token(connection, row)
        cameras.change_camera(connection, node.camera_id, {"sharing": "departments"}, now_ms)

    await node.services.write(make)
    return {"Authorization": f"Bearer {node.services.tokens.sign(row)}"}


# --- who gets one ----------------------------------------------------------------------------------------------------


async def test_a_tokens_clip_is_burnt_and_cannot_be_had_otherwise(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    headers = await token(node, "export", "hold")
    answer = await clip(node, headers)
    assert (answer.status_code, answer.headers["x-tiergate-watermark"]) == (200, "true"), answer.text
    assert answer.headers["content-disposition"].endswith('_watermark.mp4"')
    assert decode_mp4(answer.content).pictures == 40
    refused = await clip(node, headers, watermark="false")
    assert (refused.status_code, refused.json()["code"]) == (403, "access.original")
    assert "hold" in refused.json()["en"] and refused.json()["zh"]
    rows = await node.register()
    assert [(r.function, r.watermark, r.result, r.bytes) for r in rows] == [
        ("export", True, "ended", len(answer.content))
    ]


@pytest.mark.fault("S20")
async def test_evidence_stays_as_recorded_for_those_who_may_make_it_and_for_nobody_else(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    duty, exporter = await node.sign_in("duty"), await person_with(node, "export")
    holder = await person_with(node, "export", "hold")
    for headers, more, wanted in (
        (duty, {}, "false"),
        (duty, {"watermark": "true"}, "true"),
        (duty, {"purpose": "drill"}, "true"),
        (duty, {"purpose": "drill", "watermark": "false"}, "false"),
        (holder, {}, "false"),
        (exporter, {}, "true"),
        (exporter, {"watermark": "false"}, "access.original"),
    ):
        answer = await clip(node, headers, 0, 1, **more)
        said = answer.headers.get("x-tiergate-watermark") or answer.json()["code"]
        assert said == wanted, (more, said)
        if said == "false":
            assert answer.headers["content-length"] == str(len(answer.content))
            with av.open(io.BytesIO(answer.content), "r") as container:
                data = [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]
            assert data == [u.data for u in UNITS][: len(data)] and len(data) >= 10
    marks = [r.watermark for r in await node.register()]
    assert marks == [False, True, True, False, False, True]
    listed = {}
    for name, headers in (("duty", duty), ("exporter", exporter), ("holder", holder)):
        listed[name] = (await node.http.get(node.path, headers=headers)).json()["original"]
    assert listed == {"duty": True, "exporter": False, "holder": True}


async def test_losing_the_right_to_evidence_ends_an_original_that_runs(node: Rig) -> None:
    """The running look is decided again with what it is: an original is not an export like any other."""
    await node.record(CONFIG, UNITS)
    headers = await person_with(node, "export", "hold")
    principal = await node.services.principals.of(headers["Authorization"], None)
    assert principal is not None
    looks = node.services.looks
    window: dict[str, Any] = {"from_ms": WALL_MS, "to_ms": WALL_MS + 1000, "purpose": "evidence"}
    async with (
        looks.open(principal, Function.EXPORT, node.camera_id, watermark=False, **window) as original,
        looks.open(principal, Function.EXPORT, node.camera_id, watermark=True, **window) as marked,
    ):
        (row,) = await node.services.read(lambda c: grants.grants_of(c, [("user", principal.id)]))
        value = row.value | {"functions": ["export"]}
        plain = GrantRow(ulid(9, os.urandom(10)), "user", principal.id, value, node.services.now_ms(), "admin")

        def narrow(connection: Any) -> None:
            grants.revoke_grant(connection, row.id, node.services.now_ms())
            grants.add_grant(connection, plain)

        await node.services.write(narrow)
        await looks.review()
        assert original.ended.is_set() and original.end_reason == "revoked"
        assert not marked.ended.is_set()


# --- what is in the file ---------------------------------------------------------------------------------------------


async def test_the_file_is_h264_with_the_times_the_sound_and_the_seam_of_the_original(
    node: Rig, tmp_path: Path, counted: Counted
) -> None:
    await node.record(SOUND, WITH_SOUND, segment_ms=2000)
    later = [replace(u, wall_ns=u.wall_ns + 10_000_000_000, epoch=1) for u in WITH_SOUND]
    await node.record(SOUND, later, to_store=True)
    duty = await node.sign_in("duty")
    original, burnt = await clip(node, duty, 0, 14), await clip(node, duty, 0, 14, watermark="true", case_no="A-7")
    assert burnt.status_code == 200, burnt.text
    for name in ("x-tiergate-gaps", "x-tiergate-start", "x-tiergate-end", "x-tiergate-damaged"):
        assert burnt.headers[name] == original.headers[name]
    assert json.loads(burnt.headers["x-tiergate-gaps"])[0]["at_s"] == 4.0
    (tmp_path / "burnt.mp4").write_bytes(burnt.content)
    found = probe(tmp_path / "burnt.mp4")
    video, audio = found["streams"]
    assert (video["codec_name"], video["width"], video["height"], video["has_b_frames"]) == ("h264", *SIZE, 0)
    assert (audio["codec_name"], audio["sample_rate"]) == ("pcm_alaw", "8000")
    packets = [p for p in found["packets"] if p["codec_type"] == "video"]
    assert packets[0]["flags"].startswith("K") and packets[0]["pts"] == 0, "not playable from the first picture on"
    assert [p["pts"] for p in packets] == list(range(0, 80 * STEP, STEP))
    a, b = decode_mp4(original.content), decode_mp4(burnt.content)
    assert (b.video_times, b.audio_samples) == (a.video_times, a.audio_samples)
    assert sounds(burnt.content) == sounds(original.content), "the sound is not as it was"
    kinds = [box.kind for box in walk(burnt.content)]
    assert kinds[:2] == [b"ftyp", b"moov"] and kinds[2::2] == [b"moof"] * len(kinds[2::2])
    moofs = [parse_moof(burnt.content[x.offset :]) for x in walk(burnt.content) if x.kind == b"moof"]
    numbers = [moof.sequence for moof in moofs]
    assert numbers == list(range(1, len(numbers) + 1))
    stand = {sample.duration for moof in moofs if moof.track is Track.VIDEO for sample in moof.samples}
    assert stand == {STEP}, "a picture stands too long or too short"
    counted(f"{len(packets)} pictures, {len(numbers)} fragments, {b.audio_samples} samples of sound")


def sounds(data: bytes) -> list[tuple[int, bytes]]:
    with av.open(io.BytesIO(data), "r") as container:
        return [(int(p.pts or 0), bytes(p)) for p in container.demux(container.streams.audio[0]) if p.size]


@pytest.mark.parametrize("kind", ["plain", "reordered", "h265"])
async def test_the_mark_is_in_every_picture_its_clock_runs_and_the_rest_is_as_it_was(
    node: Rig, kind: str, counted: Counted
) -> None:
    codec: Any = "h265" if kind == "h265" else "h264"
    packets = {"plain": PACKETS, "reordered": REORDERED}.get(kind) or encode_h265(4.0, fps=10, gop=10, size=SIZE)
    await node.record(stream_config(codec, packets), access_units(codec, packets))
    duty = await node.sign_in("duty")
    times, plain, plain_colour = planes((await clip(node, duty)).content)
    answer = await clip(node, duty, watermark="true", case_no="A-7")
    marked_times, marked, marked_colour = planes(answer.content)
    assert marked_times == times and len(times) == 40
    person = (await node.register())[-1].person
    letters = touched([f"tiergate {person}", "导出于 2026-09-21 22:13:20", "案件 A-7"], f"tiergate {person}")
    free = ~around(letters)
    inside, outside = [], []
    for before, after in zip(plain, marked, strict=True):
        inside.append(psnr(before[letters], after[letters]))
        outside.append(psnr(before[free], after[free]))
    colour = [psnr(a, b) for a, b in zip(plain_colour, marked_colour, strict=True)]
    counted(
        f"{100 * letters.mean():.1f} % letters at most {max(inside):.1f} dB, {100 * free.mean():.1f} % free of them at "
        f"least {min(outside):.1f} dB, colour at least {min(colour):.1f} dB"
    )
    assert max(inside) < 20 < 30 < min(outside)
    assert free.mean() > 0.5
    # The last line is the running time of the footage: of the four seconds each picture shows the one it was taken in.
    words = [f"tiergate {person}", "导出于 2026-09-21 22:13:20", "案件 A-7"], f"tiergate {person}"
    seconds = np.stack([luma(*words, WALL_MS + 1000 * n) for n in range(4)]).astype(np.int16)
    digits = (seconds != seconds[0]).any(axis=0)
    errors = np.array([np.mean((seconds[:, digits] - picture[digits]) ** 2, axis=1) for picture in marked])
    assert list(errors.argmin(axis=1)) == [n // 10 for n in range(40)], "the clock shows another time"
    right, others = errors.min(axis=1).max(), np.sort(errors, axis=1)[:, 1].min()
    counted(f"clock: {digits.sum()} pixels change; error {right:.0f} at most at the right time, {others:.0f} at others")


@needs_chinese
@pytest.mark.parametrize("size", [(16, 16), (96, 96), (176, 144), (360, 640), (1920, 1080)])
def test_a_mark_fits_into_every_picture_however_long_its_words_are(size: tuple[int, int]) -> None:
    who = "某某街道综合治理中心视频监控室 " * 4 + "欧阳明月"
    mark = Mark([who, "导出于 2026-09-21 22:13:20", "案件 " + "A123456789" * 12], who, None)
    before = grey(size)
    after = [mark.paint(before, (WALL_MS + ms) * 1_000_000).to_ndarray() for ms in (0, 400, 1000)]
    assert (after[0] == after[1]).all()
    assert size == (16, 16) or (after[0] != after[2]).any(), "the clock stands still"
    assert 0 < (after[0][: size[1]] != 128).mean() < 0.75
    assert (before.to_ndarray() == 128).all(), "a decoder still needs the picture that it gave"


@needs_chinese
async def test_chinese_words_are_letters_and_not_boxes(tmp_path: Path) -> None:
    assert fonts.lacking(None, "东门派出所 张伟 案件") == ""
    one, two = touched(["张伟"], "x"), touched(["李娜"], "x")
    assert (one != two).any()
    nothing = tmp_path / "none.ttf"
    assert fonts.lacking(None, "张伟 Li", places=[nothing]) == "张伟", "the library's own font is Latin"
    assert fonts.lacking(None, "Li Wei 4711-:", places=[nothing]) == ""


async def test_without_a_font_for_its_words_a_clip_is_refused_and_latin_ones_are_drawn(
    node: Rig, tmp_path: Path
) -> None:
    await node.record(CONFIG, UNITS)
    duty = await node.sign_in("duty")
    settings = node.services.settings
    english = settings.node.model_copy(update={"language": "en"})
    node.services.settings = settings.model_copy(update={"node": english})
    latin = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
    if not latin.exists():
        pytest.skip("fonts-dejavu is not on this machine")
    node.worker._font = latin
    assert (await clip(node, duty, 0, 1, watermark="true", case_no="A-7")).status_code == 200
    refused = await clip(node, duty, 0, 1, watermark="true", case_no="案件 7")
    assert (refused.status_code, refused.json()["code"]) == (503, "media.mark_glyphs")
    assert "案" in refused.json()["zh"] and "clips.font" in refused.json()["en"]
    node.worker._font = tmp_path / "none.ttf"
    refused = await clip(node, duty, 0, 1, watermark="true")
    assert (refused.status_code, refused.json()["code"]) == (503, "media.mark_font")
    assert node.worker._running_transcodes == 0
    assert [r.result for r in await node.register()] == ["ended", "error", "error"]


# --- bounds ----------------------------------------------------------------------------------------------------------


SMALL = encode_h264(4.0, fps=10, gop=10)
SMALL_CONFIG = stream_config("h264", SMALL)


def long(times: int) -> list[AccessUnit]:
    """`times` four seconds in one run."""
    units = access_units("h264", SMALL)
    ticks, ns = 40 * STEP, 4_000_000_000
    return [
        replace(u, dts=u.dts + n * ticks, pts=u.pts + n * ticks, wall_ns=u.wall_ns + n * ns)
        for n in range(times) for u in units
    ]  # fmt: skip


def idle(node: Rig) -> Callable[[], Awaitable[bool]]:
    async def is_idle() -> bool:
        return node.worker._running_transcodes == 0 and not node.services.looks.running

    return is_idle


@pytest.mark.real
async def test_a_client_that_goes_away_frees_the_worker_and_its_places_are_counted(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[asyncio.subprocess.Process] = []
    start = decoding._start

    async def watched(mode: str) -> asyncio.subprocess.Process:
        children.append(await start(mode))
        return children[-1]

    monkeypatch.setattr(decoding, "_start", watched)
    await node.record(SMALL_CONFIG, long(75))  # five minutes: far more than is encoded before the client goes
    duty = await node.sign_in("duty")
    window = {"from": str(WALL_MS), "to": str(WALL_MS + 300_000), "reason": "case 4711", "watermark": "true"}
    path = node.path + "/clip.mp4"
    async with node.http.stream("GET", path, params=window, headers=duty) as one:
        assert one.status_code == 200
        chunks = one.aiter_bytes()
        assert (await anext(chunks))[4:8] == b"ftyp"
        async with node.http.stream("GET", path, params=window, headers=duty) as two:
            assert two.status_code == 200
            third = await clip(node, duty, 0, 300, watermark="true")
            assert (third.status_code, third.json()["code"]) == (503, "media.live_transcode_busy")
        for _ in range(3):
            await anext(chunks)
        assert node.worker._running_transcodes >= 1 and len(node.services.looks.running) >= 1
    await until_async(idle(node), 20, "the worker is free")
    assert len(children) == 2
    assert all(child.returncode is not None for child in children), "a decoder child goes on for nobody"
    rows = await node.register()
    assert [r.result for r in rows] == ["ended", "ended", "error"] and all(r.closed_ms for r in rows)
    assert 0 < rows[0].bytes
    assert (await clip(node, duty, 0, 1, watermark="true")).status_code == 200


@pytest.mark.real
async def test_a_child_that_dies_breaks_the_transfer(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a clip must not look like a whole one."""
    children: list[asyncio.subprocess.Process] = []
    start = decoding._start

    async def watched(mode: str) -> asyncio.subprocess.Process:
        children.append(await start(mode))
        return children[-1]

    monkeypatch.setattr(decoding, "_start", watched)
    await node.record(SMALL_CONFIG, long(30))
    duty = await node.sign_in("duty")
    window = {"from": str(WALL_MS), "to": str(WALL_MS + 120_000), "reason": "case 4711", "watermark": "true"}
    with pytest.raises(httpx.RemoteProtocolError):
        async with node.http.stream("GET", node.path + "/clip.mp4", params=window, headers=duty) as answer:
            async for chunk in answer.aiter_bytes():
                assert chunk
                if children[0].returncode is None:
                    children[0].kill()
    assert len(children) == 1
    await until_async(idle(node), 20, "the worker is free")
    assert [r.result for r in await node.register()] == ["error"]


@pytest.mark.real
async def test_a_client_that_takes_nothing_loses_its_place(node: Rig) -> None:
    await node.record(SMALL_CONFIG, long(75))
    duty = await node.sign_in("duty")
    query = f"from={WALL_MS}&to={WALL_MS + 300_000}&reason=case+4711&watermark=true"
    head = f"GET {node.path}/clip.mp4?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: {duty['Authorization']}\r\n\r\n"
    host, port = node.base.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, (host, int(port)))
        await loop.sock_sendall(client, head.encode())
        assert await asyncio.wait_for(loop.sock_recv(client, 12), 60) == b"HTTP/1.1 200", "the clip begins"
        node.worker._stall_s = 1.0

        async def given_up() -> bool:
            return node.worker._running_transcodes == 0

        await until_async(given_up, 60, "the place is free")
        assert node.services.looks.running, "it is the worker that gave up"
    await until_async(idle(node), 20, "the look is over")
