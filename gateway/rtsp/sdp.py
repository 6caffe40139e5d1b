"""What a stream is, said to an RTSP client (RFC 8866, parameters of RFC 6184, 7798 and 3640). (pure)"""

from __future__ import annotations

import base64

from storage.media.access_unit import AudioConfig, StreamConfig
from storage.media.codecs import nal_type, parse_record

VIDEO_TRACK, AUDIO_TRACK = 1, 2
VIDEO_TYPE = 96
_AUDIO_TYPE = 97
_FIXED = {"pcmu": 0, "pcma": 8}  #: RFC 3551 §6, 8 kHz and one channel
_H265_NAMES = {32: "sprop-vps", 33: "sprop-sps", 34: "sprop-pps"}


def audio_type(audio: AudioConfig) -> int:
    """The RTP payload type of the sound."""
    plain = audio.sample_rate_hz == 8000 and audio.channels == 1
    return _FIXED[audio.codec] if plain and audio.codec in _FIXED else _AUDIO_TYPE


def describe(config: StreamConfig, session: int) -> bytes:
    """`session` distinguishes this description from others. Raises ValueError for a record that cannot be read."""
    lines = [
        "v=0",
        f"o=- {session} 1 IN IP4 0.0.0.0",
        "s=tiergate",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {VIDEO_TYPE}",
        f"a=rtpmap:{VIDEO_TYPE} {config.video.codec.upper()}/{config.video.timescale}",
        f"a=fmtp:{VIDEO_TYPE} {_video_parameters(config)}",
        f"a=control:trackID={VIDEO_TRACK}",
    ]
    if config.audio is not None:
        lines += _audio_lines(config.audio)
    return "\r\n".join((*lines, "")).encode()


def _video_parameters(config: StreamConfig) -> str:
    sets = parse_record(config.video.codec, config.video.record).parameter_sets
    if config.video.codec == "h264":
        first = next(nal for nal in sets if nal_type(nal, "h264") == 7)
        shown = ",".join(_text(nal) for nal in sets)
        return f"packetization-mode=1;profile-level-id={first[1:4].hex().upper()};sprop-parameter-sets={shown}"
    groups = (
        (name, [_text(nal) for nal in sets if nal_type(nal, "h265") == kind]) for kind, name in _H265_NAMES.items()
    )
    return ";".join(f"{name}={','.join(shown)}" for name, shown in groups)


def _audio_lines(audio: AudioConfig) -> list[str]:
    number = audio_type(audio)
    if audio.codec == "aac":
        mode = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
        name, more = "MPEG4-GENERIC", [f"a=fmtp:{number} {mode};config={audio.record.hex().upper()}"]
    else:
        name, more = audio.codec.upper(), []
    return [
        f"m=audio 0 RTP/AVP {number}",
        f"a=rtpmap:{number} {name}/{audio.sample_rate_hz}/{audio.channels}",
        *more,
        f"a=control:trackID={AUDIO_TRACK}",
    ]


def _text(nal: bytes) -> str:
    return base64.b64encode(nal).decode()
