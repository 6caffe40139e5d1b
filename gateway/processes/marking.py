"""Words burnt into pictures: who took them, when, for which case, and the running time of the footage.

Belongs here: where the words stand, drawing them once (the clock once a second), blending them into Y, U and V.
Does not belong here: what the words are (`gateway.playback.burnt`), decoding and encoding
(`gateway.processes.decoder`).

The lines stand at the lower left with a dark edge, readable over any picture; the name stands three times across the
picture as well, faintly: who cuts the lines off cuts half the picture off with them. Only the rectangles with letters
are touched: some thousand pixels of two million.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from config.errors import Kind, TiergateError
from config.units import SHANGHAI
from gateway.processes import fonts

CLOCK = "0123456789-: "
_BLACK, _WHITE, _GREY = 16, 235, 128  #: of luma in video range; of chroma
_CLEAR, _FAINT = 230, 56  #: of 256: how much of the letters shows
_SIZE_LEAST = 8
#: Where the name stands across the picture: part of the height, part of the free width.
_ACROSS = ((0.14, 0.1), (0.38, 0.5), (0.62, 0.9))

Numbers = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Plate:
    """Letters at a place: 256ths of the picture that stay, and what is added to them."""

    x: int
    y: int
    luma_kept: Numbers
    luma_added: Numbers
    chroma_kept: Numbers
    chroma_added: Numbers

    def press(self, luma: NDArray[np.uint8], *chroma: NDArray[np.uint8]) -> None:
        _blend(luma, self.x, self.y, self.luma_kept, self.luma_added)
        for plane in chroma:
            _blend(plane, self.x // 2, self.y // 2, self.chroma_kept, self.chroma_added)


def _blend(plane: NDArray[np.uint8], x: int, y: int, kept: Numbers, added: Numbers) -> None:
    height, width = kept.shape
    part = plane[y : y + height, x : x + width]
    part[:] = (part * kept + added) >> 8


class Mark:
    """Paints the frames of one stream. All of one size: `paint` lays the words out for the first."""

    def __init__(self, lines: list[str], across: str, font: Path | None) -> None:
        """Raises media.mark_font, media.mark_glyphs."""
        self._lines = [_plain(line) for line in lines]
        self._across = _plain(across)
        self._font = font
        self._still: list[_Plate] = []
        self._clock_at: tuple[int, int, fonts.Font, int] | None = None  #: x, y, letters, their size
        self._clock: _Plate | None = None
        self._second = -1
        lacking = fonts.lacking(font, "".join((*self._lines, self._across, CLOCK)))
        if lacking:
            raise TiergateError(Kind.ENVIRONMENT, "media.mark_glyphs", characters=lacking[:20])

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Mark:
        font = value.get("font")
        return cls(list(value["lines"]), value["across"], None if font is None else Path(font))

    def paint(self, frame: av.VideoFrame, wall_ns: int) -> av.VideoFrame:
        """A yuv420p frame as a new one with the words in it."""
        width, height = frame.width, frame.height
        if self._clock_at is None:
            self._lay_out(width, height)
        pixels = np.ascontiguousarray(frame.to_ndarray()).astype(np.uint8, copy=False)
        flat = pixels.reshape(-1)
        whole, quarter = width * height, width * height // 4
        luma = flat[:whole].reshape(height, width)
        chroma = [flat[at : at + quarter].reshape(height // 2, width // 2) for at in (whole, whole + quarter)]
        for plate in self._plates(wall_ns // 1_000_000_000, width, height):
            plate.press(luma, *chroma)
        return av.VideoFrame.from_ndarray(pixels, format="yuv420p")

    def _plates(self, second: int, width: int, height: int) -> Iterator[_Plate]:
        yield from self._still
        if second != self._second and self._clock_at is not None:
            x, y, font, size = self._clock_at
            now = datetime.fromtimestamp(second, SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
            self._clock = _plate(now, font, size, _CLEAR, (x, y), (width, height))
            self._second = second
        if self._clock is not None:
            yield self._clock

    def _lay_out(self, width: int, height: int) -> None:
        frame, margin = (width, height), max(2, width // 64)
        size = max(_SIZE_LEAST, height // 30)
        while True:
            font, step = fonts.load(self._font, size), size * 3 // 2
            lines = [part for line in self._lines for part in _wrapped(line, font, width - 2 * margin)]
            if (len(lines) + 1) * step + margin <= height // 2 or size == _SIZE_LEAST:
                break
            size -= 1
        lines = lines[: max(0, (height - 2 * margin) // step - 1)]
        top = height - margin - (len(lines) + 1) * step
        self._still = [
            _plate(line, font, size, _CLEAR, (margin, top + number * step), frame) for number, line in enumerate(lines)
        ]
        self._clock_at = margin, top + len(lines) * step, font, size
        name = next(_wrapped(self._across, font, width - 2 * margin), "")
        for down, along in _ACROSS:
            free = width - 2 * margin - round(font.getlength(name))
            at = margin + max(0, round(free * along)), round(height * down)
            self._still.append(_plate(name, font, size, _FAINT, at, frame))


def _plain(text: str) -> str:
    """On one line, and nothing that is no letter."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _wrapped(text: str, font: fonts.Font, width: int) -> Iterator[str]:
    """`text` in parts that fit."""
    while text:
        count = len(text)
        while count > 1 and font.getlength(text[:count]) > width:
            count -= 1
        yield text[:count]
        text = text[count:].lstrip()


def _plate(
    text: str, font: fonts.Font, size: int, strength: int, at: tuple[int, int], frame: tuple[int, int]
) -> _Plate:
    edge = max(1, size // 12)
    x, y = (max(0, value) // 2 * 2 for value in at)
    width = min(round(font.getlength(text)) + 2 * edge + 2, frame[0] - x) // 2 * 2
    height = min(size * 3 // 2 + 2 * edge, frame[1] - y) // 2 * 2
    area = (max(2, width), max(2, height))
    fill = _drawn(text, font, area, edge, 0)
    shown = _drawn(text, font, area, edge, edge).astype(np.uint16) * strength // 255
    colour = (_BLACK + (_WHITE - _BLACK) * fill.astype(np.uint32) // 255).astype(np.uint16)
    chroma = shown[::2, ::2]
    return _Plate(x, y, 256 - shown, colour * shown, 256 - chroma, _GREY * chroma)


def _drawn(text: str, font: fonts.Font, area: tuple[int, int], edge: int, stroke: int) -> NDArray[np.uint8]:
    image = Image.new("L", area)
    if text:
        top = font.getbbox(text)[1]
        ImageDraw.Draw(image).text((edge, edge - min(top, 0)), text, 255, font, stroke_width=stroke)
    return np.asarray(image)
