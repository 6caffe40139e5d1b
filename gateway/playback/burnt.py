"""A clip with a watermark: the pictures of a clip decoded, marked and encoded by the worker, the sound as it is.

Belongs here: the words of the mark, the way of the pictures to the worker and back, the MP4 made of them as they come.
Does not belong here: who gets a clip with a watermark (`tiering.access.marks_export`), which footage it is made of
(`gateway.playback.clip`), drawing (`gateway.processes.marking`).

Every picture keeps its presentation time, so gaps and sound lie where they lie in the original clip. Nothing waits for
the end: a second of footage leaves when it is encoded, and whoever reads slowly slows the worker down.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from config.errors import Kind, TiergateError
from config.reasons import Language, Reason, text
from config.units import format_time_ms
from gateway.live.wire import Config, Unit
from gateway.playback.clip import Clip, Placed, placed, read
from gateway.playback.footage import Footage
from gateway.processes.worker_client import WorkerClient
from storage.media.access_unit import AccessUnit, StreamConfig, Track, VideoConfig
from storage.media.boxes import parse_moof
from storage.media.fmp4 import Sample, fragment, init_segment

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Words:
    """Who takes the clip, when and for which case."""

    unit: str
    person: str
    made_ms: int
    case_no: str | None

    def as_mark(self, language: Language) -> dict[str, Any]:
        """As the worker wants them. The time of the footage it adds itself."""
        who = f"{self.unit} {self.person}".strip()
        made = format_time_ms(self.made_ms, local=True)[:19].replace("T", " ")
        lines = [who, text(Reason("media.mark_made", {"at": made}), language)]
        if self.case_no:
            lines.append(text(Reason("media.mark_case", {"case": self.case_no}), language))
        return {"lines": lines, "across": who}


async def send(footage: Footage, clip: Clip, worker: WorkerClient, mark: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """The bytes of the MP4; how many is known at the end. Raises as `gateway.playback.clip.read` and
    `WorkerClient.burnt`, and then what was sent is no whole file."""
    muxer = _Muxer(clip.config)
    async with contextlib.aclosing(worker.burnt(mark, _pictures(footage, clip, muxer))) as made:
        async for message in made:
            if isinstance(message, Config):
                yield muxer.begin(message.stream.video)
            elif out := muxer.push(message.unit):
                yield out
    yield muxer.end()


async def _pictures(footage: Footage, clip: Clip, muxer: _Muxer) -> AsyncGenerator[Config | Unit, None]:
    """What the worker gets; the sound goes round it."""
    yield Config(0, clip.config)
    scale = clip.config.video.timescale
    reorder: int | None = None  #: with B-frames a picture comes so long before it is shown; footage is dated by coming
    async for group in read(footage, clip):
        for one in group:
            if one.track is Track.AUDIO:
                muxer.sound.append(one)
                continue
            try:
                samples = parse_moof(one.data).samples
            except ValueError as exc:
                raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc
            dts = one.time
            for sample in samples:
                reorder = sample.cto if reorder is None else reorder
                pts = dts + sample.cto
                wall_ns = one.wall_ms * _NS_PER_MS + (pts - reorder - one.time) * 1_000_000_000 // scale
                data = one.data[sample.offset : sample.offset + sample.size]
                yield Unit(AccessUnit(Track.VIDEO, dts, pts, sample.duration, wall_ns, sample.key, data), False)
                dts += sample.duration


class _Muxer:
    """Pictures as they come out of the encoder, in presentation order, and the sound that has come by: an MP4."""

    def __init__(self, config: StreamConfig) -> None:
        self.sound: deque[Placed] = deque()
        self._audio = config.audio
        self._scale = config.video.timescale
        self._video: VideoConfig | None = None
        self._group: list[AccessUnit] = []
        self._sequence = 0

    def begin(self, video: VideoConfig) -> bytes:
        if self._video is not None:  # one file has one set of parameters
            raise TiergateError(Kind.UNAVAILABLE, "media.live_transcode_failed")
        self._video = VideoConfig("h264", video.record, video.width, video.height, video.rfc6381, self._scale)
        return init_segment(StreamConfig(self._video, self._audio))

    def push(self, picture: AccessUnit) -> bytes:
        """What is complete now: fragments of a second at most, each group of pictures from its key frame on."""
        out = b""
        if self._group and (picture.key or picture.pts - self._group[0].pts >= self._scale):
            out = self._close(picture.pts)
        self._group.append(picture)
        return out

    def end(self) -> bytes:
        if self._video is None:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_undecodable")
        return self._close(None) + b"".join(self._sound_until(None))

    def _close(self, next_pts: int | None) -> bytes:
        """The group as a fragment, behind the sound of its time. A picture stands until the next, but where pictures
        are missing no longer than it was meant to."""
        group, self._group = self._group, []
        if not group:
            return b""
        times = [picture.pts for picture in group]
        last = group[-1]
        until = last.pts + last.duration if next_pts is None or next_pts - last.pts > self._scale else next_pts
        lengths = [b - a for a, b in zip(times, [*times[1:], until], strict=True)]
        samples = [Sample(p.data, length, p.key) for p, length in zip(group, lengths, strict=True)]
        sound = list(self._sound_until(until))
        self._sequence += 1
        return b"".join((*sound, fragment(Track.VIDEO, self._sequence, times[0], samples)))

    def _sound_until(self, ticks: int | None) -> list[bytes]:
        rate = self._audio.timescale if self._audio is not None else 1
        found: list[bytes] = []
        while self.sound and (ticks is None or self.sound[0].time * self._scale < ticks * rate):
            self._sequence += 1
            one = self.sound.popleft()
            found.append(placed(one.data, one.time, self._sequence))
        return found
