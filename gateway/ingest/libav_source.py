"""The libav source: RTSP over TCP through PyAV, one thread per stream. Takes everything that libavformat takes.

Belongs here: opening, packets to access units, the clocks of both tracks. Does not belong here: reconnecting, files.

Facts that shaped it (MEASUREMENTS C3, A5, B2c): ``av.open(timeout=)`` takes the GIL around every poll and collapses
with many cameras, so libavformat's own ``timeout`` (µs) bounds reads; it fires after about twice its value. The first
packet has neither dts nor pts and is the key frame. A blocked demux cannot be interrupted, and a container must be
closed by the thread that demuxes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from config.clock import Clock
from config.errors import TiergateError
from config.redact import with_credentials
from gateway.cameras.address import pinned_url
from gateway.ingest.arrival import ArrivalClock
from gateway.ingest.libav_confine import confined_to, was_refused
from gateway.ingest.libav_errors import source_error
from gateway.ingest.source import RELAXED_S, GapCause, SourceError, StreamAddress
from gateway.ingest.timestamps import Timestamps
from storage.media.access_unit import VIDEO_TIMESCALE, AccessUnit, AudioConfig, StreamConfig, Track
from storage.media.codecs import (
    VideoCodec,
    aac_config,
    annexb_to_access_unit,
    g711_config,
    has_picture,
    merge_parameter_sets,
    parameter_sets_of_extradata,
    video_config,
)

_log = logging.getLogger(__name__)

# libav writes whole URLs into its log; what matters comes as an exception.
av.logging.set_level(None)

SCHEMES = frozenset({"rtsp", "rtsps"})
_CODECS: dict[str, VideoCodec] = {"h264": "h264", "hevc": "h265"}
_NS = 1_000_000_000
#: A read that took longer than this found nothing waiting.
_WAITED_NS = 2_000_000

#: Opening is some questions and answers; each may take nearly one timeout.
_OPEN_TIMEOUTS = 4
#: Small enough to be open in 0.2 s, large enough not to lose the first key frame (MEASUREMENTS B2c).
_PROBE_BYTES = 200_000
_PROBE_US = 100_000

#: Pictures without parameter sets (in band or in the SDP) after which the stream is given up.
_PICTURES_WITHOUT_SETS = 500
#: Pictures to wait for the first sound of a track that was declared: some cameras declare one and send nothing (A29).
_PICTURES_WITHOUT_SOUND = 15
#: Guessed duration of a picture until two have been seen: 25 per second.
_GUESS_TICKS = VIDEO_TIMESCALE // 25
#: More pictures than any reordering holds back; after them the presentation time must do.
_TIMELESS_MAX = 16
_LONGEST_PICTURE_TICKS = 5 * VIDEO_TIMESCALE


def _check_scheme(url: str) -> None:
    scheme = urlsplit(url).scheme.lower()
    if scheme not in SCHEMES:
        raise SourceError(GapCause.UNSUPPORTED, "camera.scheme_refused", scheme=scheme[:20] or "?")


class LibavSource:
    """See `gateway.ingest.source.Source`."""

    def __init__(
        self, address: StreamAddress, networks: Sequence[str], clock: Clock, *, read_timeout_s: float = 4.0
    ) -> None:
        self._address = address
        self._networks = networks
        self._clock = clock
        self._timeout_us = max(1, round(read_timeout_s * 1e6))
        self._stopped = False
        self.relaxed = False
        self._container: InputContainer | None = None

    def open(self) -> None:
        _check_scheme(self._address.url)
        try:
            url = pinned_url(self._address.url, self._networks)
        except TiergateError as error:
            cause = GapCause.NETWORK if error.reason.code == "camera.address_unresolvable" else GapCause.UNSUPPORTED
            raise SourceError(cause, error.reason.code, **error.reason.params) from error
        options = {
            "rtsp_transport": "tcp",
            "timeout": str(self._timeout_us),
            "probesize": str(_PROBE_BYTES),
            "analyzeduration": str(_PROBE_US),
            "allowed_media_types": "video+audio" if self._address.audio else "video",
            "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls,crypto",
        }
        try:
            with confined_to(urlsplit(url).hostname or "", _OPEN_TIMEOUTS * self._timeout_us / 1e6):
                container = av.open(
                    with_credentials(url, self._address.username, self._address.password),
                    "r",
                    format="rtsp",
                    options=options,
                )
        except (OSError, av.error.FFmpegError, ValueError) as error:
            # "from None": libav's text and arguments hold the password, and tracebacks are logged.
            if was_refused():
                raise SourceError(GapCause.UNSUPPORTED, "camera.redirected") from None
            raise source_error(error, opening=True) from None
        self._container = container

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def __iter__(self) -> Iterator[StreamConfig | AccessUnit]:
        container = self._container
        if container is None:
            raise RuntimeError("iterated before open")
        if not container.streams.video:
            raise SourceError(GapCause.UNSUPPORTED, "camera.no_video")
        reader = _Reader(container, self._address.audio, self._clock)
        packets = container.demux(reader.streams)
        monotonic_ns = self._clock.monotonic_ns
        try:
            while not self._stopped:
                asked_ns = monotonic_ns()
                try:
                    packet = next(packets)
                except StopIteration:
                    raise SourceError(GapCause.CAMERA_OFFLINE, "camera.ended") from None
                waited = monotonic_ns() - asked_ns > _WAITED_NS
                reader.take(packet)
                if reader.out:
                    items, reader.out = reader.out, []
                    yield from items
                # A read that had to wait has emptied the socket. While nobody watches, let the kernel collect: each RTP
                # packet would wake this thread otherwise. What has arrived is handed on first: it is not safe in here.
                if waited and self.relaxed:
                    time.sleep(RELAXED_S)
        except (OSError, av.error.FFmpegError) as error:
            if not self._stopped:
                raise source_error(error, opening=False) from None


class _Reader:
    """Packets in, configs and units out; the state of one session."""

    def __init__(self, container: InputContainer, audio: bool, clock: Clock) -> None:
        video = container.streams.video[0]
        codec = _CODECS.get(video.codec_context.name)
        if codec is None:
            raise SourceError(GapCause.UNSUPPORTED, "camera.codec_unsupported", codec=video.codec_context.name)
        self._codec: VideoCodec = codec
        self._clock = clock
        self._video_index = video.index
        self._sets = self._extradata_sets(bytes(video.codec_context.extradata or b""))
        self._video_time = Timestamps(VIDEO_TIMESCALE)
        self._video_arrival = ArrivalClock()
        self._video_base = video.time_base or 0
        self._audio_index = -1
        self._audio: AudioConfig | None = None
        if audio and container.streams.audio:
            stream = container.streams.audio[0]
            self._audio = _audio_config(stream.codec_context)
            if self._audio is not None:
                self._audio_index = stream.index
                self._audio_base = stream.time_base or 0
                self._audio_time = Timestamps(self._audio.timescale)
                self._audio_arrival = ArrivalClock()
        self._audio_seen = False
        self._config: StreamConfig | None = None
        self._epoch = 0
        self._pictures = 0
        self._step = _GUESS_TICKS
        self._last_dts = -1
        #: Pictures that came before a time or before we know whether sound follows.
        self._timeless: list[tuple[bytes, bool, int | None, int]] = []
        self._held: list[AccessUnit] | None = [] if self._audio is not None else None
        self.out: list[StreamConfig | AccessUnit] = []  #: what the packets so far have given

    @property
    def streams(self) -> list[int]:
        return [index for index in (self._video_index, self._audio_index) if index >= 0]

    def _extradata_sets(self, extradata: bytes) -> tuple[bytes, ...]:
        try:
            return parameter_sets_of_extradata(self._codec, extradata)
        except ValueError:
            return ()

    def take(self, packet: Packet[Stream]) -> None:
        if packet.size == 0:
            return
        if packet.stream_index == self._video_index:
            self._take_video(packet)
        elif packet.stream_index == self._audio_index:
            self._take_audio(packet)

    # -- video -------------------------------------------------------------------------------------------------------

    def _take_video(self, packet: Packet[Stream]) -> None:
        arrival_ns = self._clock.wall_ns()
        try:
            data, key, sets = annexb_to_access_unit(bytes(packet), self._codec)
        except ValueError:
            return  # more NAL units than any picture has: hostile or broken, and not worth a reconnect
        self._pictures += 1
        if sets or self._config is None:
            self._see_sets(sets)
        if not data or self._config is None or (not key and len(data) < 64 and not has_picture(data, self._codec)):
            return
        dts, pts = packet.dts, packet.pts
        if dts is None:
            # libav knows no decode time before the first picture is reordered, and none at all of the very first.
            if pts is None or len(self._timeless) < _TIMELESS_MAX:
                self._timeless.append((data, key, pts, arrival_ns))
                return
            dts = pts
        if self._timeless:
            self._emit_timeless(dts)
        self._emit_video(dts, dts if pts is None else pts, data, key, arrival_ns)

    def _emit_timeless(self, following_dts: int) -> None:
        """Pictures without a decode time, counted back from the first that has one."""
        waiting, self._timeless = self._timeless, []
        known = [pts for _, _, pts, _ in waiting if pts is not None]
        for index, (data, key, pts, arrival_ns) in enumerate(waiting):
            dts = following_dts - (len(waiting) - index) * self._step
            if pts is None:
                pts = max(min(known) - self._step, dts) if known else dts
            self._emit_video(dts, pts, data, key, arrival_ns)

    def _emit_video(self, raw_dts: int, raw_pts: int, data: bytes, key: bool, arrival_ns: int) -> None:
        dts, pts, broke = self._video_time.place(raw_dts, raw_pts)
        if broke:
            self._epoch += 1
            self._video_arrival = ArrivalClock()
        elif self._last_dts >= 0 and 1 < dts - self._last_dts < _LONGEST_PICTURE_TICKS:
            self._step = dts - self._last_dts
        self._last_dts = dts
        wall_ns = self._video_arrival.observe(dts * _NS // VIDEO_TIMESCALE, arrival_ns)
        unit = AccessUnit(Track.VIDEO, dts, pts, self._step, wall_ns, key, data, self._epoch)
        if self._held is None:
            self.out.append(unit)
            return
        self._held.append(unit)
        if len(self._held) >= _PICTURES_WITHOUT_SOUND:
            self._release()

    def _see_sets(self, sets: tuple[bytes, ...]) -> None:
        merged = merge_parameter_sets(self._codec, self._sets, sets)
        if self._config is not None and merged == self._sets:
            return
        self._sets = merged
        try:
            video = video_config(self._codec, merged)
        except ValueError:
            if self._config is None and self._pictures > _PICTURES_WITHOUT_SETS:
                raise SourceError(GapCause.UNSUPPORTED, "camera.no_parameter_sets") from None
            return
        first = self._config is None
        if self._held:
            self._release()
        audio = self._audio if self._audio_seen else None
        config = StreamConfig(video, audio)
        if config == self._config:
            return
        self._config = config
        if not first:
            self._epoch += 1
        if self._held is None:
            self.out.append(config)

    def _release(self) -> None:
        """The first sound has come, or will not."""
        held, self._held = self._held or [], None
        if self._config is not None:
            if self._audio_seen:
                self._config = StreamConfig(self._config.video, self._audio)
            self.out.append(self._config)
        self.out += held

    # -- audio -------------------------------------------------------------------------------------------------------

    def _take_audio(self, packet: Packet[Stream]) -> None:
        audio = self._audio
        raw = packet.dts if packet.dts is not None else packet.pts
        if audio is None or raw is None or self._config is None:
            return
        arrival_ns = self._clock.wall_ns()
        if not self._audio_seen:
            self._audio_seen = True
            if self._held is not None:
                self._release()
            else:  # sound began late: a new run, because a file cannot gain a track
                self._config = StreamConfig(self._config.video, audio)
                self._epoch += 1
                self.out.append(self._config)
        data = bytes(packet)
        rate = audio.timescale
        ticks = round(raw * self._audio_base * rate)
        dts, _, broke = self._audio_time.place(ticks, ticks)
        if broke:
            self._audio_arrival = ArrivalClock()
        wall_ns = self._audio_arrival.observe(dts * _NS // rate, arrival_ns)
        duration = 1024 if audio.codec == "aac" else max(1, len(data) // audio.channels)
        self.out.append(AccessUnit(Track.AUDIO, dts, dts, duration, wall_ns, True, data, self._epoch))


def _audio_config(context: AudioCodecContext) -> AudioConfig | None:
    """None for sound that we do not carry: the picture matters more than a sentence about it."""
    name = context.name
    try:
        if name == "aac":
            return aac_config(bytes(context.extradata or b""))
        if name in ("pcm_alaw", "pcm_mulaw"):
            return g711_config("pcma" if name == "pcm_alaw" else "pcmu", context.sample_rate, context.channels or 1)
    except ValueError:
        pass
    _log.info("sound is left out", extra={"codec": name})
    return None


def libav_factory(
    networks: Sequence[str], clock: Clock, connect_timeout_s: float, media_timeout_s: float
) -> Callable[[StreamAddress], LibavSource]:
    """Sources of these networks. libav's read deadline fires after about twice its value, hence the half."""
    read_timeout_s = min(connect_timeout_s, media_timeout_s / 2)

    def make(address: StreamAddress) -> LibavSource:
        return LibavSource(address, networks, clock, read_timeout_s=read_timeout_s)

    return make
