"""The child that decodes: the only code of tiergate that gives a camera's bytes to a decoder.

Started by the worker as ``python -m gateway.processes.decoder jobs|transcode|burn``; speaks on standard input and
output, has no key, no socket and no file but a font, a bounded memory and a low priority. A frame made to break
decoders breaks this process, and the worker starts another one (FAULTS A, S11).

``jobs``: requests ``length:u32 JSON`` + payload, answers the same; the JSON names the payload's length as ``bytes``.
``transcode``: messages of `gateway.live.wire` in (H.265) and out (H.264, at most 1280 x 720).
``burn``: an event ``mark`` with the words (`gateway.processes.marking`), answered by ``ready`` or by ``ended`` with a
reason; then as ``transcode``, in the size of the original, until an event ``ended``, which is answered by one: an
answer without it is not whole.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Literal

import av
from av.video.codeccontext import VideoCodecContext

from config.errors import TiergateError
from gateway.live.wire import (
    HEAD_BYTES,
    Config,
    Event,
    Unit,
    encode,
    parse_body,
    parse_head,
    stream_config_from_json,
)
from storage.media.access_unit import VIDEO_TIMESCALE, AccessUnit, StreamConfig, Track, VideoConfig
from storage.media.codecs import annexb_to_access_unit, merge_parameter_sets, video_config

MEMORY_BYTES = 2 * 1024**3  #: address space; one 4K decoder, its frames and the libraries fit four times
NICE = 10
PIXELS_MAX = 50_000_000  #: above 8192 x 4320; an SPS may claim anything
HEADER = struct.Struct(">I")
HEADER_MAX_BYTES = 64 * 1024
PAYLOAD_MAX_BYTES = 16 * 1024 * 1024
GREY_SIZE = (320, 180)
_JPEG_WIDTH_MAX = 4096
_KEY_INTERVAL_S = 2


# -- decoding one picture --------------------------------------------------------------------------------------------


def _context(name: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    context = av.CodecContext.create(name, mode)
    if not isinstance(context, VideoCodecContext):
        raise ValueError(f"{name} is no video codec")
    return context


def _decoder(video: VideoConfig) -> VideoCodecContext:
    context = _context("h264" if video.codec == "h264" else "hevc", "r")
    context.extradata = video.record
    context.options = {"max_pixels": str(PIXELS_MAX)}
    context.thread_count = 1
    return context


def decode_picture(video: VideoConfig, data: bytes) -> av.VideoFrame:
    """The picture of one key access unit. Raises ValueError, av.FFmpegError."""
    context = _decoder(video)
    frames = context.decode(av.Packet(data))
    frames += context.decode(None)
    if not frames:
        raise ValueError("no picture")
    return frames[0]


def _scaled(frame: av.VideoFrame, width_max: int, height_max: int) -> tuple[int, int]:
    """Even size within the limits, aspect kept."""
    scale = min(1.0, width_max / frame.width, height_max / frame.height)
    return max(2, int(frame.width * scale) // 2 * 2), max(2, int(frame.height * scale) // 2 * 2)


def jpeg(video: VideoConfig, data: bytes, width_max: int) -> tuple[bytes, int, int]:
    frame = decode_picture(video, data)
    width, height = _scaled(frame, min(width_max, _JPEG_WIDTH_MAX), _JPEG_WIDTH_MAX)
    context = _context("mjpeg", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.options = {"qmin": "2", "qmax": "4", "strict": "unofficial"}
    picture = frame.reformat(width=width, height=height, format="yuvj420p")
    picture.pts = 0
    packets = context.encode(picture)
    packets += context.encode(None)
    return b"".join(bytes(packet) for packet in packets), width, height


def grey(video: VideoConfig, data: bytes) -> bytes:
    """320 x 180 luma bytes: enough to see black and standstill, too little to see a face."""
    picture = decode_picture(video, data).reformat(width=GREY_SIZE[0], height=GREY_SIZE[1], format="gray")
    return picture.to_ndarray().tobytes()


# -- jobs ------------------------------------------------------------------------------------------------------------


def _jobs(source: BinaryIO, sink: BinaryIO) -> None:
    while True:
        head = source.read(HEADER.size)
        if len(head) < HEADER.size:
            return
        (length,) = HEADER.unpack(head)
        if length > HEADER_MAX_BYTES:
            return
        request: dict[str, Any] = json.loads(source.read(length))
        payload = source.read(int(request["bytes"]))
        answer: dict[str, Any] = {"ok": True}
        result = b""
        try:
            result = _do(request, payload, answer)
        except (ValueError, KeyError, TypeError, av.FFmpegError, MemoryError) as exc:
            answer = {"ok": False, "error": type(exc).__name__}
        body = json.dumps({**answer, "bytes": len(result)}).encode()
        sink.write(HEADER.pack(len(body)) + body + result)
        sink.flush()


def _do(request: dict[str, Any], payload: bytes, answer: dict[str, Any]) -> bytes:
    video = stream_config_from_json({"video": request["video"], "audio": None}).video
    if request["op"] == "jpeg":
        result, answer["width"], answer["height"] = jpeg(video, payload, int(request.get("width", _JPEG_WIDTH_MAX)))
        return result
    if request["op"] == "grey":
        return grey(video, payload)
    raise ValueError("unknown job")


# -- transcoding -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """How pictures are encoded: no larger than `size`, with these options of libx264."""

    size: tuple[int, int]
    options: dict[str, str]


_ANY = {"preset": "veryfast", "forced-idr": "1", "x264-params": "repeat-headers=1:scenecut=0"}
#: For somebody who watches now: no picture waits for the next, a line is not overrun.
LIVE = Form((1280, 720), {**_ANY, "tune": "zerolatency", "crf": "26", "maxrate": "2M", "bufsize": "2M"})
#: For a file: what can be recognised in the original can be recognised here.
CLIP = Form((3840, 2160), {**_ANY, "crf": "21", "maxrate": "16M", "bufsize": "32M"})

#: Makes of a decoded picture and its wall time the picture that is encoded; never the same object.
Paint = Callable[[av.VideoFrame, int], av.VideoFrame]


class Transcoder:
    """Access units in, H.264 access units out; one out for each decoded picture, at its own presentation time."""

    def __init__(self, form: Form = LIVE, paint: Paint | None = None) -> None:
        self._form = form
        self._paint = paint
        self._decoder: VideoCodecContext | None = None
        self._encoder: VideoCodecContext | None = None
        self._sets: tuple[bytes, ...] = ()
        self._epoch = 0
        self._arrivals: dict[int, tuple[int, int]] = {}  #: pts -> (wall_ns, duration)
        self._last_pts = -1
        self._key_pts: int | None = None

    def configure(self, config: Config) -> None:
        self._decoder = _decoder(config.stream.video)
        self._encoder = None
        self._sets = ()
        self._epoch = config.epoch
        self._arrivals.clear()
        self._last_pts = -1
        self._key_pts = None

    def push(self, unit: AccessUnit) -> Iterator[Config | Unit]:
        if unit.track is not Track.VIDEO or self._decoder is None:
            return
        self._arrivals[unit.pts] = (unit.wall_ns, unit.duration)
        while len(self._arrivals) > 64:
            del self._arrivals[next(iter(self._arrivals))]
        packet = av.Packet(unit.data)
        packet.pts, packet.dts, packet.time_base = unit.pts, unit.dts, Fraction(1, VIDEO_TIMESCALE)
        try:
            frames = self._decoder.decode(packet)
        except av.error.InvalidDataError:
            return  # a damaged picture; the next one is tried
        for frame in frames:
            yield from self._encode(frame)

    def flush(self) -> Iterator[Config | Unit]:
        """What decoder and encoder still hold."""
        if self._decoder is not None:
            try:
                frames = self._decoder.decode(None)
            except av.error.InvalidDataError:
                frames = []
            for frame in frames:
                yield from self._encode(frame)
        if self._encoder is not None:
            yield from self._made(self._encoder.encode(None))

    def _encode(self, frame: av.VideoFrame) -> Iterator[Config | Unit]:
        pts = frame.pts
        if pts is None or pts <= self._last_pts:
            return
        self._last_pts = pts
        if self._encoder is None:
            self._encoder = _encoder(*_scaled(frame, *self._form.size), self._form.options)
        encoder = self._encoder
        picture = frame.reformat(width=encoder.width, height=encoder.height, format="yuv420p")
        if self._paint is not None:
            picture = self._paint(picture, self._arrivals.get(pts, (0, 0))[0])
        picture.pts, picture.time_base = pts, Fraction(1, VIDEO_TIMESCALE)
        due = self._key_pts is None or pts - self._key_pts >= _KEY_INTERVAL_S * VIDEO_TIMESCALE
        picture.pict_type = av.video.frame.PictureType.I if due else av.video.frame.PictureType.NONE
        if due:
            self._key_pts = pts
        yield from self._made(encoder.encode(picture))

    def _made(self, packets: Iterable[av.Packet[Any]]) -> Iterator[Config | Unit]:
        for packet in packets:
            data, key, found = annexb_to_access_unit(bytes(packet), "h264")
            sets = merge_parameter_sets("h264", self._sets, found)
            if sets != self._sets:
                self._sets = sets
                yield Config(self._epoch, StreamConfig(video_config("h264", sets)))
            at = int(packet.pts or 0)
            wall_ns, duration = self._arrivals.pop(at, (0, VIDEO_TIMESCALE // 25))
            yield Unit(AccessUnit(Track.VIDEO, at, at, duration, wall_ns, key, data, self._epoch), False)


def _encoder(width: int, height: int, options: dict[str, str]) -> VideoCodecContext:
    context = _context("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = Fraction(1, VIDEO_TIMESCALE)
    context.framerate = Fraction(25)
    context.gop_size = 500  # key frames are asked for by time
    context.max_b_frames = 0
    context.thread_count = 1
    context.options = options
    return context


def _messages(source: BinaryIO) -> Iterator[Config | Unit | Event]:
    while len(head := source.read(HEAD_BYTES)) == HEAD_BYTES:
        length, kind = parse_head(head)
        yield parse_body(kind, source.read(length))


def _transcode(source: BinaryIO, sink: BinaryIO) -> None:
    transcoder = Transcoder()
    for message in _messages(source):
        if isinstance(message, Config):
            transcoder.configure(message)
        elif isinstance(message, Unit):
            for made in transcoder.push(message.unit):
                sink.write(encode(Unit(made.unit, message.replay) if isinstance(made, Unit) else made))
            sink.flush()


def _burn(source: BinaryIO, sink: BinaryIO) -> None:
    from gateway.processes.marking import Mark  # the library that draws is of no use to the other children

    def tell(messages: Iterable[Config | Unit | Event]) -> None:
        for message in messages:
            sink.write(encode(message))
        sink.flush()

    messages = _messages(source)
    first = next(messages, None)
    if not isinstance(first, Event) or first.reason is None:
        raise ValueError("no words to burn in")
    try:
        transcoder = Transcoder(CLIP, Mark.from_json(first.reason).paint)
    except TiergateError as error:
        tell([Event("ended", error.reason.as_json())])
        return
    tell([Event("ready", None)])
    for message in messages:
        if isinstance(message, Config):
            transcoder.configure(message)
        elif isinstance(message, Unit):
            tell(transcoder.push(message.unit))
        else:
            tell(transcoder.flush())
            tell([Event("ended", None)])
            return


def main() -> None:
    av.logging.set_level(None)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)
    source = io.BufferedReader(io.FileIO(0, "rb", closefd=False), 1 << 20)
    sink = io.BufferedWriter(io.FileIO(os.dup(1), "wb"), 1 << 20)
    os.dup2(2, 1)  # whatever a library prints must not stand between answers
    modes: dict[str, Callable[[BinaryIO, BinaryIO], None]] = {"jobs": _jobs, "transcode": _transcode, "burn": _burn}
    try:
        modes[sys.argv[1]](source, sink)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
