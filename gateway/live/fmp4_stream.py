"""The live fMP4 form of a stream: one CMAF fragment per access unit on a timeline that never goes back. (pure)

Belongs here: decode times across epochs, init segment, MIME string, the JSON text that announces them.
Does not belong here: who watches and how much is buffered (`gateway.live.hub`), sockets (`gateway.web.routers.live`).

A player keeps one SourceBuffer for as long as its tile lives. The camera's clock may jump at each epoch; the timeline
here does not: a new epoch continues where the last picture ended, so that the player runs on without a hole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.boxes import rescale
from storage.media.fmp4 import Sample, fragment, init_segment

_NS = 1_000_000_000
#: An audio unit whose clock differs from the picture's by more than this is anchored anew by its arrival.
_AUDIO_DRIFT_S = 2


def tracks(config: StreamConfig, audio: bool) -> tuple[Track, ...]:
    """What a browser can be given in one SourceBuffer: AAC with the picture, G.711 never (MEASUREMENTS D4)."""
    if audio and config.audio is not None and config.audio.codec == "aac":
        return (Track.VIDEO, Track.AUDIO)
    return (Track.VIDEO,)


def mime(config: StreamConfig, audio: bool = False) -> str:
    codecs = [config.video.rfc6381]
    if Track.AUDIO in tracks(config, audio) and config.audio is not None:
        codecs.append(config.audio.rfc6381)
    return f'video/mp4; codecs="{",".join(codecs)}"'


def init(config: StreamConfig, audio: bool = False) -> bytes:
    return init_segment(config, tracks(config, audio))


def announcement(config: StreamConfig, stream: str, epoch: int, audio: bool = False, **more: Any) -> dict[str, Any]:
    """The text message before each init segment."""
    return {
        "mime": mime(config, audio),
        "width": config.video.width,
        "height": config.video.height,
        "codec": config.video.rfc6381,
        "stream": stream,
        "epoch": epoch,
        **more,
    }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit stands in the live timeline."""

    sequence: int
    decode_time: int  #: ticks of its own track's timescale


class Timeline:
    """Decode times of one stream from its first unit on, in both tracks' timescales."""

    def __init__(self) -> None:
        self._config: StreamConfig | None = None
        self._sequence = 0
        self._video_shift: int | None = None  #: added to a picture's dts; None until the epoch's first picture
        self._audio_shift: int | None = None
        self._video_last = -1
        self._video_end = 0  #: ticks at which the last picture ends
        self._audio_end = 0
        self._anchor_time = 0  #: timeline ticks of the epoch's first picture …
        self._anchor_ns = 0  #: … and its arrival

    def start(self, config: StreamConfig) -> None:
        """A new epoch: continue behind the last picture."""
        if self._config is not None and config.video.timescale != self._config.video.timescale:
            self._video_end = rescale(self._video_end, self._config.video.timescale, config.video.timescale)
            self._video_last = self._video_end - 1
        self._config = config
        self._video_shift = self._audio_shift = None

    def place(self, unit: AccessUnit) -> Place | None:
        """None of audio before the first picture, and of units that would go back."""
        if self._config is None:
            return None
        placed = self._place_video(unit) if unit.track is Track.VIDEO else self._place_audio(unit, self._config)
        if placed is None:
            return None
        self._sequence += 1
        return Place(self._sequence, placed)

    def _place_video(self, unit: AccessUnit) -> int | None:
        if self._video_shift is None:
            self._video_shift = self._video_end - unit.dts
            self._anchor_time, self._anchor_ns = self._video_end, unit.wall_ns
        time = unit.dts + self._video_shift
        if time <= self._video_last:
            return None
        self._video_last = time
        self._video_end = max(self._video_end, time + max(unit.duration, 1))
        return time

    def _place_audio(self, unit: AccessUnit, config: StreamConfig) -> int | None:
        if config.audio is None or self._video_shift is None:
            return None
        rate = config.audio.timescale
        base = rescale(self._anchor_time, config.video.timescale, rate)
        by_arrival = base + (unit.wall_ns - self._anchor_ns) * rate // _NS
        time = by_arrival if self._audio_shift is None else unit.dts + self._audio_shift
        if abs(time - by_arrival) > _AUDIO_DRIFT_S * rate:
            self._audio_shift, time = None, by_arrival
        time = max(time, self._audio_end)
        if self._audio_shift is None:
            self._audio_shift = time - unit.dts
        if time < 0:
            return None
        self._audio_end = time + max(unit.duration, 1)
        return time


def mux(unit: AccessUnit, place: Place) -> bytes:
    """``prft moof mdat`` of one unit; `prft` carries its true arrival time to every player and tier."""
    sample = Sample(unit.data, max(unit.duration, 1), unit.key, unit.pts - unit.dts)
    return fragment(unit.track, place.sequence, place.decode_time, (sample,), unit.wall_ns)
