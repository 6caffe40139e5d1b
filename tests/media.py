"""Real encoded media for tests, made in memory by PyAV (libx264, libx265, aac, G.711) and kept for the session.

Used by every room that needs pictures. Packets are Annex B with 90 kHz times; `access_units` turns them into what a
source yields.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from storage.media.access_unit import VIDEO_TIMESCALE, AccessUnit, AudioConfig, StreamConfig, Track
from storage.media.codecs import (
    VideoCodec,
    aac_config,
    annexb_to_access_unit,
    g711_config,
    is_parameter_set,
    merge_parameter_sets,
    split_annexb,
    video_config,
)

WALL_NS = 1_790_000_000_000_000_000  #: 2026-09-21T14:13:20Z


@dataclass(frozen=True, slots=True)
class EncodedPacket:
    data: bytes  #: Annex B
    pts: int  #: 90 kHz
    dts: int
    duration: int
    key: bool


def _pictures(count: int, width: int, height: int) -> list[np.ndarray]:
    """Moving bars with noise: every picture differs from every other."""
    random = np.random.default_rng(7)
    x = np.arange(width)[None, :]
    y = np.arange(height)[:, None]
    pictures = []
    for index in range(count):
        base = (x * 2 + y + index * 5) % 256
        noise = random.integers(0, 24, (height, width))
        grey = np.clip(base + noise, 0, 255).astype(np.uint8)
        pictures.append(np.stack((grey, np.roll(grey, index, 1), 255 - grey), axis=2))
    return pictures


def _encode_video(
    encoder: str, seconds: float, fps: int, gop: int, size: tuple[int, int], bframes: int, options: dict[str, str]
) -> tuple[EncodedPacket, ...]:
    width, height = size
    step = VIDEO_TIMESCALE // fps
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = Fraction(1, VIDEO_TIMESCALE)
    context.framerate = Fraction(fps)
    context.gop_size = gop
    context.max_b_frames = bframes
    context.options = {"preset": "ultrafast", **options}
    packets = []
    for index, picture in enumerate(_pictures(round(seconds * fps), width, height)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index * step, context.time_base
        packets += context.encode(frame)
    packets += context.encode(None)
    first = min(int(packet.dts or 0) for packet in packets)
    return tuple(
        EncodedPacket(bytes(p), int(p.pts or 0) - first, int(p.dts or 0) - first, step, bool(p.is_keyframe))
        for p in packets
    )


@lru_cache(maxsize=32)
def encode_h264(
    seconds: float = 2.0, *, fps: int = 25, gop: int = 25, size: tuple[int, int] = (320, 240), bframes: int = 0
) -> tuple[EncodedPacket, ...]:
    parameters = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:b-adapt=0:repeat-headers=1:threads=1"
    return _encode_video("libx264", seconds, fps, gop, size, bframes, {"x264-params": parameters})


@lru_cache(maxsize=32)
def encode_h265(
    seconds: float = 2.0, *, fps: int = 25, gop: int = 25, size: tuple[int, int] = (320, 240), bframes: int = 0
) -> tuple[EncodedPacket, ...]:
    parameters = (
        f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:b-adapt=0:repeat-headers=1:open-gop=0"
        ":log-level=none:pools=1:frame-threads=1"
    )
    return _encode_video("libx265", seconds, fps, gop, size, bframes, {"x265-params": parameters})


@lru_cache(maxsize=8)
def encode_aac(seconds: float = 2.0, *, rate: int = 16_000) -> tuple[AudioConfig, tuple[bytes, ...]]:
    """(config, raw AAC frames of 1024 samples)."""
    context = av.CodecContext.create("aac", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate, "mono", "fltp"
    context.open()
    frames: list[bytes] = []
    for index in range(round(seconds * rate / 1024)):
        t = (np.arange(1024) + index * 1024) / rate
        frame = av.AudioFrame.from_ndarray(np.sin(2 * np.pi * 440 * t)[None, :].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, index * 1024, Fraction(1, rate)
        frames += [bytes(packet) for packet in context.encode(frame)]
    return aac_config(bytes(context.extradata or b"")), tuple(frames)


@lru_cache(maxsize=8)
def encode_g711(
    seconds: float = 2.0, *, law: Literal["pcma", "pcmu"] = "pcma"
) -> tuple[AudioConfig, tuple[bytes, ...]]:
    """(config, runs of 320 bytes = 40 ms at 8 kHz)."""
    context = av.CodecContext.create("pcm_alaw" if law == "pcma" else "pcm_mulaw", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = 8000, "mono", "s16"
    frames: list[bytes] = []
    for index in range(round(seconds * 25)):
        t = (np.arange(320) + index * 320) / 8000
        tone = (np.sin(2 * np.pi * 440 * t) * 12000).astype(np.int16)[None, :]
        frame = av.AudioFrame.from_ndarray(tone, "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, index * 320, Fraction(1, 8000)
        frames += [bytes(packet) for packet in context.encode(frame)]
    return g711_config(law), tuple(frames)


def stream_config(
    codec: VideoCodec, packets: Sequence[EncodedPacket], audio: AudioConfig | None = None
) -> StreamConfig:
    sets: tuple[bytes, ...] = ()
    for packet in packets[:1]:
        found = [nal for nal in split_annexb(packet.data) if is_parameter_set(nal, codec)]
        sets = merge_parameter_sets(codec, sets, found)
    return StreamConfig(video_config(codec, sets), audio)


def access_units(
    codec: VideoCodec,
    packets: Sequence[EncodedPacket],
    *,
    audio: tuple[AudioConfig, Sequence[bytes]] | None = None,
    wall_ns: int = WALL_NS,
    dts_offset: int = 0,
    epoch: int = 0,
) -> list[AccessUnit]:
    """What a source yields for `packets` (and audio frames), in order of arrival."""
    units = []
    for packet in packets:
        data, key, _ = annexb_to_access_unit(packet.data, codec)
        wall = wall_ns + packet.dts * 1_000_000_000 // VIDEO_TIMESCALE
        dts, pts = packet.dts + dts_offset, packet.pts + dts_offset
        units.append(AccessUnit(Track.VIDEO, dts, pts, packet.duration, wall, key, data, epoch))
    if audio is not None:
        config, frames = audio
        rate = config.sample_rate_hz
        offset = dts_offset * rate // VIDEO_TIMESCALE
        position = 0
        for frame in frames:
            ticks = 1024 if config.codec == "aac" else len(frame) // config.channels
            wall = wall_ns + position * 1_000_000_000 // rate
            dts = position + offset
            units.append(AccessUnit(Track.AUDIO, dts, dts, ticks, wall, True, frame, epoch))
            position += ticks
        units.sort(key=lambda unit: unit.wall_ns)
    return units


@dataclass(frozen=True, slots=True)
class Decoded:
    """What PyAV makes of an MP4."""

    pictures: int
    video_times: tuple[int, ...]  #: pts of the decoded pictures, in ticks
    packet_times: tuple[int, ...]  #: dts of the video packets
    audio_samples: int
    size: tuple[int, int]  #: of the last picture


def decode_mp4(data: bytes) -> Decoded:
    """Decode a whole MP4; raises av.error.FFmpegError on damage."""
    times: list[int] = []
    dts: list[int] = []
    samples = 0
    size = (0, 0)
    with av.open(io.BytesIO(data), "r") as container:
        for stream in container.streams.video:
            stream.codec_context.options = {"err_detect": "explode"}
        for packet in container.demux():
            if packet.stream.type == "video" and packet.dts is not None:
                dts.append(packet.dts)
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    times.append(int(frame.pts or 0))
                    size = (frame.width, frame.height)
                elif isinstance(frame, av.AudioFrame):
                    samples += frame.samples
    return Decoded(len(times), tuple(times), tuple(dts), samples, size)
