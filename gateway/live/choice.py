"""Which stream a viewer gets, and how. (pure)

The rule of DESIGN §6 "Browsers": H.265 where the viewer can, else the camera's H.264 stream, else one counted
transcode, else a sentence: never black. Belongs here: the decision. Does not belong here: finding out what a camera
has, or doing it.

What a camera sends is known from its status; a stream never opened is unknown. Then it is tried, and whoever watches
asks again once its parameters have come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from config.reasons import Reason

Codec = Literal["h264", "h265"]
Transport = Literal["mse", "file", "whep"]


class Path(Enum):
    PASS = "pass"  # noqa: S105  # the bytes of the camera, not a password
    TRANSCODE = "transcode"  #: H.264 by the worker


@dataclass(frozen=True, slots=True)
class Offered:
    """One stream of a camera, as far as known."""

    codec: Codec | None = None
    b_frames: bool | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    stream: str
    path: Path
    note: Reason | None = None  #: why it is not what was asked for


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: Reason


def codec_of(rfc6381: str | None) -> Codec | None:
    """The codec of a camera_status row."""
    if not rfc6381:
        return None
    return "h264" if rfc6381.startswith("avc") else "h265" if rfc6381[:4] in ("hvc1", "hev1") else None


def parse_can(text: str | None, transport: Transport) -> frozenset[Codec]:
    """``?can=h264,h265``. Without it a browser is taken to decode H.264 alone, a program reading a file both."""
    if transport == "whep":
        return frozenset(("h264",))
    if text is None:
        return frozenset(("h264", "h265")) if transport == "file" else frozenset(("h264",))
    named = {word.strip().lower() for word in text.split(",")}
    able: set[Codec] = set()
    if named & {"h264", "avc", "avc1"}:
        able.add("h264")
    if named & {"h265", "hevc", "hvc1", "hev1"}:
        able.add("h265")
    return frozenset(able)


def choose(
    wanted: str,
    streams: Mapping[str, Offered],
    *,
    max_stream: str | None,
    can: frozenset[Codec],
    transport: Transport,
    transcoder: bool,
) -> Choice | Refusal:
    """What to serve to a viewer who asked for the stream `wanted` ("main" or "sub")."""
    allowed = {name: offered for name, offered in streams.items() if max_stream != "sub" or name == "sub"}
    note: Reason | None = None
    asked = wanted
    if wanted == "main" and max_stream == "sub":
        wanted, note = "sub", Reason("media.live_only_sub")
    if wanted not in allowed:
        if not allowed:
            return Refusal(Reason("media.live_no_stream", {"stream": asked}))
        wanted = next(iter(allowed))
        note = note or Reason("media.live_other_stream", {"stream": asked, "served": wanted})
    if not can:
        return Refusal(Reason("media.live_decodes_nothing"))
    first = allowed[wanted]
    if _fits(first, can, transport):
        return Choice(wanted, Path.PASS, note)
    others = [name for name, offered in allowed.items() if name != wanted and _fits(offered, can, transport)]
    # A stream whose codec is known to fit before one that would have to be tried.
    others.sort(key=lambda name: allowed[name].codec is None)
    if others:
        return Choice(others[0], Path.PASS, Reason("media.live_other_codec", {"stream": asked, "served": others[0]}))
    if "h264" in can and transport != "whep" and transcoder and first.codec == "h265":
        return Choice(wanted, Path.TRANSCODE, Reason("media.live_transcoded"))
    if transport == "whep":
        reason = "media.live_whep_b_frames" if first.codec == "h264" else "media.live_whep_codec"
        return Refusal(Reason(reason, {"codec": first.codec or ""} if reason.endswith("codec") else {}))
    return Refusal(Reason("media.live_codec", {"codec": "H.265" if first.codec == "h265" else "H.264"}))


def _fits(offered: Offered, can: frozenset[Codec], transport: Transport) -> bool:
    if offered.codec is None:
        return True
    if transport == "whep" and offered.b_frames:
        return False
    return offered.codec in can
