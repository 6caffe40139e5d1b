"""Software of others reads a camera over RTSP: libavformat, Debian's ffmpeg, GStreamer; every picture, byte for byte.

What they are given is what the recorder's live socket carried: the same access units in the same order, no other
between them, the parameter sets before each key picture added; and a decoder takes every one.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import pytest
from av.video.codeccontext import VideoCodecContext

from storage.media.access_unit import AccessUnit
from storage.media.codecs import VideoCodec, annexb_to_access_unit
from tests.gateway.live.serving import shifted
from tests.gateway.rtsp.talk import Served, login_of, served, stream_password
from tests.gateway.watching import rig
from tests.media import EncodedPacket, access_units, encode_aac, encode_g711, encode_h264, encode_h265, stream_config

COUNT = 60
GST = Path(__file__).parents[2] / "parts" / "gst_rtsp_client.py"
#: Large pictures, so that NAL units are fragmented; B-frames, so that presentation is not decoding order.
SOURCES: dict[str, tuple[VideoCodec, Any]] = {
    "h264": ("h264", encode_h264(2.0, gop=25, size=(640, 360))),
    "h264 with B-frames": ("h264", encode_h264(2.0, gop=25, bframes=2)),
    "h265": ("h265", encode_h265(2.0, gop=25, size=(640, 360))),
}


@pytest.fixture
async def rtsp(tmp_path: Path) -> AsyncIterator[Served]:
    async with rig(tmp_path) as node, served(node) as made:
        yield made


def same(received: Sequence[bytes], codec: VideoCodec, sent: Sequence[AccessUnit]) -> None:
    """`received` (Annex B) is an unbroken stretch of `sent`, again and again, from a key picture on."""
    units = [annexb_to_access_unit(data, codec) for data in received]
    carried = [unit.data for unit in sent]
    first = carried.index(units[0][0])
    assert units[0][1], "the first picture is a key picture"
    assert [data for data, _, _ in units] == [carried[(first + n) % len(carried)] for n in range(len(units))]
    assert all(sets for _, key, sets in units if key)


def decoded(received: Iterable[bytes], codec: VideoCodec) -> int:
    """How many pictures a strict decoder makes of them."""
    context = av.CodecContext.create("hevc" if codec == "h265" else "h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.options = {"err_detect": "explode"}
    pictures = 0
    for data in received:
        pictures += len(context.decode(av.Packet(data)))
    return pictures + len(context.decode(None))


def pictures_of(codec: VideoCodec, packets: Sequence[EncodedPacket]) -> list[bytes]:
    """SHA-256 of each picture as it is shown, decoded from the source itself."""
    context = av.CodecContext.create("hevc" if codec == "h265" else "h264", "r")
    assert isinstance(context, VideoCodecContext)
    frames = [frame for packet in packets for frame in context.decode(av.Packet(packet.data))] + context.decode(None)
    hashes = [hashlib.sha256(frame.to_ndarray(format="yuv420p").tobytes()).hexdigest().encode() for frame in frames]
    assert len(set(hashes)) == len(packets), "every picture differs from every other"
    return hashes


def with_login(url: str, login: tuple[str, str]) -> str:
    return url.replace("rtsp://", f"rtsp://{quote(login[0])}:{quote(login[1])}@")


def read_by_libav(url: str, count: int) -> tuple[list[bytes], dict[str, int]]:
    """(pictures as packets, packets by kind)."""
    found: list[bytes] = []
    kinds: dict[str, int] = {}
    with av.open(url, options={"rtsp_transport": "tcp", "timeout": "20000000"}) as container:
        for packet in container.demux():
            kinds[packet.stream.type] = kinds.get(packet.stream.type, 0) + 1
            if packet.stream.type == "video":
                found.append(bytes(packet))
            if len(found) == count:
                return found, kinds
    raise AssertionError("the stream ended")


async def foreign(*argv: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out, err.decode(errors="replace")


@pytest.mark.parametrize("name", SOURCES)
async def test_libavformat_reads_every_picture(rtsp: Served, name: str) -> None:
    codec, packets = SOURCES[name]
    units = access_units(codec, packets)
    rtsp.node.camera.config(stream_config(codec, packets))
    login = login_of(await stream_password(rtsp.node))
    async with rtsp.node.camera.playing(units, lambda turn: shifted(units, turn * 180_000)):
        received, _ = await asyncio.to_thread(read_by_libav, with_login(rtsp.url(), login), COUNT)
    same(received, codec, units)
    assert decoded(received, codec) == COUNT


@pytest.mark.parametrize("name", SOURCES)
async def test_gstreamer_reads_every_picture(rtsp: Served, name: str) -> None:
    codec, packets = SOURCES[name]
    units = access_units(codec, packets)
    rtsp.node.camera.config(stream_config(codec, packets))
    login = login_of(await stream_password(rtsp.node))
    async with rtsp.node.camera.playing(units, lambda turn: shifted(units, turn * 180_000)):
        code, out, err = await foreign(
            "/usr/bin/python3", str(GST), rtsp.url(), codec, str(COUNT), stdin="\n".join((*login, "")).encode()
        )
    assert code == 0, err
    received = []
    while out:
        size = int.from_bytes(out[:4], "big")
        received.append(out[4 : 4 + size])
        out = out[4 + size :]
    same(received, codec, units)
    assert decoded(received, codec) == COUNT


@pytest.mark.parametrize("name", ["h264", "h265"])
async def test_ffmpeg_of_the_system_decodes_every_picture_and_says_nothing_of_errors(rtsp: Served, name: str) -> None:
    """It asks for UDP first, is refused, and comes back over TCP."""
    codec, packets = SOURCES[name]
    units = access_units(codec, packets)
    rtsp.node.camera.config(stream_config(codec, packets))
    login = login_of(await stream_password(rtsp.node))
    async with rtsp.node.camera.playing(units, lambda turn: shifted(units, turn * 180_000)):
        code, out, err = await foreign(
            "ffmpeg", "-v", "error", "-xerror", "-i", with_login(rtsp.url(), login), "-frames:v", str(COUNT),
            "-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "-",
        )  # fmt: skip
    assert code == 0
    assert [line.partition("]")[2].strip() for line in err.splitlines()] == [
        "method SETUP failed: 461 Unsupported Transport"
    ]
    hashes = [line.split(b",")[-1].strip() for line in out.splitlines() if not line.startswith(b"#")]
    shown = pictures_of(codec, packets)
    first = shown.index(hashes[0])
    assert hashes == [shown[(first + n) % len(shown)] for n in range(COUNT)]


@pytest.mark.parametrize("sound", ["aac", "pcma", "pcmu"])
async def test_sound_comes_along_where_the_camera_sends_it(rtsp: Served, sound: str) -> None:
    packets = SOURCES["h264"][1]
    audio = encode_aac(2.0) if sound == "aac" else encode_g711(2.0, law=sound)
    units = access_units("h264", packets, audio=audio)
    rtsp.node.camera.config(stream_config("h264", packets, audio[0]))
    login = login_of(await stream_password(rtsp.node))
    pace_s = 2.0 / len(units)
    async with rtsp.node.camera.playing(units, lambda turn: shifted_both(units, turn, audio[0].sample_rate_hz), pace_s):
        _, kinds = await asyncio.to_thread(read_by_libav, with_login(rtsp.url(), login), COUNT)
        code, out, err = await foreign(
            "ffmpeg", "-v", "error", "-xerror", "-rtsp_transport", "tcp", "-i", with_login(rtsp.url(), login),
            "-vn", "-t", "1", "-f", "s16le", "-",
        )  # fmt: skip
    assert kinds["audio"] >= 10
    assert (code, err) == (0, "")
    assert len(out) >= audio[0].sample_rate_hz  # half a second of 16 bit samples
    assert any(out), "it is not silence"


def shifted_both(units: Sequence[AccessUnit], turn: int, rate: int) -> list[AccessUnit]:
    by_track = {True: shifted(units, turn * 180_000), False: shifted(units, turn * 2 * rate)}
    return [by_track[unit.track.value == 1][index] for index, unit in enumerate(units)]


async def test_whoever_has_no_password_reads_nothing(rtsp: Served) -> None:
    codec, packets = SOURCES["h264"]
    units = access_units(codec, packets)
    rtsp.node.camera.config(stream_config(codec, packets))
    made = await stream_password(rtsp.node)
    async with rtsp.node.camera.playing(units, lambda turn: shifted(units, turn * 180_000)):
        for login in ((made["username"], "wrong"), (made["owner_name"], made["password"]), ("admin", "admin")):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                await asyncio.to_thread(read_by_libav, with_login(rtsp.url(), login), 1)
    assert await rtsp.node.register() == []
