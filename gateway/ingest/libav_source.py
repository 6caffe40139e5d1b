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
from gateway.ingest.libav_confine import Connections, confined_to, was_refused
from gateway.ingest.libav_errors import source_error
from gateway.ingest.lipsync import SoundClock
from gateway.ingest.source import RELAXED_S, GapCause, SourceError, StreamAddress
from gateway.ingest.timestamps import Timestamps
from storage.media.access_unit import VIDEO_TIMESCALE, AccessUnit, AudioConfig, StreamConfig, Track
from storage.media.codecs import (
    VideoCodec,
    aac_config,
    annexb_to_access_unit,
    g711_config,
    has_picture,
    is_complete,
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

#: Small enough to be open in 0.2 s, large enough not to lose the first key frame (MEASUREMENTS B2c).
_PROBE_BYTES = 200_000
_PROBE_US = 100_000

#: Pictures without parameter sets (in band or in the SDP) after which the stream is given up.
_PICTURES_WITHOUT_SETS = 500
#: Sets that come between key frames and are remembered for the next one.
_EARLY_SETS_MAX = 8
#: Pictures to wait for the first sound of a track that was declared: some cameras declare one and send nothing (A29).
_PICTURES_WITHOUT_SOUND = 15
#: A track that has been silent so long is not declared in files that begin then.
_SOUND_GONE_TICKS = 10 * VIDEO_TIMESCALE
#: Units that were there when we came (a pre-roll) and are dated together; more would be kept from watchers too long.
_BACKLOG_MAX = 500
#: libav hands a picture over when the next one begins; at most so much of that is taken off its arrival.
_HANDOVER_MAX_TICKS = VIDEO_TIMESCALE // 2
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
        self,
        address: StreamAddress,
        networks: Sequence[str],
        clock: Clock,
        *,
        read_timeout_s: float = 4.0,
        open_timeout_s: float = 8.0,
    ) -> None:
        """`read_timeout_s` without a byte end a read; `open_timeout_s` is all the time for opening, bytes or not."""
        self._address = address
        self._networks = networks
        self._clock = clock
        self._read_timeout_s = read_timeout_s
        self._open_timeout_s = open_timeout_s
        self._connections = Connections()
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
            "timeout": str(max(1, round(self._read_timeout_s * 1e6))),
            "probesize": str(_PROBE_BYTES),
            "analyzeduration": str(_PROBE_US),
            "fpsprobesize": "0",
            "allowed_media_types": "video+audio" if self._address.audio else "video",
            "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls,crypto",
        }
        asked_ns = self._clock.monotonic_ns()
        try:
            with confined_to(urlsplit(url).hostname or "", self._open_timeout_s, self._connections):
                container = av.open(
                    with_credentials(url, self._address.username, self._address.password),
                    "r",
                    format="rtsp",
                    options=options,
                )
        except (OSError, av.error.FFmpegError, ValueError) as error:
            failure = self._failure(error, (self._clock.monotonic_ns() - asked_ns) / _NS)
            self._connections.close()
            # "from None": libav's text and arguments hold the password, and tracebacks are logged.
            raise failure from None
        self._container = container
        if self._connections.was_cut:  # libav is content with a stream that ended while it was looking at it
            self.close()
            raise SourceError(GapCause.NETWORK, "camera.timeout")

    def _failure(self, error: Exception, took_s: float) -> SourceError:
        """Why opening failed after `took_s`."""
        if was_refused():
            return SourceError(GapCause.UNSUPPORTED, "camera.redirected")
        # Of an answer that did not come, or not in time, libav says "invalid data" as well.
        invalid = isinstance(error, av.error.InvalidDataError)
        if self._connections.was_cut or isinstance(error, TimeoutError) or (invalid and took_s >= self._read_timeout_s):
            code = "camera.timeout" if self._connections.established else "camera.unreachable"
            return SourceError(GapCause.NETWORK, code)
        if invalid and self._connections.lost:
            return SourceError(GapCause.CAMERA_OFFLINE, "camera.ended")
        return source_error(error, opening=True)

    def stop(self) -> None:
        self._stopped = True

    def cut(self) -> None:
        self._stopped = True
        self._connections.cut()

    def close(self) -> None:
        container, self._container = self._container, None
        try:
            if container is not None:
                container.close()
        finally:
            self._connections.close()

    def __iter__(self) -> Iterator[StreamConfig | AccessUnit]:
        container = self._container
        if container is None:
            raise RuntimeError("iterated before open")
        if not container.streams.video:
            raise SourceError(GapCause.UNSUPPORTED, "camera.no_video")
        reader = _Reader(container, self._address.audio, self._clock)
        packets = container.demux(reader.streams)
        monotonic_ns = self._clock.monotonic_ns
        error: SourceError | None = None
        try:
            while not self._stopped:
                asked_ns = monotonic_ns()
                try:
                    packet = next(packets)
                except StopIteration:
                    error = SourceError(GapCause.CAMERA_OFFLINE, "camera.ended")
                    break
                waited = monotonic_ns() - asked_ns > _WAITED_NS
                reader.take(packet)
                if waited or len(reader.out) > _BACKLOG_MAX:
                    reader.settle()
                if reader.out and reader.settled:
                    items, reader.out = reader.out, []
                    yield from items
                # A read that had to wait has emptied the socket. While nobody watches, let the kernel collect: each RTP
                # packet would wake this thread otherwise. What has arrived is handed on first: it is not safe in here.
                if waited and self.relaxed:
                    time.sleep(RELAXED_S)
        except (OSError, av.error.FFmpegError) as failure:
            if not self._stopped:
                error = source_error(failure, opening=False)
        if error is not None:
            yield from reader.finish()
            raise error


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
        self._declared_sets = self._extradata_sets(bytes(video.codec_context.extradata or b""))
        self._sets = self._declared_sets
        self._early_sets: tuple[bytes, ...] = ()  #: since the last key frame
        self._video_time = Timestamps(VIDEO_TIMESCALE)
        self._video_arrival = ArrivalClock()
        self._audio_index = -1
        self._audio: AudioConfig | None = None
        if audio and container.streams.audio:
            stream = container.streams.audio[0]
            self._audio = _audio_config(stream.codec_context)
            if self._audio is not None:
                self._audio_index = stream.index
                self._audio_base = stream.time_base or 0
                self._sound = SoundClock(self._audio.timescale)
        self._sound_at: int | None = None  #: picture time at which sound was last heard
        self._config: StreamConfig | None = None
        self._epoch = 0
        self._pictures = 0
        self._step = self._step_before = _GUESS_TICKS
        self._last_dts = -1
        #: Pictures that came before a time or before we know whether sound follows.
        self._timeless: list[tuple[bytes, bool, int | None, int | None, int]] = []
        self._held: list[AccessUnit] | None = [] if self._audio is not None else None
        self.out: list[StreamConfig | AccessUnit] = []  #: what the packets so far have given
        self.settled = False  #: what was there when we came is through

    @property
    def streams(self) -> list[int]:
        return [index for index in (self._video_index, self._audio_index) if index >= 0]

    def settle(self) -> None:
        """What waited for us came all at once; only its newest picture tells when the others were taken."""
        if self.settled or self._last_dts < 0:
            return
        self.settled = True
        self._video_arrival.redate()
        for unit in (*self.out, *(self._held or ())):
            if isinstance(unit, AccessUnit) and unit.epoch == self._epoch:
                scale = VIDEO_TIMESCALE
                if unit.track is Track.AUDIO and self._audio is not None:
                    scale = self._audio.timescale
                unit.wall_ns = self._video_arrival.at(unit.dts * _NS // scale)

    def finish(self) -> list[StreamConfig | AccessUnit]:
        """The stream has ended: what still waited for something, of a stream that was shorter than that."""
        if self._timeless:
            self._emit_timeless()
        if self._held is not None:
            self._release()
        self.settle()
        items, self.out = self.out, []
        return items

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
        if sets or self._config is None or (key and self._early_sets):
            self._see_sets(sets, key)
        if not data or self._config is None or (not key and len(data) < 64 and not has_picture(data, self._codec)):
            return
        dts, pts = packet.dts, packet.pts
        if dts is None and len(self._timeless) >= _TIMELESS_MAX:
            dts = pts
        if dts is None or self._timeless:
            # libav knows no decode time before the first picture is reordered, and none at all of the very first. Two
            # that have one tell the distance by which the others are counted back.
            self._timeless.append((data, key, dts, pts, arrival_ns))
            if dts is not None and sum(dts is not None for _, _, dts, _, _ in self._timeless) > 1:
                self._emit_timeless()
            return
        self._emit_video(dts, dts if pts is None else pts, data, key, arrival_ns)

    def _emit_timeless(self) -> None:
        waiting, self._timeless = self._timeless, []
        shown = [pts for _, _, _, pts, _ in waiting if pts is not None]
        known = [(index, dts) for index, (_, _, dts, _, _) in enumerate(waiting) if dts is not None]
        at, anchor = known[0] if known else (0, min(shown, default=0))
        if len(known) > 1 and 0 < known[1][1] - anchor < _LONGEST_PICTURE_TICKS:
            self._step = self._step_before = (known[1][1] - anchor) // (known[1][0] - at)
        for index, (data, key, dts, pts, arrival_ns) in enumerate(waiting):
            if dts is None:
                dts = anchor + (index - at) * self._step
            if pts is None:
                pts = max(min(shown) - self._step, dts) if shown else dts
            self._emit_video(dts, pts, data, key, arrival_ns)

    def _emit_video(self, raw_dts: int, raw_pts: int, data: bytes, key: bool, arrival_ns: int) -> None:
        dts, pts, broke = self._video_time.place(raw_dts, raw_pts)
        if broke:
            self._epoch += 1
            self._video_arrival = ArrivalClock()
            self._sound_begins_anew()
        elif self._last_dts >= 0 and 1 < dts - self._last_dts < _LONGEST_PICTURE_TICKS:
            self._step_before, self._step = self._step, dts - self._last_dts
        self._last_dts = dts
        handover = min(self._step, self._step_before, _HANDOVER_MAX_TICKS) * _NS // VIDEO_TIMESCALE
        wall_ns = self._video_arrival.observe(dts * _NS // VIDEO_TIMESCALE, arrival_ns - handover)
        if self._audio is not None:
            self._sound.picture(dts, wall_ns)
            if key and self._held is None:
                self._declare_sound(dts)
        unit = AccessUnit(Track.VIDEO, dts, pts, self._step, wall_ns, key, data, self._epoch)
        if self._held is None:
            self.out.append(unit)
            return
        self._held.append(unit)
        if len(self._held) >= _PICTURES_WITHOUT_SOUND:
            self._release()

    def _see_sets(self, sets: tuple[bytes, ...], key: bool) -> None:
        """Sets are in force from a key frame on: before one no file could begin with them. A key frame that brings a
        whole configuration replaces all that was said in band before: a set with a flipped bit is not kept for ever."""
        if self._config is not None and not key:
            self._early_sets = (*self._early_sets, *sets)[-_EARLY_SETS_MAX:]
            return
        if is_complete(self._codec, sets):
            merged = merge_parameter_sets(self._codec, self._declared_sets, sets)
        else:
            merged = merge_parameter_sets(self._codec, self._sets, (*self._early_sets, *sets))
        self._early_sets = ()
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
        config = StreamConfig(video, self._config.audio if self._config is not None else None)
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
            if self._sound_at is not None:
                self._config = StreamConfig(self._config.video, self._audio)
            self.out.append(self._config)
        self.out += held

    # -- audio -------------------------------------------------------------------------------------------------------

    def _declare_sound(self, dts: int) -> None:
        """At a key frame: a file cannot gain or lose a track, so sound that begins late or ends begins a new run."""
        if self._config is None:
            return
        heard = self._sound_at is not None and dts - self._sound_at <= _SOUND_GONE_TICKS
        if heard != (self._config.audio is not None):
            self._config = StreamConfig(self._config.video, self._audio if heard else None)
            self._epoch += 1
            self.out.append(self._config)

    def _sound_begins_anew(self) -> None:
        if self._audio is not None:
            self._sound.new_epoch()
            if self._sound_at is not None:
                self._sound_at = 0

    def _take_audio(self, packet: Packet[Stream]) -> None:
        audio = self._audio
        raw = packet.dts if packet.dts is not None else packet.pts
        if audio is None or raw is None or self._config is None:
            return
        data = bytes(packet)
        duration = 1024 if audio.codec == "aac" else max(1, len(data) // audio.channels)
        dts = self._sound.place(round(raw * self._audio_base * audio.timescale), duration, self._clock.wall_ns())
        if dts is None:
            return
        self._sound_at = self._last_dts
        if self._held is not None:
            self._release()
        if self._config.audio is None:
            return  # until the next key frame
        wall_ns = self._video_arrival.at(dts * _NS // audio.timescale)
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
        return LibavSource(
            address, networks, clock, read_timeout_s=read_timeout_s, open_timeout_s=media_timeout_s
        )  # fmt: skip

    return make
