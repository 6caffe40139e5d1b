"""Framing of the live socket (DESIGN §3). (pure)

A recorder (or the relay, for a lower tier's cameras) listens on ``run/live/<shard>.sock``. A client sends one JSON
line ``{"op": "watch", "camera": id, "stream": "main"|"sub", "lease": id|null}`` and then only acknowledgements; the
server answers messages ``length:u32 kind:u8 body``. A recorder also knows ``"op": "key_frame"``: the config and the
newest key frame, and no more while one is at hand; else as ``watch``. `CONFIG` comes before the first unit and again
at each epoch; units begin at a key frame. Acknowledgement = u32 count of body bytes consumed since the last one: the
server keeps at most `WINDOW_BYTES` on their way, and a subscriber that falls behind is dropped forward to the next key
frame, never buffered without bound.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from storage.media.access_unit import AccessUnit, AudioConfig, StreamConfig, Track, VideoConfig

WINDOW_BYTES = 4 * 1024 * 1024  #: ≈ 8 s of a 4 Mbit/s stream; a GOP of 2 s with a large key frame fits twice
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_HEAD = struct.Struct(">IB")
_UNIT = struct.Struct(">BBIqqIq")
_ACK = struct.Struct(">I")
_KEY, _REPLAY = 1, 2

Op = Literal["watch", "key_frame"]


class Message(IntEnum):
    CONFIG = 1
    UNIT = 2
    EVENT = 3  #: JSON: {"state": "offline"|"online"|"ended", "reason": {...}}


@dataclass(frozen=True, slots=True)
class Config:
    epoch: int
    stream: StreamConfig


@dataclass(frozen=True, slots=True)
class Unit:
    unit: AccessUnit
    replay: bool  #: from the part file, older than now: shown at once to reach the present


@dataclass(frozen=True, slots=True)
class Event:
    state: str
    reason: dict[str, Any] | None


def watch_request(camera: str, stream: str, lease: str | None = None, op: Op = "watch") -> bytes:
    return json.dumps({"op": op, "camera": camera, "stream": stream, "lease": lease}).encode() + b"\n"


def acknowledge(consumed_bytes: int) -> bytes:
    return _ACK.pack(consumed_bytes)


def _message(kind: Message, body: bytes) -> bytes:
    return _HEAD.pack(len(body), kind) + body


def encode_config(config: Config) -> bytes:
    return _message(
        Message.CONFIG, json.dumps({"epoch": config.epoch, **stream_config_to_json(config.stream)}).encode()
    )


def encode_event(state: str, reason: dict[str, Any] | None = None) -> bytes:
    return _message(Message.EVENT, json.dumps({"state": state, "reason": reason}).encode())


def encode_unit(unit: AccessUnit, replay: bool = False) -> bytes:
    flags = (_KEY if unit.key else 0) | (_REPLAY if replay else 0)
    head = _UNIT.pack(unit.track.value, flags, unit.epoch, unit.dts, unit.pts, unit.duration, unit.wall_ns)
    return _HEAD.pack(len(head) + len(unit.data), Message.UNIT) + head + unit.data


def encode(message: Config | Unit | Event) -> bytes:
    if isinstance(message, Unit):
        return encode_unit(message.unit, message.replay)
    if isinstance(message, Config):
        return encode_config(message)
    return encode_event(message.state, message.reason)


def parse_head(head: bytes) -> tuple[int, Message]:
    """(body length, kind) of a 5-byte head. Raises ValueError."""
    length, kind = _HEAD.unpack(head)
    if length > MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {length} bytes on the live socket")
    return length, Message(kind)


HEAD_BYTES = _HEAD.size
ACK_BYTES = _ACK.size


def parse_body(kind: Message, body: bytes) -> Config | Unit | Event:
    """Raises ValueError of another form: the peer is our own process, but one that decodes foreign pictures."""
    try:
        if kind is Message.UNIT:
            track, flags, epoch, dts, pts, duration, wall_ns = _UNIT.unpack_from(body)
            unit = AccessUnit(Track(track), dts, pts, duration, wall_ns, bool(flags & _KEY), body[_UNIT.size :], epoch)
            return Unit(unit, bool(flags & _REPLAY))
        value = json.loads(body)
        if kind is Message.CONFIG:
            return Config(value["epoch"], stream_config_from_json(value))
        return Event(value["state"], value["reason"])
    except (struct.error, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError(f"a message of another form on the live socket: {type(exc).__name__}") from exc


def stream_config_to_json(config: StreamConfig) -> dict[str, Any]:
    video, audio = config.video, config.audio
    return {
        "video": {
            "codec": video.codec,
            "record": base64.b64encode(video.record).decode(),
            "width": video.width,
            "height": video.height,
            "rfc6381": video.rfc6381,
            "timescale": video.timescale,
        },
        "audio": audio
        and {
            "codec": audio.codec,
            "record": base64.b64encode(audio.record).decode(),
            "sample_rate_hz": audio.sample_rate_hz,
            "channels": audio.channels,
            "rfc6381": audio.rfc6381,
        },
    }


def stream_config_from_json(value: dict[str, Any]) -> StreamConfig:
    video = VideoConfig(**{**value["video"], "record": base64.b64decode(value["video"]["record"])})
    audio = value["audio"] and AudioConfig(**{**value["audio"], "record": base64.b64decode(value["audio"]["record"])})
    return StreamConfig(video, audio)
