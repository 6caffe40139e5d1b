"""What passes between a camera source and everything behind it. (pure)

A `Source` (gateway.ingest) yields `StreamConfig` once per parameter-set change and `AccessUnit`s in decoding order.
The segmenter, the live socket, the fan-out and the relay all speak these types and no others.

Timescales: video and the G.711/AAC audio are both carried in ticks of their track's `timescale` (video 90 000,
audio its sample rate), 64-bit, unwrapped by the source; `wall_ns` is the arrival on *our* clock, smoothed by the
source, UTC nanoseconds. A jump that a source cannot repair begins a new `epoch`, and an epoch begins a new run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

VIDEO_TIMESCALE = 90_000  #: RFC 6184 §8.2.1, RFC 7798 §7.1: the RTP clock of H.264 and H.265


class Track(Enum):
    """The two tracks a camera stream may have; the value is the MP4 track id."""

    VIDEO = 1
    AUDIO = 2


@dataclass(frozen=True, slots=True)
class VideoConfig:
    """Parameters of a video track, ready for an MP4 sample entry."""

    codec: Literal["h264", "h265"]
    record: bytes  #: AVCDecoderConfigurationRecord or HEVCDecoderConfigurationRecord (ISO/IEC 14496-15)
    width: int  #: pixels after cropping
    height: int
    rfc6381: str  #: "avc1.640028", "hvc1.1.6.L120.90"
    timescale: int = VIDEO_TIMESCALE


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """Parameters of an audio track."""

    codec: Literal["aac", "pcma", "pcmu"]
    record: bytes  #: AudioSpecificConfig for AAC (ISO/IEC 14496-3), empty for G.711
    sample_rate_hz: int
    channels: int
    rfc6381: str  #: "mp4a.40.2"; "alaw"/"ulaw" for G.711, which has no registered MP4 string

    @property
    def timescale(self) -> int:
        return self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """All that is constant within one run."""

    video: VideoConfig
    audio: AudioConfig | None = None


@dataclass(slots=True)
class AccessUnit:
    """One coded picture or audio frame.

    `data` of video is length-prefixed NAL units (4-byte lengths, ISO/IEC 14496-15) without access unit delimiters and
    without parameter sets equal to the config's; SEI stays (GB 35114 signatures travel in it). Of audio: one raw AAC
    frame, or a run of G.711 bytes.
    """

    track: Track
    dts: int  #: ticks of the track's timescale, strictly increasing within an epoch
    pts: int  #: ticks; differs from dts only with B-frames
    duration: int  #: ticks, > 0; for the newest picture an estimate that the next one corrects
    wall_ns: int  #: arrival on our clock, UTC
    key: bool  #: a decoder may start here (IDR/IRAP); True for every audio frame
    data: bytes
    epoch: int = 0  #: grows with each break that needs a new run

    @property
    def opens_group(self) -> bool:
        """A key picture: a group of pictures, a file or a clip may begin here."""
        return self.key and self.track is Track.VIDEO
